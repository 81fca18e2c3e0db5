"""A score: one metric's value for every sample of a test set. Evaluations make scores; tables derive from them."""

from __future__ import annotations

import base64
import math
import zlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeInt,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


def _packed(counts: NDArray[np.int64]) -> dict[str, Any]:
    data = zlib.compress(np.ascontiguousarray(counts, dtype="<i8").tobytes(), 9)
    return {"shape": list(counts.shape), "zlib": base64.b64encode(data).decode()}


def _unpacked(value: Any) -> NDArray[np.int64]:
    if isinstance(value, dict):
        try:
            data = zlib.decompress(base64.b64decode(value["zlib"]))
            value = np.frombuffer(data, "<i8").reshape(value["shape"])
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise ValueError(f"expected a shape and the numbers as base64 of zlib ({error})") from error
    counts = np.array(value, np.int64)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2]:
        raise ValueError(f"expected counts of shape (n, K, K), found {counts.shape}")
    return counts


Numbers = Annotated[
    list[float], BeforeValidator(lambda v: [math.nan if x is None else x for x in v] if isinstance(v, list) else v)
]
"""Floats that JSON has as `null` where they are NaN."""

Counts = Annotated[
    NDArray[np.int64], PlainValidator(_unpacked), PlainSerializer(_packed, dict[str, Any], when_used="json")
]
"""Integers of shape (n, K, K); in JSON their shape, and zlib of the little-endian int64 bytes in base64."""


class Score(BaseModel):
    """One metric's value for every sample of a test set.

    Attributes:
        metric: The metric's word, e.g. `iou`.
        source: View that was given.
        target: View that was predicted and scored.
        unit: What the number means.
        higher_is_better: Direction.
        indices: Sample numbers in the dataset, ascending.
        values: The score of each sample; NaN where the metric is undefined (`null` in JSON).
        pooled: The value over all samples together, of a metric that is no mean of the samples' scores.
        test_set: Name of the test set.
        units: The patient, person or scene that each sample belongs to; `None` if samples belong to none.
        counts: A confusion matrix per sample, shape (n, K, K), of a metric that is computed from their sum.
        classes: What the K classes are called; `None` without counts and `confusion`, or where they have no names.
        confusion: How many samples of each true class (row) are said to be of each class (column), (K, K), of a metric
            of the class of whole samples.
        names: What people call each sample, such as its file; `None` if samples have no names.
        per_unit: Whether the values are those of units, such as all slices of a patient together: then `indices` holds
            the number of each unit's first sample, `units` and `names` what the unit is called.
    """

    model_config = ConfigDict(extra="forbid")

    metric: str
    source: str
    target: str
    unit: str
    higher_is_better: bool
    indices: list[int]
    values: Numbers
    pooled: float | None = None
    test_set: str = "test"
    units: list[str] | None = None
    counts: Counts | None = None
    classes: list[str] | None = None
    names: list[str] | None = None
    confusion: list[list[NonNegativeInt]] | None = None
    per_unit: bool = False

    @model_validator(mode="after")
    def _one_per_sample(self) -> Score:
        n = len(self.indices)
        for name, entries in (
            ("values", self.values),
            ("units", self.units),
            ("counts", self.counts),
            ("names", self.names),
        ):
            if entries is not None and len(entries) != n:
                raise ValueError(f"{self.metric} has {len(entries)} {name} for {n} samples, expected one per sample")
        return self

    @model_validator(mode="after")
    def _square(self) -> Score:
        if (rows := self.confusion) is not None and (not rows or any(len(row) != len(rows) for row in rows)):
            raise ValueError(f"{self.metric} has a confusion matrix that is not square")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = dump(self)
        for name in ("names", "confusion"):
            if plain[name] is None:
                del plain[name]
        if not self.per_unit:
            del plain["per_unit"]
        return plain

    @property
    def value(self) -> float:
        """The score of the run: `pooled` if there is one, else the mean over the samples."""
        return self.mean if self.pooled is None else self.pooled

    @property
    def class_ious(self) -> list[float]:
        """IoU of each class over all samples together, NaN where a class neither occurs nor is predicted.

        Empty without counts.
        """
        if self.counts is None:
            return []
        confusion = self.counts.sum(0).astype(np.float64)
        hit = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - hit
        return [float(h / u) if u else math.nan for h, u in zip(hit, union, strict=True)]

    @property
    def mean(self) -> float:
        """Mean over the samples for which the metric is defined."""
        defined = [v for v in self.values if not math.isnan(v)]
        return sum(defined) / len(defined) if defined else math.nan
