"""Landmarks: points of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.base import Domain
from lsmbench.errors import UserError
from lsmbench.metrics import NRMSE, SampleMetric

EYES = {"outer": (36, 45), "released_code": (37, 46)}
"""Points, counted from 0, whose distance is the unit of errors on faces with 68 points: the outer corners of the eyes,
or the points that the LSM authors' code takes by reading the 1-based numbers 37 and 46 as 0-based. The latter distance
is about 0.84 times the former, so that errors look 1.19 times as large."""


def in_proportion(points: NDArray[np.float32], sizes: NDArray[np.generic]) -> NDArray[np.float32]:
    """True points for errors in the pictures' own proportions: as a last point the sides, the longer one being 1.

    Args:
        points: (N, P, 2) in [0, 1].
        sizes: Width and height of what is shown of each picture, (N, 2).

    Returns:
        (N, P + 1, 2).
    """
    sides = np.asarray(sizes, np.float64)
    sides = (sides / sides.max(1, keepdims=True)).astype(np.float32)
    return np.concatenate([points, sides[:, None]], 1)


_TRUTH, _PREDICTION = (64, 190, 255), (255, 96, 32)


@dataclass(frozen=True, repr=False)
class Landmarks(Domain):
    """Points: views are float (B, P, 2), x then y, in [0, 1] with the origin at the top left; stored as float32.

    Networks take and return one vector of 2·P numbers, x and y in turn; a sigmoid activates outputs.

    Attributes:
        points: Number of points.
        eyes: Unit of errors. `outer`: distance of the outer corners of the eyes; `released_code`: distance of the
            points that LSM's released code takes (both for 68 points; scores in the other unit are reported too); two
            points: their distance; `None`: the diagonal of the true points' bounding box.
        proportions: Whether errors are measured in the pictures' own proportions: the truth is then what
            `in_proportion` makes. Views are in the unit square all the same.
    """

    points: int
    eyes: Literal["outer", "released_code"] | tuple[int, int] | None = "outer"
    proportions: bool = False
    kind: ClassVar[str] = "landmarks"

    def __repr__(self) -> str:
        """Without `proportions` if they are not used: fingerprints of other data stay as they are."""
        more = ", proportions=True" if self.proportions else ""
        return f"Landmarks(points={self.points}, eyes={self.eyes!r}{more})"

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Points scaled by their picture's sides, if the truth knows them (`in_proportion`); else as they are."""
        if truth.shape[1] == self.points:
            return prediction, truth
        sides = truth[:, -1:]
        return prediction * sides, truth[:, :-1] * sides

    @property
    def shape(self) -> tuple[int, ...]:
        """(2·P,)."""
        return (2 * self.points,)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for float (N, P, 2) in [0, 1], and that no sample's unit of length is zero."""
        if stored.shape[1:] != (self.points, 2):
            raise UserError(f"{origin}: expected {self.points} points of 2 numbers, found shape {stored.shape[1:]}.")
        if not np.issubdtype(stored.dtype, np.floating):
            raise UserError(f"{origin}: expected points as floats in [0, 1], found {stored.dtype}.")
        points = np.asarray(stored, np.float64)
        inside = ((points >= 0.0) & (points <= 1.0)).all((1, 2))  # False for NaN
        if not inside.all():
            bad = np.flatnonzero(~inside)
            raise UserError(
                f"{origin}: points must lie in [0, 1], but {len(bad)} of {len(stored)} samples have points outside, "
                f"first sample {bad[0]}."
            )
        for metric in self.metrics():
            units = cast(NRMSE, metric).unit_length(torch.from_numpy(points)).numpy()
            if (units <= 0).any():
                bad = np.flatnonzero(units <= 0)
                raise UserError(
                    f"{origin}: the errors of sample {bad[0]} have no unit: {metric.unit} would divide by zero. Mend "
                    "or remove the sample."
                )

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """As float32."""
        return torch.from_numpy(np.ascontiguousarray(stored.astype(np.float32)))

    def unpack(self, compact: Tensor) -> Tensor:
        """Returns the points unchanged."""
        return compact

    def to_input(self, view: Tensor) -> Tensor:
        """Flattens the points to one vector per sample."""
        return view.flatten(1)

    def activate(self, output: Tensor) -> Tensor:
        """One sigmoid (the released landmark decoder has two, which confines points to (.5, .73))."""
        return torch.sigmoid(output)

    def decide(self, output: Tensor) -> Tensor:
        """Back to points."""
        return self.activate(output).reshape(-1, self.points, 2)

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """MSE (LSM, Table 4)."""
        return F.mse_loss(self.activate(output), self.to_input(view))

    def metrics(self) -> list[SampleMetric]:
        """NRMSE in the chosen unit; on faces with 68 points also in the other unit."""
        if self.eyes in ("outer", "released_code"):
            named: dict[str, SampleMetric] = {
                "outer": NRMSE(EYES["outer"]),
                "released_code": NRMSE(EYES["released_code"], "nrmse_released"),
            }
            first = named.pop(str(self.eyes))
            return [first, *named.values()]
        return [NRMSE(cast(tuple[int, int] | None, self.eyes))]

    def constant(self, views: Tensor) -> Tensor:
        """The mean shape, which minimises the MSE."""
        return views.double().mean(0, keepdim=True).float()

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Points on a dark ground."""
        return self.overlay(views, np.full((len(views), 1, 1, 3), 24, np.uint8))

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """Points over the source: the truth in blue, predictions in orange, each with a line to its true point."""
        side, fine = 256, 2  # drawn twice as large and reduced, for smooth edges
        predicted = views.detach().cpu().numpy()
        true = None if truth is None else truth.detach().cpu().numpy()
        drawn = np.empty((len(predicted), side, side, 3), np.uint8)
        for i, points in enumerate(predicted):
            picture = Picture.fromarray(pictures[i]).resize((side * fine, side * fine), Picture.Resampling.BICUBIC)
            pen = ImageDraw.Draw(picture)
            scale, radius = side * fine, 2.0 * fine
            if true is not None:
                for a, b in zip(points * scale, true[i] * scale, strict=True):
                    pen.line([*a.tolist(), *b.tolist()], fill=(255, 230, 90), width=fine)
            shown = [(points, _TRUTH)] if true is None else [(true[i], _TRUTH), (points, _PREDICTION)]
            for shape, colour in shown:
                for x, y in (shape * scale).tolist():
                    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
            drawn[i] = np.asarray(picture.resize((side, side), Picture.Resampling.BOX))
        return drawn
