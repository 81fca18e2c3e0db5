"""Encoders of photos: networks that give maps of several strides, which a segmentation network's decoder reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lsmbench.errors import UserError
from lsmbench.networks.pretrained import downloaded, fill, read, renamed

Depth = Literal[18, 50, 101]
OutputStride = Literal[8, 32]

RESNETS: dict[str, Depth] = {"resnet18": 18, "resnet50": 50, "resnet101": 101}
VITS = {"vit_dinov2_s": "vit_small_patch14_dinov2.lvd142m", "vit_dinov2_b": "vit_base_patch14_dinov2.lvd142m"}
"""Words of vision transformers, and what timm calls them."""

PATCH = 14
"""Side of a patch of these vision transformers, px."""

WORDS = {**dict.fromkeys(RESNETS, "imagenet"), **dict.fromkeys(VITS, "lvd142m")}
"""The encoders' words, each with the word of its published weights.

`imagenet` is torchvision's IMAGENET1K_V1; `lvd142m` is DINOv2's, learnt from 142 million photos without labels.
"""

_COUNTS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class ResNetTrunk(nn.Module):
    """A ResNet (He et al. 2016) without its classifier, as torchvision's: the stride is in Conv3, not in the Conv1.

    Convolutions start from N(0, 2 / fan-out).

    Args:
        channels: Channels of the picture.
        filters: Width of the first convolution, 64 in the paper; all other widths are multiples of it.
        depth: 18, 50 or 101 layers.
        stages: How many of the four groups of residual blocks there are.
        output_stride: 32, or 8: the third and the fourth group then keep the side of their maps, with 3×3 convolutions
            that are spread by 2 and by 4 (DeepLabV2; Chen et al. 2018, §3.1).

    Attributes:
        widths: Channels of the maps that `forward` gives.
    """

    def __init__(
        self, channels: int, filters: int = 64, depth: Depth = 50, stages: int = 4, output_stride: OutputStride = 32
    ) -> None:
        super().__init__()
        # Imported here, as torchvision takes seconds.
        from torchvision.models.resnet import BasicBlock, Bottleneck  # type: ignore[import-untyped]

        kind, counts = (BasicBlock if depth == 18 else Bottleneck), _COUNTS[depth]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, filters, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        self.widths: list[int] = []
        before = filters
        for stage, count in enumerate(counts[:stages]):
            inner, stride = filters * 2**stage, min(stage, 1) + 1
            outer = inner * kind.expansion
            shortcut = None
            if stride > 1 or before != outer:
                shortcut = nn.Sequential(nn.Conv2d(before, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            blocks = [kind(before, inner, stride, shortcut), *(kind(outer, inner) for _ in range(count - 1))]
            self.stages.append(nn.Sequential(*blocks))
            self.widths.append(outer)
            before = outer
        if output_stride == 8:
            for stage, rate in ((2, 2), (3, 4)):
                _spread(self.stages[stage], rate)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (B, channels, H, W) to the maps of strides 4, 8, 16 and 32, as many as there are stages."""
        return self.maps(picture)[1:]

    def maps(self, picture: Tensor) -> list[Tensor]:
        """As `forward`, after the map of stride 2 of the first convolution."""
        found = [self.stem[:3](picture)]
        x = self.stem[3](found[0])
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class ResNetEncoder(nn.Module):
    """A ResNet as an encoder: maps of strides 2, 4, 8, 16 and 32, or 2, 4, 8, 8 and 8.

    Args:
        channels: Channels of the picture.
        filters: Width of the first convolution.
        depth: Layers.
        output_stride: As `ResNetTrunk`.

    Attributes:
        widths: Channels of the maps, fine to coarse.
    """

    def __init__(self, channels: int, filters: int = 64, depth: Depth = 50, output_stride: OutputStride = 32) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(channels, filters, depth, output_stride=output_stride)
        self.widths = [filters, *self.trunk.widths]

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (B, channels, H, W) to the maps, fine to coarse."""
        return self.trunk.maps(picture)

    def take(self, weights: dict[str, Tensor], origin: str) -> str:
        """Takes weights by torchvision's names, or by those of this class; returns their fingerprint.

        Raises:
            UserError: As `fill`.
        """
        names = {
            r"(segmenter\.)?encoder\.": "",
            r"conv1\.": "trunk.stem.0.",
            r"bn1\.": "trunk.stem.1.",
            r"layer1\.": "trunk.stages.0.",
            r"layer2\.": "trunk.stages.1.",
            r"layer3\.": "trunk.stages.2.",
            r"layer4\.": "trunk.stages.3.",
        }
        return fill(self, renamed(weights, names), origin, "Name the encoder that they are of.")


class ViTEncoder(nn.Module):
    """A vision transformer of timm as an encoder: the maps of four of its blocks, all of the patches' stride.

    DINOv2's small and base networks (Oquab et al. 2024); the blocks are the third, sixth, ninth and twelfth, as DPT
    (Ranftl et al. 2021) and UniMatch V2 (Yang et al. 2025) read them.

    Args:
        word: One of `VITS`.
        channels: Channels of the picture.

    Attributes:
        widths: Channels of the maps.

    Raises:
        UserError: If timm is not installed.
    """

    def __init__(self, word: str, channels: int) -> None:
        super().__init__()
        if reason := missing(word):
            raise UserError(f"method.encoder={word} {reason}.")
        import timm

        self.word = word
        self.network: Any = timm.create_model(
            VITS[word].partition(".")[0], pretrained=False, num_classes=0, in_chans=channels, dynamic_img_size=True
        )
        self.widths = [cast(int, self.network.embed_dim)] * 4

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Map (B, channels, H, W), sides being multiples of `PATCH`, to four maps (B, width, H / 14, W / 14)."""
        return cast(
            list[Tensor], self.network.forward_intermediates(picture, indices=[2, 5, 8, 11], intermediates_only=True)
        )

    def take(self, weights: dict[str, Tensor], origin: str) -> str:
        """Takes weights by timm's names, or by those of this class; returns their fingerprint.

        Raises:
            UserError: As `fill`.
        """
        names = {r"(segmenter\.)?encoder\.network\.": "", r"network\.": ""}
        given = renamed(weights, names)
        return fill(self.network, given, origin, "Name the encoder that they are of.")


