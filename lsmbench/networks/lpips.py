"""LPIPS (Zhang et al. 2018): the distance of two pictures as a network sees it, on VGG-16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.networks.fcn8s import IMAGENET_URL, WIDTHS, vgg16_blocks

LINEAR_URL: Final = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth"
"""LPIPS' own weights for VGG-16, version 0.1, 7 kB."""

LINEAR_FILE: Final = "lpips_vgg.pth"

MOST: Final = 256
"""Longest side in pixels that is compared; longer ones are averaged down to it."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What is taken off a picture in [-1, 1], and what it is then divided by: about ImageNet's mean and deviation."""

_OTHERWISE = "Nothing is downloaded by itself. Or train without these files: --method.perceptual discriminator."


class LPIPS(nn.Module):
    """Compares pictures by the maps of five layers of VGG-16: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.

    The distance is Σ_layers mean_pixels Σ_channels w · (a - b)², where a and b are the maps of the two pictures, each
    pixel's vector divided by its length, and w ≥ 0 are weights that were fitted to human judgements (eq. 1).

    All weights are frozen, and start at random: `load` makes the published network.

    Args:
        filters: Width of VGG-16's first block, 64 in the published network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, filters: int = 64) -> None:
        super().__init__()
        # Without the last pool; layers have torchvision's numbers.
        self.trunk = nn.Sequential(*chain.from_iterable(vgg16_blocks(3, filters)))[:-1]
        self.linear = nn.ModuleList(nn.Conv2d(filters * factor, 1, 1, bias=False) for factor in WIDTHS)
        for name, values in (("shift", _SHIFT), ("scale", _SCALE)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(False)

    @staticmethod
    def is_there() -> bool:
        """Whether both files of the published network are there."""
        return all(path.exists() for path in _files())

    @classmethod
    def load(cls) -> LPIPS:
        """Make the published network from its two files in torch.hub's folder of checkpoints.

        LPIPS' own weights are taken from torchmetrics, which holds the same file, if they are not in the folder.

        Raises:
            UserError: If a file is missing, cannot be read, or holds another network's weights.
        """
        trunk, linear = _files()
        needed = ((trunk, IMAGENET_URL, "VGG-16's weights, 528 MB"), (linear, LINEAR_URL, "LPIPS' own weights, 7 kB"))
        missing = [
            f"{path}: no such file ({what}). Download {url} and place the file there."
            for path, url, what in needed
            if not path.exists()
        ]
        if missing:
            raise UserError("\n".join([*missing, _OTHERWISE]))
        with torch.random.fork_rng(devices=[]):  # drawing initial weights must not change a run's numbers
            network = cls()
        own = {f"features.{name}": parameter for name, parameter in network.trunk.named_parameters()}
        _fill(own, trunk, "VGG-16's weights", IMAGENET_URL)
        own = {
            f"lin{name.replace('.', '.model.1.')}": parameter for name, parameter in network.linear.named_parameters()
        }
        _fill(own, linear, "LPIPS' own weights for VGG-16", LINEAR_URL)
        return network

    def features(self, picture: Tensor) -> list[Tensor]:
        """Compute what is compared, so that it can be kept for a picture that is compared often.

        Args:
            picture: (B, 1 or 3, H, W) in [-1, 1]. One channel is repeated to three. Sides above `MOST` pixels are
                averaged down to it.

        Returns:
            Of each of the five layers (B, C, h, w) with h = H, H // 2 … H // 16; the vector of each pixel has length 1,
            or 0 if all its channels are 0.

        Raises:
            ValueError: If there are neither one nor three channels.
        """
        if picture.shape[1] not in (1, 3):
            raise ValueError(f"expected pictures of 1 or 3 channels, found {picture.shape[1]}")
        height, width = picture.shape[-2:]
        if max(height, width) > MOST:
            picture = F.adaptive_avg_pool2d(picture, (min(height, MOST), min(width, MOST)))
        x = (picture - self.shift) / self.scale
        maps = []
        for layer in self.trunk:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(_of_length_one(x))
            x = layer(x)
        return [*maps, _of_length_one(x)]

    def between(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Compute the distances (B,), at least 0, of pictures whose `features` are given."""
        layers = zip(self.linear, features_a, features_b, strict=True)
        parts: list[Tensor] = [linear((a - b).square()).mean((1, 2, 3)) for linear, a, b in layers]
        return torch.stack(parts).sum(0)


def _of_length_one(x: Tensor) -> Tensor:
    # This form of the length has a gradient of 0 where a vector is 0; the root of a sum would give nan.
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (length + 1e-10)


def _files() -> tuple[Path, Path]:
    """Where the weights of VGG-16 and LPIPS' own are, or would have to be."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    linear = folder / LINEAR_FILE
    if not linear.exists() and (copy := _packaged()).exists():
        linear = copy
    return folder / IMAGENET_URL.rpartition("/")[2], linear


def _packaged() -> Path:
    """Where torchmetrics keeps LPIPS' own weights."""
    found = find_spec("torchmetrics")
    home = Path(found.origin).parent if found is not None and found.origin else Path()
    return home / "functional" / "image" / "lpips_models" / "vgg.pth"


@torch.no_grad()
def _fill(own: Mapping[str, nn.Parameter], path: Path, what: str, url: str) -> None:
    """Copy a file's weights into a network's, in place.

    Args:
        own: The network's weights by their names in the file.
        path: The file, a state dictionary.
        what: What the file should hold.
        url: Where it can be had.

    Raises:
        UserError: If the file cannot be read, or holds something else.
    """
    how = f"Download {url} and place the file there. {_OTHERWISE}"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for files of another format
        cause = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: expected {what}, but they cannot be loaded ({cause}). {how}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: expected {what}, a state dictionary, found {type(state).__name__}. {how}")
    expected = {name: f"shape {tuple(parameter.shape)}" for name, parameter in own.items()}
    found = {
        str(name): f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        for name, value in state.items()
        if not str(name).startswith("classifier.")  # the rest of VGG-16
    }
    for name in {**expected, **found}:
        if (one := expected.get(name, "nothing")) != (other := found.get(name, "nothing")):
            raise UserError(f"{path}: expected {what}. {name}: expected {one}, found {other}. {how}")
    for name, parameter in own.items():
        parameter.copy_(state[name])
