"""Images that are scored by the class that a classifier sees in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lsmbench.domains.image import Image
from lsmbench.domains.judges import Classifier
from lsmbench.metrics import CategoryAccuracy, SampleMetric


@dataclass(frozen=True)
class JudgedImage(Image):
    """Images, such as digits, that are scored by the class that a classifier sees in them.

    The classifier is the same for all methods, and knows nothing of the source. Methods that tell the class themselves
    are scored by what they say.

    Attributes:
        judge: The classifier.
    """

    judge: Classifier = field(kw_only=True)

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Class numbers, int64 (B,), of predicted images (or, as they are, those that a method tells), and true ones.

        True images are judged, too.
        """
        said, known = (self.judge.labels(view) if view.ndim == 4 else view.long() for view in (prediction, truth))
        return said, known.to(said.device)

    @property
    def categories(self) -> tuple[str, ...]:
        """The judge's classes."""
        return self.judge.classes

    def metrics(self) -> list[SampleMetric]:
        """Accuracy."""
        return [CategoryAccuracy(len(self.categories))]

    def judged(self) -> dict[str, Any]:
        """The classifier, with its accuracy on the domain's own test images."""
        right = self.judge.correct
        known = {"metric": self.metrics()[0].name, "value": float(right.mean()), "samples": len(right)}
        return {"kind": "classifier", "digest": self.judge.digest, **known}