def missing(word: str) -> str:
    """Why an encoder cannot be used on this machine, in words that continue its name; empty if it can."""
    if word in VITS and importlib.util.find_spec("timm") is None:
        return "needs timm: pip install 'lsmbench[timm]'"
    return ""


def start(encoder: ResNetEncoder | ViTEncoder, word: str, pretrained: str) -> str:
    """Gives an encoder its first weights.

    Args:
        encoder: Of the word, or of this package's own form (`own`).
        word: One of `WORDS`, or `own`.
        pretrained: The word of the encoder's published weights, which are downloaded by torchvision's or timm's own
            means if they are not on this machine; or a file.

    Returns:
        The weights' fingerprint.

    Raises:
        UserError: If the encoder has no weights of that name; if they can be neither found nor downloaded; or if a
            file holds another network's.
    """
    if pretrained in set(WORDS.values()):
        if WORDS.get(word) != pretrained:
            known = WORDS.get(word)
            raise UserError(
                f"method.pretrained={pretrained}: encoder {word} has no such published weights. "
                + (f"Expected {known}, none or a file." if known else f"Name an encoder: {', '.join(WORDS)}.")
            )
        otherwise = "Or give a file by method.pretrained=FILE, or method.pretrained=none for random weights."
        origin = f"{word} of method.pretrained={pretrained}"
        weights = _of_torchvision(word, otherwise) if word in RESNETS else _of_timm(word, otherwise)
        return encoder.take(weights, origin)
    return encoder.take(read(Path(pretrained).expanduser()), pretrained)


def _of_torchvision(word: str, otherwise: str) -> dict[str, Tensor]:
    from torchvision import models  # type: ignore[import-untyped]

    url: str = models.get_model_weights(word).IMAGENET1K_V1.url
    return downloaded(url, f"{word}, ImageNet", otherwise)


def _of_timm(word: str, otherwise: str) -> dict[str, Tensor]:
    import timm

    try:
        with torch.random.fork_rng(devices=[]):  # drawing initial weights must not change a run's numbers
            network: Any = timm.create_model(VITS[word], pretrained=True, num_classes=0, dynamic_img_size=True)
    except Exception as error:  # huggingface_hub, network and disk raise errors of many kinds
        raise UserError(
            f"{word}: the weights {VITS[word]} can be neither found nor downloaded ({type(error).__name__}: {error}). "
            f"Connect this machine, or download model.safetensors of https://huggingface.co/timm/{VITS[word]} "
            f"elsewhere. {otherwise}"
        ) from error
    return dict(network.state_dict())


def _spread(stage: nn.Module, rate: int) -> None:
    """Lets a group of residual blocks keep the side of its maps and see as far as before."""
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (rate, rate)
