"""Metrics that keep one score per sample, each with its unit and direction; tables are derived from the scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lsmbench.palettes import IGNORED


class SampleMetric(Metric):
    """A metric that is a mean over samples and keeps the score of each sample.

    An undefined score is NaN; the mean skips it.

    Attributes:
        per_unit: Whether the scores that are averaged are those of units, such as patients, of whose samples the metric
            keeps counts. It is then updated with numbers of units in place of samples: by `scored_by`.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    per_unit: bool = False
    full_state_update: bool | None = False
    values: list[Tensor]
    indices: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("indices", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores a batch of decided views against the truth; returns shape (B,), NaN where undefined."""

    def update(self, prediction: Tensor, target: Tensor, indices: Tensor) -> None:
        """Adds a batch.

        Args:
            prediction: Decided views, as `Domain.decide` returns them.
            target: True views of the same shape.
            indices: The samples' numbers in the dataset, shape (B,); those of their units if `per_unit`.
        """
        self.values.append(self.score(prediction, target).float())
        self.indices.append(indices)

    def compute(self) -> Tensor:
        """Mean over the samples with a defined score; independent of how the samples are divided over processes."""
        return torch.nanmean(self._ordered()[1].double()).float()

    def pooled(self) -> float | None:
        """The value over all samples together, for a metric that is no mean over samples; else `None`."""
        return None

    def error(self, score: float) -> float:
        """Converts a score to an error, which a sweep minimises; 0 is perfect."""
        return 1 - score if self.higher_is_better else score

    def per_sample(self) -> tuple[list[int], list[float], NDArray[np.int64] | None]:
        """What is known of each sample, in ascending order of number; every process has to call this.

        Returns:
            The samples' numbers, their scores, and their confusion matrices (n, K, K) if the value is made of these;
            those of the units if `per_unit`.
        """
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            if not len(self.indices):
                return [], [], None
            indices, values = self._ordered()
            counts = self._counts()
        return indices.tolist(), values.tolist(), counts

    def confusion(self) -> list[list[int]] | None:
        """How many samples of each true class (row) are said to be of each class (column), (K, K).

        `None` for a metric of something else than classes of whole samples. Every process has to call this.
        """
        return None

    def _counts(self) -> NDArray[np.int64] | None:
        return None

    def _ordered(self) -> tuple[Tensor, Tensor]:
        indices = dim_zero_cat(self.indices)
        order = torch.argsort(indices)
        return indices[order], dim_zero_cat(self.values)[order]


class _ForegroundOverlap(SampleMetric):
    """How well the foreground classes of two class maps overlap, per sample, then averaged.

    Background is not scored. A class that neither the prediction nor the truth holds is skipped; a sample without any
    class to score is undefined.

    With `per_unit` a score is that of all samples of a unit together: pixels are counted over them, those of samples
    without the class included, and the counts of all samples are kept, so that the value is the same however samples
    are divided over batches and processes.

    Args:
        classes: Number of classes.
        background: The class that is not scored; `None`: all are.
        void: Whether pixels whose true label is 255 are not counted.
        per_unit: Whether units are scored in place of samples, e.g. all slices of a patient together.
    """

    higher_is_better = True
    measure: str
    sizes: list[Tensor]

    def __init__(
        self, classes: int, background: int | None = 0, void: bool = False, per_unit: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.background = background
        self.void = void
        self.per_unit = per_unit
        counted = f"{self.measure} of all classes" if background is None else f"foreground {self.measure}"
        self.unit = f"{counted}{' per unit (patient, person, scene), over all its samples' * per_unit}, 0 to 1"
        self.add_state("sizes", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def overlap(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        """The scores of classes from their numbers of pixels, NaN where a class is nowhere.

        Args:
            both: |A∩B|, of any shape.
            predicted: |A|.
            true: |B|.
        """

    def pixels(self, prediction: Tensor, target: Tensor) -> Tensor:
        """|A∩B|, |A| and |B| of each scored class, int64 (B, K, 3), of class maps (B, H, W)."""
        if self.void:
            prediction = prediction.where(target != IGNORED, IGNORED)
        counts = []
        for label in range(self.classes):
            if label != self.background:
                predicted, true = (prediction == label).flatten(1), (target == label).flatten(1)
                counts.append(torch.stack([(predicted & true).sum(1), predicted.sum(1), true.sum(1)], 1))
        return torch.stack(counts, 1)

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores class maps of shape (B, H, W), each alone."""
        return self.overlap(*self.pixels(prediction, target).unbind(2)).nanmean(1)

    def update(self, prediction: Tensor, target: Tensor, indices: Tensor) -> None:
        """Adds a batch; `values` keeps the scores of samples, also if units are scored."""
        super().update(prediction, target, indices)
        if self.per_unit:
            self.sizes.append(self.pixels(prediction, target))

    def _ordered(self) -> tuple[Tensor, Tensor]:
        if not self.per_unit:
            return super()._ordered()
        units, of = torch.unique(dim_zero_cat(self.indices), return_inverse=True)
        sizes = dim_zero_cat(self.sizes)
        sums = sizes.new_zeros(len(units), *sizes.shape[1:]).index_add(0, of, sizes)
        return units, self.overlap(*sums.double().unbind(2)).nanmean(1)


class ForegroundIoU(_ForegroundOverlap):
    """Intersection over union of the foreground classes, per sample, then averaged (LSM, App. A)."""

    name, measure = "iou", "IoU"

    def overlap(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        """|A∩B| / |A∪B|."""
        return both / (predicted + true - both)  # 0/0 = NaN: absent from both


class Dice(_ForegroundOverlap):
    """Dice coefficient of the foreground classes, per sample, then averaged (semanticGAN, supplement, §5).

    Of photos, each of which is one patient, this is the paper's Dice per patient. Of slices it is so with `per_unit`.
    """

    name, measure = "dice", "Dice"

    def overlap(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        """2|A∩B| / (|A| + |B|)."""
        return 2 * both / (predicted + true)


class ConfusionMetric(SampleMetric):
    """A score of one confusion matrix over all pixels of all label maps (Shukla et al., §4.1.2).

    Pixels whose true label is 255, or not a class, are not counted. Each sample keeps a score of its own too, over the
    classes that its truth or, for the IoU, its prediction holds.

    Args:
        classes: Number of classes.
        absent: How to score a class that occurs neither in the truth nor, for the IoU, in the predictions. `zero`: as
            0, like the published protocol, whose evaluation adds 1e-12 to the denominators; `ignore`: not at all.
    """

    higher_is_better = True
    confusions: list[Tensor]

    def __init__(self, classes: int, absent: Literal["zero", "ignore"] = "zero", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.absent = absent
        self.add_state("confusions", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def of(self, confusion: Tensor) -> Tensor:
        """The scores of matrices (B, K, K), rows true and columns predicted; shape (B,) or (B, K), NaN if undefined."""

    def matrices(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The samples' confusion matrices, int64 (B, K, K), of labels (B, H, W)."""
        k = self.classes
        counts = []
        for predicted, true in zip(prediction, target, strict=True):
            counted = true < k
            codes = true[counted].long() * k + predicted[counted].long()
            counts.append(torch.bincount(codes, minlength=k * k).reshape(k, k))
        return torch.stack(counts)

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores label maps of shape (B, H, W), 255 ignored."""
        return self._samples(self.matrices(prediction, target))

    def update(self, prediction: Tensor, target: Tensor, indices: Tensor) -> None:
        """Adds a batch of label maps."""
        matrices = self.matrices(prediction, target)
        self.confusions.append(matrices)
        self.values.append(self._samples(matrices).float())
        self.indices.append(indices)

    def _samples(self, matrices: Tensor) -> Tensor:
        scores = self.of(matrices.double())
        return scores.nanmean(1) if scores.ndim > 1 else scores

    def compute(self) -> Tensor:
        """The score over all samples together."""
        return self.of_sums(dim_zero_cat(self.confusions).sum(0)[None])[0].float()

    def of_sums(self, confusions: Tensor) -> Tensor:
        """The scores (n,) of n sums (n, K, K) of samples' confusion matrices, float64."""
        scores = self.of(confusions.double())
        if scores.ndim > 1:
            scores = scores.nan_to_num(0.0).mean(1) if self.absent == "zero" else scores.nanmean(1)
        return scores

    def pooled(self) -> float | None:
        """The score over all samples together."""
        return float(self.compute())

    def _counts(self) -> NDArray[np.int64]:
        order = torch.argsort(dim_zero_cat(self.indices))
        return dim_zero_cat(self.confusions)[order].cpu().numpy()


Pool = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Computes the values (n,) of n sums (n, K, K) of samples' confusion matrices."""


def ways_to_pool(name: str, classes: int) -> list[Pool]:
    """How a metric of this name may compute its value from the sum of confusion matrices (K, K); perhaps none."""
    kinds, found = ConfusionMetric.__subclasses__(), list[Pool]()
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        if kind.name == name:
            left_out: list[dict[str, Any]] = [{}]
            if issubclass(kind, PooledIoU):  # a score does not tell its background; 0 is the usual one
                left_out = [{"background": label} for label in (*range(classes), None)]
            found += [
                partial(_of_sums, kind(classes, absent, **more)) for more in left_out for absent in ("zero", "ignore")
            ]
    return found


def _of_sums(metric: ConfusionMetric, confusions: NDArray[Any]) -> NDArray[np.float64]:
    return metric.of_sums(torch.from_numpy(np.ascontiguousarray(confusions))).numpy()


class PixelAccuracy(ConfusionMetric):
    """Share of the pixels that get their true class."""

    name = "accuracy"
    unit = "share of pixels, 0 to 1"

    def of(self, confusion: Tensor) -> Tensor:
        """Σ diagonal / Σ."""
        return confusion.diagonal(dim1=1, dim2=2).sum(1) / confusion.sum((1, 2))


class ClassAccuracy(ConfusionMetric):
    """Share of a class's pixels that get their true class, averaged over the classes."""

    name = "class_accuracy"
    unit = "mean over classes of the share of pixels, 0 to 1"

    def of(self, confusion: Tensor) -> Tensor:
        """Diagonal / rows."""
        return confusion.diagonal(dim1=1, dim2=2) / confusion.sum(2)


class MeanIoU(ConfusionMetric):
    """Intersection over union, averaged over the classes.

    Args:
        classes: Number of classes, background included.
        absent: As `ConfusionMetric`.
        background: A class that is not averaged; its pixels still count as wrong ones of other classes. `None`: all
            are.
    """

    name = "miou"
    unit = "mean IoU over classes, 0 to 1"

    def __init__(
        self,
        classes: int,
        absent: Literal["zero", "ignore"] = "zero",
        background: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, absent, **kwargs)
        self.background = background

    def of(self, confusion: Tensor) -> Tensor:
        """Diagonal / (rows + columns − diagonal)."""
        hit = confusion.diagonal(dim1=1, dim2=2)
        ious = hit / (confusion.sum(2) + confusion.sum(1) - hit)
        return ious[:, [label for label in range(self.classes) if label != self.background]]


class PooledIoU(MeanIoU):
    """Mean IoU of the foreground classes, each over the pixels of all samples: Σ|A∩B| / Σ|A∪B|.

    The mIoU of semanticGAN (supplement, §5). `ForegroundIoU` is a mean over samples instead.
    """

    name = "pooled_iou"
    unit = "mean over foreground classes of the IoU over all pixels, 0 to 1"

    def __init__(
        self,
        classes: int,
        absent: Literal["zero", "ignore"] = "ignore",
        background: int | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, absent, background, **kwargs)


class CategoryAccuracy(SampleMetric):
    """Whether a sample gets its true class; the mean is the share of the samples that do.

    Args:
        classes: Number of classes.
    """

    name = "accuracy"
    unit = "share of samples, 0 to 1"
    higher_is_better = True
    told: Tensor

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.add_state("told", default=torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores class numbers of shape (B,): 1 or 0."""
        return (prediction == target).float()

    def update(self, prediction: Tensor, target: Tensor, indices: Tensor) -> None:
        """Adds a batch of class numbers."""
        super().update(prediction, target, indices)
        k = self.classes
        counts = torch.bincount(target.long() * k + prediction.long(), minlength=k * k).reshape(k, k)
        self.told = self.told + counts  # in place it might be a tensor of inference mode

    def confusion(self) -> list[list[int]]:
        """Rows true, columns said."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            told: list[list[int]] = self.told.tolist()
        return told


class ColourAccuracy(SampleMetric):
    """Share of the pixels whose greatest difference over the channels lies strictly below a threshold.

    Shukla et al., §4.2.2, for maps: 20 of 255; 19 is right and 20 is wrong. Per image, then averaged.

    Args:
        threshold: In steps of 8-bit colours.
    """

    name = "accuracy"
    higher_is_better = True

    def __init__(self, threshold: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.unit = f"share of pixels within {threshold - 1} of 255 in every channel, 0 to 1"

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores images of shape (B, C, H, W) in [0, 1]."""
        steps = [(view.clamp(0, 1) * 255).round() for view in (prediction, target)]
        right = (steps[0] - steps[1]).abs().amax(1) < self.threshold
        return right.flatten(1).float().mean(1)


class MeanSquaredError(SampleMetric):
    """Mean squared difference over the elements of a view."""

    name = "mse"
    unit = "squared intensity, the domain's range being one unit"
    higher_is_better = False

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores views of shape (B, ...)."""
        return (prediction - target).square().flatten(1).mean(1)


class MeanAbsoluteError(SampleMetric):
    """Mean absolute difference over the elements of a view (L1)."""

    name = "l1"
    unit = "intensity, the domain's range being one unit"
    higher_is_better = False

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores views of shape (B, ...)."""
        return (prediction - target).abs().flatten(1).mean(1)


class NRMSE(SampleMetric):
    """Mean distance of predicted from true points, in units of a length on the true ones (LSM, eq. 13).

    Despite its name, NRMSE takes no root of a mean square: a sample's score is the mean Euclidean distance over its
    points, divided by the distance D between the eyes of the *true* points. The scale of the points does not matter.

    Args:
        eyes: The two points, counted from 0, whose distance is the unit; `None`: the diagonal of the bounding box.
        name: The metric's name.
    """

    higher_is_better = False

    def __init__(self, eyes: tuple[int, int] | None = (36, 45), name: str = "nrmse", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eyes = eyes
        self.name = name
        length = "diagonal of the true bounding box" if eyes is None else f"distance of points {eyes[0]} and {eyes[1]}"
        self.unit = f"mean point distance / {length}"

    def unit_length(self, target: Tensor) -> Tensor:
        """D of each sample; shape (B,)."""
        if self.eyes is None:
            return _lengths(target.amax(1) - target.amin(1))
        first, second = self.eyes
        return _lengths(target[:, first] - target[:, second])

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scores points of shape (B, P, 2)."""
        return _lengths(prediction - target).mean(1) / self.unit_length(target)


def _lengths(vectors: Tensor) -> Tensor:
    out: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return out
