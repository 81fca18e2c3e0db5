"""What segmentation methods share: the network, its encoder, and what it learns from pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, DataModule
from lsmbench.data.pools import ViewSet
from lsmbench.data.strong import BOX_NUMBERS, NUMBERS, boxes, strong_views
from lsmbench.domains import Image
from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.networks import encoders
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.pretrained import WEIGHTS
from lsmbench.networks.segmentation_unet import SegmentationUNet
from lsmbench.networks.segmenters import AtrousPyramid, LinearHead, Segmenter, UNetDecoder
from lsmbench.options import option
from lsmbench.palettes import IGNORED

_ROWS = 256  # masks in memory at a time

Architecture = Literal["unet", "deeplabv2", "linear"]

_UNET_SIDES = (16, 32)
"""What sides of the U-Net's own form are multiples of, and the least: at 16 px its innermost level is one pixel, which
batch normalisation cannot take from a single image."""


@dataclass
class SegmentationConfig(MethodConfig):
    """Options of all segmentation networks."""

    learning_rate: float = option(
        2.5e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="semanticGAN, supplement, §5; range of LSM, App. B"
    )
    encoder: str = option(
        "own",
        "What reads the photo: own, the network's own form, of the width that `network` says; resnet18, resnet50 or "
        "resnet101; or vit_dinov2_s or vit_dinov2_b (extra timm)",
        choices=("own", *encoders.WORDS),
        counts="if_changed",
    )
    pretrained: str = option(
        "none",
        "Where the encoder's first weights come from: none, at random; imagenet (ResNets) or lvd142m (DINOv2), which "
        "are downloaded unless they are on this machine; or a file. Tables mark such rows: they saw other data",
        counts="content_if_changed",
    )
    freeze: bool = option(False, "Whether the encoder keeps its first weights", counts="if_changed")
    class_weights: Literal["none", "visible"] = option(
        "none",
        "visible: the cross-entropy of a pixel is weighted by the inverse frequency of its class, as counted over the "
        "masks of the pairs alone, which is all that a method sees of masks",
        counts="if_changed",
    )
    w_dice: float = option(
        0.0,
        "Weight of the soft Dice loss beside the cross-entropy, where the target has classes; 0: none",
        low=1e-2,
        high=1e2,
        source="no paper here has it: 0",
        counts="if_changed",
    )

    def __post_init__(self) -> None:
        """Checks the words of encoder and weights.

        Raises:
            UserError: If there is no such encoder, or the weights are neither published ones nor a file.
        """
        if self.encoder not in ("own", *encoders.WORDS):
            raise UserError(f"method.encoder={self.encoder}: expected own or one of {', '.join(encoders.WORDS)}.")
        words = ("none", *dict.fromkeys(encoders.WORDS.values()))
        if self.pretrained not in words and not self.pretrained.endswith(WEIGHTS):
            raise UserError(
                f"method.pretrained={self.pretrained}: expected one of {', '.join(words)}, or a file that ends in "
                f"{', '.join(WEIGHTS)}."
            )


@dataclass
class ConsistencyConfig(SegmentationConfig):
    """Options of methods that learn from photos without a mask, whatever network they train."""

    segmenter: Literal["deeplabv2", "unet"] = option(
        "deeplabv2",
        "The network: deeplabv2, or unet",
        source="semanticGAN, supplement, §5, trains DeepLabV2 by each of its semi-supervised methods",
    )


class SegmentationMethod(Method):
    """A segmentation network that is trained on pairs, and perhaps on photos without a mask.

    Where the target's pixels have classes, the network gives one logit for each class, two also for two classes, and
    learns by cross-entropy; pixels without a class (void) are not counted. Otherwise it gives the target's channels and
    learns by the target domain's own loss, so that it translates images to images.

    Encoders but `own` take photos that are normalised by ImageNet's mean and deviation, a grey photo as three equal
    channels; sources that are no photos are taken as their domain gives them.

    A subclass says by `architecture` which network it has, or makes it in `make_segmenter`.
    """

    Config: ClassVar[type[MethodConfig]] = SegmentationConfig
    config: SegmentationConfig
    groups: ClassVar[tuple[str, ...]] = ("segmenter",)
    needs_pairs = True
    weights: ClassVar = {"xy": 1.0}
    architecture: ClassVar[Architecture | None] = None
    """The network; `None`: as the option `segmenter` says."""
    sees_photos: ClassVar[bool] = False
    """Whether photos without a mask are learnt from, besides the pairs."""
    classes_only: ClassVar[bool] = False
    """Whether the target's pixels need to have classes."""
    least: ClassVar[int] = 16
    """The least side that the method's networks take, besides the segmenter; px."""
    mean: Tensor
    sd: Tensor

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs two maps of one size, with sides that the network can halve often enough."""
        source, target = dataset.domains[dataset.source], dataset.domains[dataset.target]
        for view, domain in ((dataset.source, source), (dataset.target, target)):
            if domain.is_vector:
                return False, f"translates maps to maps, and {view} is {domain.kind}"
        if cls.classes_only and target.label_count is None:
            return False, f"learns classes of pixels, and {dataset.target} is {target.kind} without classes"
        if source.shape[1:] != target.shape[1:]:
            sides = " and ".join("×".join(map(str, d.shape[1:])) for d in (source, target))
            return False, f"needs source and target of one size, and they have {sides} px"
        word = cast(SegmentationConfig, config).encoder
        if reason := encoders.missing(word):
            return False, f"with encoder={word} {reason}"
        multiple, least = cls.sides(cast(SegmentationConfig, config))
        least = max(least, cls.least)
        side = next((s for s in source.shape[1:] if s % multiple or s < least), None)
        if side is not None:
            from_least = f" from {least} px" if least > multiple else ""
            wrong = f"needs sides that are multiples of {multiple} px{from_least}, and the views have {side} px"
            return False, wrong if word == "own" else f"with encoder={word} {wrong}"
        return True, ""

    @classmethod
    def sides(cls, config: SegmentationConfig) -> tuple[int, int]:
        """What sides have to be a multiple of, and the least side, in px."""
        architecture = cls.architecture_of(config)
        if config.encoder in encoders.VITS:
            return encoders.PATCH, 2 * encoders.PATCH
        if architecture == "unet":
            return _UNET_SIDES if config.encoder == "own" else (4, 64)  # batch normalisation at stride 32 needs 2 px
        return 4, 16

    @classmethod
    def architecture_of(cls, config: SegmentationConfig) -> Architecture:
        """The network that a configuration asks for."""
        return cls.architecture or cast(ConsistencyConfig, config).segmenter

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs, and photos without a mask if the method learns from them."""
        return (self.pair, (self.source,)) if self.sees_photos else (self.pair,)

    @property
    def classes(self) -> int | None:
        """Number of classes of the target; `None` if it is an image."""
        return self.domains[self.target].label_count

    @property
    def normalises(self) -> bool:
        """Whether photos are normalised as those of ImageNet."""
        return self.config.encoder != "own"

    @property
    def photo(self) -> bool:
        """Whether the source is a photo, of one channel or three."""
        domain = self.domains[self.source]
        return isinstance(domain, Image) and domain.channels in (1, 3)

    def build(self) -> None:
        """Makes the network, and the mean and deviation that photos are normalised by.

        Raises:
            UserError: If weights are asked for that do not fit or cannot be had.
        """
        channels = self.domains[self.source].shape[0]
        mean, sd = torch.tensor(MEAN), torch.tensor(SD)
        if not (self.photo and self.normalises):
            mean, sd = torch.zeros(channels), torch.ones(channels)
        elif channels == 1 and not self.repeats_grey:
            mean, sd = mean.mean(0, keepdim=True), sd.mean(0, keepdim=True)
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("sd", sd[:, None, None], persistent=False)
        self.segmenter = self.made("segmenter")
        if self.classes is None and self.config.w_dice:
            self.remarks.append(f"w_dice does not apply: {self.target} is an image without classes")

    @property
    def repeats_grey(self) -> bool:
        """Whether a grey photo becomes three equal channels, where photos are normalised."""
        return True

    def made(self, name: str) -> nn.Module:
        """A network of the method's architecture, whose first weights depend on its name and the seed."""
        out_channels = self.classes or self.domains[self.target].shape[0]
        return self.network(name, partial(self.make_segmenter, len(self.mean), out_channels))

    def make_segmenter(self, in_channels: int, out_channels: int) -> nn.Module:
        """Makes the network, (B, in_channels, H, W) to (B, out_channels, H, W), unbounded.

        Raises:
            UserError: If weights are asked for that do not fit or cannot be had.
        """
        config, architecture = self.config, self.architecture_of(self.config)
        filters, word = FILTERS[config.network], config.encoder
        if architecture == "unet" and word == "own":
            if config.pretrained != "none" or config.freeze:
                raise UserError(
                    "method.pretrained and method.freeze are for encoders that others trained; the U-Net's own is "
                    f"none. Name one by method.encoder: {', '.join(encoders.WORDS)}."
                )
            return SegmentationUNet(in_channels, out_channels, filters)
        encoder: encoders.ResNetEncoder | encoders.ViTEncoder
        if word in encoders.VITS:
            encoder = encoders.ViTEncoder(word, in_channels)
        else:
            own: encoders.Depth = 101 if config.network == "paper" else 18
            depth, width = (own, filters) if word == "own" else (encoders.RESNETS[word], 64)
            encoder = encoders.ResNetEncoder(in_channels, width, depth, 8 if architecture == "deeplabv2" else 32)
        if config.pretrained != "none" and self.fresh:
            self._start(encoder)
        elif config.freeze and self.fresh:
            self.remarks.append("the encoder is frozen at random weights: freeze without pretrained")
        decoder: nn.Module
        if architecture == "unet":
            decoder = UNetDecoder(encoder.widths, out_channels, max(4, filters // 2))
        else:
            decoder = (AtrousPyramid if architecture == "deeplabv2" else LinearHead)(encoder.widths, out_channels)
        return Segmenter(encoder, decoder, config.freeze)

    def _start(self, encoder: encoders.ResNetEncoder | encoders.ViTEncoder) -> None:
        """Gives the encoder its first weights, and says whose they are."""
        config = self.config
        if config.encoder != "own" and not self.photo:
            domain = self.domains[self.source]
            raise UserError(
                f"method.pretrained={config.pretrained}: encoder {config.encoder} learnt from photos; view "
                f"{self.source} is {domain.kind} of {domain.shape[0]} channels. Set method.pretrained=none."
            )
        digits = encoders.start(encoder, config.encoder, config.pretrained)
        self.saw = f"encoder {config.encoder} starts from {Path(config.pretrained).name} (SHA-256 {digits})"

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The network."""
        return (self.segmenter,)

    def learn(self, data: DataModule) -> None:
        """Counts the classes in the masks of the pairs, if they are weighted."""
        if self.config.class_weights == "none" or self.classes is None:
            return
        numbers, target = data.groups().get(self.pair, np.zeros(0, np.int64)), self.domains[self.target]
        counts = torch.zeros(self.classes)
        for start in range(0, len(numbers), _ROWS):
            labels = target.to_labels(target.unpack(data.compact(self.target, numbers[start : start + _ROWS])))
            counts += torch.bincount(labels[labels != IGNORED], minlength=self.classes)
        self.learnt["class_weights"] = class_weights(counts)
        if gone := [name for name, n in zip(self._class_names, counts.tolist(), strict=True) if not n]:
            self.remarks.append(f"no mask of the pairs has a pixel of {', '.join(gone)}")

    @property
    def _class_names(self) -> tuple[str, ...]:
        domain = self.domains[self.target]
        return domain.class_names or tuple(f"class {number}" for number in range(self.classes or 0))

    def feed(self, view: Tensor) -> Tensor:
        """Source views in the form of the network's input; with three means, one channel becomes three."""
        if not (self.photo and self.normalises):
            return self.domains[self.source].to_input(view)
        # A view of an image is in [0, 1], as ImageNet's statistics are, also where networks work in [-1, 1].
        return (view - self.mean) / self.sd

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The network's output, (B, channels, H, W): logits of K classes where the target has classes."""
        output: Tensor = self.segmenter(self.feed(view))
        return output

    def decided(self, output: Tensor, target: str) -> Tensor:
        """The most probable classes as a view; or the image."""
        return (
            super().decided(output, target)
            if self.classes is None
            else self.domains[target].from_labels(output.argmax(1))
        )

    def logits_of(self, output: Tensor, target: str) -> Tensor | None:
        """The network's output, if the target has classes."""
        return None if self.classes is None else output

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """What a step sees: `x` and `y`, photos of the pairs and their masks or labels; `photos`, those without one.

        What no sample of the batch shows is absent.
        """
        views: dict[str, Tensor] = {}
        if self.pair in batch:
            pairs, target = batch[self.pair], self.domains[self.target]
            y = pairs[self.target]
            views = {"x": pairs[self.source], "y": y if self.classes is None else target.to_labels(y)}
        if self.sees_photos and (self.source,) in batch:
            views["photos"] = batch[self.source,][self.source]
        return views

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What is shown, and what the network says of it: `output` of the pairs and `said` of the photos."""
        views = self.shown(batch)
        return views | self.answers(views, self.segmenter, "output", "said")

    def answers(
        self,
        views: Mapping[str, Tensor],
        network: nn.Module,
        of_pairs: str,
        of_photos: str,
        photos_teach: bool = True,
    ) -> dict[str, Tensor]:
        """What a network says of the pairs and of the photos without a mask, one after the other.

        Each has batch statistics of its own. At once, the pairs' statistics are those of the photos too, and masks were
        worse: with four pairs of chest X-rays at 32 px, two seeds, `advssl` had a mean Dice of .87 at once, .92 apart.

        Args:
            views: As `shown`.
            network: From network inputs to outputs.
            of_pairs: What the answer for the pairs is called; absent without pairs.
            of_photos: What the answer for the photos is called; absent without photos.
            photos_teach: Whether the answer for the photos has a gradient.
        """
        found = {of_pairs: network(self.feed(views["x"]))} if "x" in views else {}
        if "photos" in views:
            with torch.set_grad_enabled(photos_teach and torch.is_grad_enabled()):
                found[of_photos] = network(self.feed(views["photos"]))
        return found

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """Cross-entropy and the soft Dice loss, or the image's own loss."""
        return self.supervised(views)

    def strong(self, photos: Tensor) -> Tensor:
        """Strong views of photos, (B, C, H, W) in [0, 1]."""
        return strong_views(photos, self.uniform(torch.empty(len(photos), NUMBERS)))

    def boxes(self, photos: Tensor) -> Tensor:
        """Where CutMix puts a part of another photo into each, bool (B, H, W)."""
        drawn = self.uniform(torch.empty(len(photos), BOX_NUMBERS))
        return boxes(drawn, *photos.shape[-2:]).to(photos.device)

    def others(self, part: Tensor) -> Tensor:
        """What CutMix takes its parts from: the sample before, in the whole batch over all processes."""
        return self.own(self.gathered(part).roll(1, 0))

    def supervised(self, views: Mapping[str, Tensor], *outputs: str, group: str = "segmenter") -> Terms:
        """The terms of the pairs: `xy` and `dice`.

        Args:
            views: With `y`, and what networks say of the pairs.
            outputs: What that is called, for each network; none: `output`.
            group: The networks' group.
        """
        found = [views[name] for name in outputs or ("output",) if name in views]

        def total(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            losses = [loss(output, views["y"]) for output in found]
            return torch.stack(losses).sum() if losses else self.nothing(group)

        return {
            "xy": lambda: total(self.supervised_loss),
            "dice": lambda: total(lambda output, y: soft_dice(output, y, self.summed)),
        }

    def supervised_loss(self, output: Tensor, y: Tensor) -> Tensor:
        """The loss of an output against masks' labels or images.

        Raises:
            UserError: If classes are weighted and `learn` was not called.
        """
        if self.classes is None:
            return self.domains[self.target].loss(output, y)
        weights = None
        if self.config.class_weights != "none":
            if "class_weights" not in self.learnt:
                raise UserError(
                    "method.class_weights=visible: the classes are not counted yet; call method.learn(data) with the "
                    "DataModule first, or set class_weights=none."
                )
            weights = self.learnt["class_weights"].to(output.device)
        return cross_entropy(output, y, self.summed, weights)

    def weight(self, term: str) -> float:
        """No Dice loss where the target has no classes."""
        return 0.0 if term == "dice" and self.classes is None else super().weight(term)


def joined(views: Mapping[str, Tensor], *names: str) -> Tensor | None:
    """The tensors of these names, one after the other; `None` if there is none of them."""
    found = [views[name] for name in names if name in views]
    return torch.cat(found) if found else None


Sum = Callable[[Tensor], Tensor]
"""Adds up a sum over all processes that divide a batch: `Method.summed`."""


def cross_entropy(
    logits: Tensor, labels: Tensor, summed: Sum = lambda part: part, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the pixels that have a class.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W), int64, 0 to K − 1, or 255 where a pixel is not counted.
        summed: Adds up over processes.
        weights: Of each class, (K,); `None`: all alike.

    Returns:
        Weighted mean over the counted pixels of the batch, a scalar; 0, with a gradient of zero, if there are none.
    """
    total = F.cross_entropy(logits.float(), labels, weights, ignore_index=IGNORED, reduction="sum")
    if weights is None:
        return summed(total) / summed((labels != IGNORED).sum()).clamp_min(1)
    return summed(total) / summed(weights[labels[labels != IGNORED]].sum()).clamp_min(1e-6)


def class_weights(counts: Tensor) -> Tensor:
    """The inverse frequency of each class, (K,): Σ n / (K n_c), whose mean over all pixels is 1 if all classes occur.

    Args:
        counts: Pixels of each class, (K,). A class without any has weight 1.
    """
    return torch.where(counts > 0, counts.sum() / (len(counts) * counts.clamp_min(1)), 1.0)


def soft_dice(logits: Tensor, labels: Tensor, summed: Sum = lambda part: part) -> Tensor:
    """One minus the Dice coefficient, with probabilities p in place of decisions: 1 − 2 Σ p·t / (Σ p + Σ t).

    The sums of a class go over all counted pixels of the batch. A class that no counted pixel has is left out: its
    coefficient would be 0, however little of it is predicted.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W), int64, 0 to K − 1, or 255 where a pixel is not counted.
        summed: Adds up over processes.

    Returns:
        Mean over the classes that occur, a scalar in [0, 1]; 0, with a gradient of zero, if there are none.
    """
    counted = labels != IGNORED
    truth = F.one_hot(labels.where(counted, 0), logits.shape[1]).movedim(-1, 1).float() * counted[:, None]
    probabilities = torch.softmax(logits.float(), 1) * counted[:, None]
    over = (0, 2, 3)
    area = summed(truth.sum(over))
    common, expected = summed((probabilities * truth).sum(over)), summed(probabilities.sum(over))
    dice = 2 * common / (expected + area).clamp_min(1e-6)
    occurs = (area > 0).float()
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp_min(1)
