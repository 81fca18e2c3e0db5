"""Label maps as colour images, and photos that are scored by a segmenter's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.image import Image
from lsmbench.domains.judges import Segmenter
from lsmbench.errors import UserError
from lsmbench.metrics import ClassAccuracy, MeanIoU, PixelAccuracy, SampleMetric
from lsmbench.palettes import Palette

Absent = Literal["zero", "ignore"]


@dataclass(frozen=True)
class LabelColours(Image):
    """Label maps as colour images, as image-to-image GANs make them (Shukla et al., §4.1).

    Networks take and return colours. Each pixel of a prediction gets the class with the nearest colour. Pixels without
    a class (void) have a colour for networks, but predictions have no void, and void pixels are not scored.

    Attributes:
        palette: The classes' colours.
        absent: How means over classes treat a class that does not occur: `zero` scores 0, `ignore` leaves it out.
    """

    palette: Palette = field(kw_only=True)
    absent: Absent = field(default="zero", kw_only=True)
    kind: ClassVar[str] = "label colours"
    nearest: ClassVar[bool] = True

    @property
    def label_count(self) -> int:
        """The number of classes, without void."""
        return len(self.palette)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The palette's names."""
        return self.palette.names

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for uint8 (N, 3, H, W) that holds colours of the palette only."""
        super().check(stored, origin)
        if stored.dtype != np.uint8:
            raise UserError(f"{origin}: expected label colours as uint8, found {stored.dtype}.")
        for number, picture in enumerate(np.moveaxis(np.asarray(stored, np.uint8), 1, -1)):
            if strange := self.palette.unknown(picture):
                (colour, near), more = strange[0], len(strange) - 1
                raise UserError(
                    f"{origin}: sample {number} holds the colour {colour}"
                    + (f" and {more} more that are" if more else ", which is")
                    + f" not in the palette {self.palette.name} (nearest: {near}). Correct the map or the palette."
                )

    def to_labels(self, view: Tensor) -> Tensor:
        """Labels of the nearest colours, void included."""
        return self.palette.decode(view, void=True).long()

    def from_labels(self, labels: Tensor) -> Tensor:
        """The classes' colours in [0, 1]."""
        table = torch.from_numpy(self.palette.encode(np.arange(256).reshape(1, 256))).to(labels.device)[:, 0]
        return table.T[labels].movedim(-1, 1).float() / 255.0

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Labels, uint8 (B, H, W), at the truth's resolution.

        If the truth is a label map of another size, as at Cityscapes' full resolution, the predicted colours are
        resized to that size bilinearly and then decoded (§4.1.2, which names no filter).
        """
        if truth.ndim == 4:
            return self.palette.decode(prediction), self.palette.decode(truth, void=True)
        decoded = []
        for colours in prediction:  # full resolution is large: one sample at a time
            decoded.append(self.palette.decode(_resized(colours[None], truth.shape[1:]))[0])
        return torch.stack(decoded), truth

    def metrics(self) -> list[SampleMetric]:
        """Pixel accuracy, mean class accuracy and mean IoU, of one confusion matrix over all test pixels."""
        return _label_metrics(self.label_count, self.absent)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """The palette, and the colour that void is drawn in."""
        palette = self.palette
        void = [("not scored", palette.void[0])] if palette.void else []
        return [*zip(palette.names, palette.colours, strict=True), *void]

    def constant(self, views: Tensor) -> Tensor:
        """Each pixel's most frequent class, which has the best pixel accuracy."""
        labels = self.palette.decode(views, void=True)
        counts = torch.stack([(labels == c).sum(0) for c in range(len(self.palette))])
        return self.from_labels(counts.argmax(0)[None])


@dataclass(frozen=True)
class SegmentedPhoto(Image):
    """Photos made from labels, and scored by the labels that a segmenter gives them (Shukla et al., §6.4).

    Attributes:
        segmenter: The network that classifies pixels.
        absent: How means over classes treat a class that does not occur: `zero` scores 0, `ignore` leaves it out.
    """

    segmenter: Segmenter = field(kw_only=True)
    absent: Absent = field(default="zero", kw_only=True)

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The segmenter's labels of the prediction, resized to the size of the true labels, and the true labels.

        Both are uint8 (B, H, W).
        """
        if truth.ndim != 3:
            raise TypeError("a segmented photo is compared with labels: Dataset.truth has to return labels")
        seen = [self.segmenter.labels(_resized(photo[None], truth.shape[1:]))[0] for photo in prediction]
        return torch.stack(seen), truth

    def judged(self) -> dict[str, Any]:
        """The segmenter, which nobody has tested here."""
        return {"kind": "segmenter", "digest": self.segmenter.digest}

    def metrics(self) -> list[SampleMetric]:
        """As for label colours."""
        return _label_metrics(self.segmenter.classes, self.absent)


def _label_metrics(classes: int, absent: Absent) -> list[SampleMetric]:
    return [PixelAccuracy(classes), ClassAccuracy(classes, absent), MeanIoU(classes, absent)]


def _resized(pictures: Tensor, size: Sequence[int]) -> Tensor:
    if list(pictures.shape[2:]) == list(size):
        return pictures
    return F.interpolate(pictures, tuple(size), mode="bilinear", align_corners=False)
