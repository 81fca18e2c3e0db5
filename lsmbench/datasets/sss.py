"""SSS, sarcopenia semantic segmentation (Mayet et al. 2022, Appendix A.3): drawn stand-ins, or your own copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, data_root
from lsmbench.data.decoding import Reading
from lsmbench.data.inputs import InputForm, PictureInput
from lsmbench.datasets.folder import Folder
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same options give other arrays: cached arrays of other versions are not used."""

_GROUND, _SUBCUTANEOUS, _VISCERAL, _MUSCLE = range(4)
_PRIVATE = (
    "The paper's set is private: 527 CT slices at the third lumbar vertebra, of the Henri Becquerel centre in Rouen "
    "(Lanic et al. 2014); ask the authors of the LSM paper for it. Expected are LSMBENCH_DATA/sss/images with the "
    "slices and LSMBENCH_DATA/sss/masks with a PNG of the same stem and size each: 0 background, 1 subcutaneous "
    "adipose tissue, 2 visceral adipose tissue, 3 skeletal muscle. variant=generated needs no files."
)

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass
class SSS(Dataset):
    """Abdominal CT slices to fat and muscle (LSM, App. A.3; drawn stand-ins, as the paper's set is private).

    The paper's set is private, so `variant="generated"` draws slices. Scores on them are not comparable with the
    paper's Table 3, but compare methods on a task of the same form. Each drawing is a slice at the third lumbar
    vertebra: body with skin, subcutaneous fat, wall and back muscles, psoas, vertebra, bowel, vessels, sometimes
    kidneys, liver, arms and the table. Build, fat, muscle, position, window, noise and streaks vary between samples.
    Classes: 0 background (with skin, bones, organs, arms), 1 subcutaneous adipose tissue, 2 visceral adipose tissue, 3
    skeletal muscle.

    `variant="folder"` reads your own copy, LSMBENCH_DATA/sss/images and masks, as `Folder` reads any folder; also in
    train/, val/ and test/. Colours become grey; slices of 16 bit are stored as float32 in [0, 1].

    Views: `x`, grey, stored as uint8 (N, 1, size, size); `y`, stored as uint8 (N, size, size), 0 to 3. Generated sample
    i depends on `data_seed`, i and `size` only: a larger set begins with the smaller one. Sizes show the same bodies.

    Floor, foreground IoU of the best constant mask of the training part on the test part, 527 generated slices: .40 to
    .42 by `data_seed`, at 128 px and at 32 px alike (.423 for the default). The real set's floor is not known.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "sss"

    size: int = option(128, "Height and width of images and masks, divisible by 4.", unit="px", source="App. A.3")
    samples: int = option(527, "Number of generated slices; your own copy is always used whole.", source="App. A.3")
    variant: Literal["generated", "folder"] = option(
        "generated",
        "Draw stand-ins for CT slices, or read your own copy of the private set from LSMBENCH_DATA/sss.",
        choices=("generated", "folder"),
    )
    data_seed: int = option(0, "Seed of the generated slices.")
    reconstruction: Literal["mse", "l1"] = option(
        "mse",
        "Loss of the image's reconstruction.",
        source="App. A.3; the released code uses l1",
        choices=("mse", "l1"),
    )

    @property
    def domains(self) -> dict[str, Domain]:
        """A grey image and a four-class mask."""
        return {"x": Image(1, self.size, reconstruction=self.reconstruction), "y": Mask(4, self.size)}

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 generated slices of 32 px; needs no files."""
        return cls(size=32, samples=40)

    def load(self) -> Arrays:
        """Images `x`, uint8 (N, 1, size, size), and masks `y`, uint8 (N, size, size), 0 to 3; kept in the cache.

        Raises:
            UserError: If your own copy is asked for and missing, with what is expected; for its files, as
                `Folder.load`; or if the cache cannot be written to.
        """
        if self.variant == "folder":
            return self._own().load()
        key = {"version": VERSION, "size": self.size, "samples": self.samples, "data_seed": self.data_seed}
        return cached_arrays(self.name, key, [], lambda: _generate(self.size, self.samples, self.data_seed))

    def split(self, count: int, seed: int | None) -> Split:
        """Splits 70/10/20; your own copy as `Folder` does.

        Args:
            count: Number of samples.
            seed: Shuffles before splitting; `None` keeps the order of generated samples.

        Raises:
            UserError: If a part would be empty.
        """
        return self._own().split(count, seed) if self.variant == "folder" else super().split(count, seed)

    def inspect(self) -> Inspection:
        """Checks every file of your own copy; of generated slices, counts the samples as any dataset does."""
        if self.variant == "generated":
            return super().inspect()
        inspection = Inspection()
        with inspection.findings.gathering():
            return self._own().inspect()
        return inspection

    def inputs(self) -> InputForm | None:
        """Slices as grey pictures, stretched; of your own copy with the range of numbers that it has."""
        if self.variant == "folder":
            return self._own().inputs()
        return PictureInput(Reading(self.size, channels=1, exif="apply"))

    def _own(self) -> _Own:
        root = data_root()
        if root is None:
            raise UserError(f"dataset sss: LSMBENCH_DATA, the folder of your datasets, is not set. {_PRIVATE}")
        folder = root / "sss"
        if not any((folder / name).is_dir() for name in ("images", "train")):
            raise UserError(f"dataset sss: no folder {folder / 'images'}. {_PRIVATE}")
        return _Own(str(folder), size=self.size, classes=4, channels=1)


class _Own(Folder):
    """The user's own copy; the class gives its name to messages and to the cache."""

    name: ClassVar[str] = "sss"


# Generated slices. Lengths are in cm, x to the right (the patient's left) and y down (to the back), from the middle of
# the vertebra; densities are Hounsfield units. Shapes are computed from sums, products, quotients and roots only, which
# every machine rounds alike.

_AIR, _FAT = -1000.0, -100.0

Waves = Sequence[tuple[float, float]]


def _generate(size: int, samples: int, seed: int) -> Arrays:
    images, masks = np.empty((samples, 1, size, size), np.uint8), np.empty((samples, size, size), np.uint8)
    for i in range(samples):
        images[i, 0], masks[i] = _Slice(size, np.random.default_rng((seed, i, 33))).drawn()
    return {"x": images, "y": masks}


@dataclass(frozen=True)
class _Oval:
    """An outline: an ellipse whose front and back halves may differ in depth, made squarer and wavy.

    Attributes:
        x: Position of the middle.
        y: Position of the greatest width.
        width: Half the width.
        front: Distance from the middle to the front.
        back: Distance from the middle to the back; 0: as `front`.
        round: 1 for an ellipse, less for a squarer outline.
        slope: Slope of the horizontal axis.
        waves: Cosine and sine of 2, 3, 4 … waves around, as shares of the radius.
    """

    x: float
    y: float
    width: float
    front: float
    back: float = 0.0
    round: float = 1.0
    slope: float = 0.0
    waves: Waves = ()

    def depth(self, x: Plane, y: Plane) -> Plane:
        """Distance of places from the outline, in cm near the outline; positive inside, negative outside."""
        norm = np.float32(1 / math.sqrt(1 + self.slope * self.slope))
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        if self.slope:
            dx, dy = (dx + np.float32(self.slope) * dy) * norm, (dy - np.float32(self.slope) * dx) * norm
        reach: Plane = np.where(dy < 0, self.front, self.back or self.front).astype(np.float32)
        a, b = dx / np.float32(self.width), dy / reach
        aa, bb = a * a, b * b
        ellipse = np.sqrt(aa + bb) + np.float32(1e-6)
        radius = ellipse
        if self.round != 1.0:
            radius = np.sqrt(np.sqrt(aa * aa + bb * bb + np.float32(2 * self.round) * aa * bb)) + np.float32(1e-6)
        edge = np.ones_like(a)
        if self.waves:
            cosine, sine = a / ellipse, b / ellipse
            c, s = cosine, sine
            for wave_c, wave_s in self.waves:
                c, s = c * cosine - s * sine, s * cosine + c * sine
                edge += np.float32(wave_c) * c + np.float32(wave_s) * s
        steepness = np.sqrt(aa / np.float32(self.width * self.width) + bb / (reach * reach)) + np.float32(1e-6)
        depth: Plane = (edge - radius) * ellipse / steepness
        return depth

    def front_at(self, x: float) -> float:
        """Position y of the outline's front at `x`, without waves."""
        a = min(1.0, abs((x - self.x) / self.width))
        b = math.sqrt(
            max(0.0, math.sqrt(1 - a * a * a * a + self.round * self.round * a * a * a * a) - self.round * a * a)
        )
        return self.y - self.front * b


class _Slice:
    """One patient: draws random numbers, paints shapes over one another, adds noise last.

    Args:
        size: Height and width in pixels.
        rng: Generator of this patient's numbers.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.fatness = self.between(0, 1.25) * self.between(0.1, 1)
        self.visceral = 0.6 * self.between(0, 1) + 0.4 * self.fatness
        self.strength = self.between(0.72, 1.15)
        self.muscle = self.between(25, 65)
        self.contrast = self.between(60, 200) if self.chance(0.6) else 0.0

        width = 11.8 + 2.6 * self.visceral + self.between(0, 1.8)
        front = 6.8 + 6.0 * self.visceral + self.between(0, 1.6)
        widest = -0.28 * front + self.between(-0.4, 0.4)
        skin = (
            0.5 + 4.2 * self.fatness * self.between(0.6, 1.2),
            0.6 + 4.0 * self.fatness * self.between(0.6, 1.3),
            1.0 + 3.6 * self.fatness * self.between(0.7, 1.2),
        )
        square = self.between(0.35, 0.75)
        waves = self.waves(0.012)
        self.back = 6.2 + 0.8 * self.strength
        self.wall = _Oval(0, widest, width, front + widest, 3.9 - widest, square, waves=waves)
        self.body = _Oval(
            0, widest, width + skin[0], front + skin[1] + widest, self.back + skin[2] - widest,
            square + 0.25, waves=waves,
        )  # fmt: skip
        self.arms = self.chance(0.12)

        # As if cropped by hand: the body fills the picture, but for a margin.
        scale = self.between(0.8, 0.98) / self.body.width * (0.8 if self.arms else 1.0)
        tilt = self.between(-0.12, 0.12)
        self.turn = (1 / math.sqrt(1 + tilt * tilt), tilt / math.sqrt(1 + tilt * tilt))
        self.shift = (self.between(-0.8, 0.8), self.between(-1.0, 1.0))
        self.middle = (self.back + skin[2] - front - skin[1]) / 2
        pixels = ((np.arange(size) + 0.5) * 2 / size - 1) / scale
        u, v = np.meshgrid(pixels + self.shift[0], pixels + self.shift[1])
        cosine, sine = self.turn
        self.x = (u * cosine + v * sine).astype(np.float32)
        self.y = (v * cosine - u * sine + self.middle).astype(np.float32)
        self.pixels = np.float32(scale * size / 2)
        self.density = np.full((size, size), _AIR, np.float32)
        self.classes = np.zeros((size, size), np.uint8)

    # Numbers

    def between(self, low: float, high: float) -> float:
        """A uniform random number."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """True with the probability `share`."""
        return bool(self.rng.random() < share)

    def waves(self, strength: float, count: int = 4) -> Waves:
        """Random waves of an outline; shorter waves are weaker."""
        ends = [2 * strength / k for k in range(2, 2 + count)]
        return [(self.between(-end, end), self.between(-end, end)) for end in ends]

    # Painting

    def cover(self, depth: Plane) -> Plane:
        """Share of each pixel's area where the depth is positive."""
        covered: Plane = np.clip(depth * self.pixels + np.float32(0.5), 0, 1)
        return covered

    def paint(
        self, covered: Plane, density: float, label: int | None, at: tuple[slice, slice] = (slice(None), slice(None))
    ) -> None:
        """Paints over the picture; a pixel that is covered by more than half gets the class `label`."""
        self.density[at] += covered * (np.float32(density) - self.density[at])
        if label is not None:
            self.classes[at][covered > 0.5] = label

    def oval(
        self, oval: _Oval, density: float, label: int | None, within: Plane | None = None, strength: float = 1.0
    ) -> None:
        """Paints a shape, or its part that covers `within`, with an opacity `strength` of 0 to 1."""
        near = self.near(oval)
        covered = self.cover(oval.depth(self.x[near], self.y[near])) * np.float32(strength)
        self.paint(covered if within is None else covered * within[near], density, label, near)

    def near(self, oval: _Oval) -> tuple[slice, slice]:
        """The rows and columns that a shape may touch: most are small, and computing all pixels would take long."""
        cosine, sine = self.turn
        y = oval.y - self.middle
        at = (y * cosine + oval.x * sine - self.shift[1], oval.x * cosine - y * sine - self.shift[0])
        reach = 1.3 * max(oval.width, oval.front, oval.back) * float(self.pixels) + 2
        rows, columns = (
            slice(max(0, int(middle - reach)), max(0, int(middle + reach) + 1))
            for middle in (centre * float(self.pixels) + self.size / 2 for centre in at)
        )
        return rows, columns

    def drawn(self) -> tuple[Bytes, Bytes]:
        """The image and its classes, shape (size, size)."""
        self.surroundings()
        self.fat()
        self.trunk()
        self.organs()
        self.muscles()
        self.bones()
        return self.windowed(), self.classes

    def surroundings(self) -> None:
        """The table below the patient, and arms at the sides."""
        if self.chance(0.7):
            bottom = self.body.y + self.body.back + self.between(0.3, 1.2)
            for below, density in ((0.0, 0.0), (self.between(2, 3.5), -60.0)):
                distance = 80 - np.sqrt(self.x * self.x + (self.y - np.float32(bottom + below - 80)) ** 2)
                self.paint(self.cover(np.float32(0.25) - np.abs(distance)), density, _GROUND)
        if self.arms:
            for side in (-1, 1):
                x = side * (self.body.width + self.between(3.0, 3.8))
                y = self.between(-4, 3)
                self.oval(_Oval(x, y, 3.6, 3.6, waves=self.waves(0.03)), _FAT, _GROUND)
                self.oval(_Oval(x, y, 2.7, 2.8, waves=self.waves(0.05)), self.muscle, _GROUND)
                self.oval(_Oval(x, y, 0.9, 0.9), 600, _GROUND)

    def fat(self) -> None:
        """Skin, and the fat below it with thin sheets of tissue."""
        depth = self.body.depth(self.x, self.y)
        self.paint(self.cover(depth), 20.0, _GROUND)
        self.paint(self.cover(depth - np.float32(0.17)), _FAT - 8, _SUBCUTANEOUS)
        below = depth + self.x * np.float32(self.between(-0.03, 0.03))
        sheet = self.cover(np.float32(0.05) - np.abs(below - np.float32(self.between(0.8, 2.2))))
        self.paint(sheet * np.float32(self.between(0.1, 0.4)), 0.0, None)

    def trunk(self) -> None:
        """The wall of muscle, and the cavity with the fat in it."""
        wall = self.wall
        depth = wall.depth(self.x, self.y)
        self.paint(self.cover(depth), self.muscle, _MUSCLE)
        side = self.strength * self.between(1.1, 2.1)
        stripes = np.abs(self.x) > np.float32(0.5 * wall.width)
        for at in (0.36, 0.66):
            stripe = self.cover(np.float32(0.07) - np.abs(depth - np.float32(at * side))) * stripes
            self.paint(stripe * np.float32(self.between(0.0, 0.7)), -60.0, None)
        self.cavity = _Oval(
            0, wall.y, wall.width - side, wall.front - 0.42, wall.back - 0.8, wall.round, waves=wall.waves
        )
        self.inside = self.cover(self.cavity.depth(self.x, self.y))
        self.paint(self.inside, _FAT, _VISCERAL)
        # The straight muscles at the front, on both sides of a seam.
        thick, apart = self.strength * self.between(0.45, 0.8), self.between(0.2, 0.9)
        reach = self.between(2.4, 3.2)
        for sign in (-1, 1):
            x = sign * (apart + reach)
            y, slope = wall.front_at(x) + thick + 0.1, wall.front_at(x + 0.5) - wall.front_at(x - 0.5)
            oval = _Oval(x, y, reach, thick, round=0.7, slope=slope, waves=self.waves(0.03))
            self.oval(oval, self.muscle, _MUSCLE)

    def organs(self) -> None:
        """What lies in the cavity: vessels, bowel, and at times kidneys and the liver."""
        enhanced = 40 + self.contrast
        cavity = self.cavity
        if self.chance(0.3):
            y = self.between(-5, -2)
            self.organ(_Oval(-cavity.width + 2.6, y, 3.0, 4.6, waves=self.waves(0.05)), 60 + 0.4 * self.contrast)
        if self.chance(0.5):
            for sign in (-1, 1):
                if self.chance(0.8):
                    x, y, r = sign * self.between(6.6, 7.8), self.between(-1.4, 0.0), self.between(1.5, 2.5)
                    self.organ(_Oval(x, y, r, 1.15 * r, waves=self.waves(0.04)), 35 + 0.9 * self.contrast)
        for sign in (-1, 1):
            x, r = sign * (cavity.width - self.between(2.2, 3.0)), self.between(1.3, 2.2)
            self.bowel(x, self.between(-4.0, -1.4), r, gas=0.5)
        # Where there is little fat, bowel fills the free room.
        placed: list[tuple[float, float, float]] = []
        for x, y, r in self.inside_cavity(60, 0.5, (0.9, 2.0), 0.8):
            free = all((x - a) ** 2 + (y - b) ** 2 > (0.85 * (r + c)) ** 2 for a, b, c in placed)
            if free and y < -2.6:
                placed.append((x, y, r))
        keep = round(len(placed) * (1.05 - 0.75 * self.visceral * self.between(0.6, 1.1)))
        for x, y, r in placed[: max(keep, 3)]:
            self.bowel(x, y, r, gas=0.15)
        # Vessels of the mesentery, too thin for a shape of their own.
        for x, y, r in self.inside_cavity(int(self.between(20, 60)), 0.8, (0.1, 0.22), 1.5):
            self.organ(_Oval(x, y, r, r), enhanced)

        x, y, r = self.between(0.6, 1.4), -self.between(2.7, 3.1), self.between(0.85, 1.15)
        self.organ(_Oval(x, y, r, r), enhanced * 1.1)
        if self.chance(0.4):
            self.organ(_Oval(x + 0.7 * r, y + 0.6 * r, 0.25, 0.25), 700.0)
        x, r = -self.between(1.5, 2.1), self.between(0.9, 1.3)
        self.organ(_Oval(x, -self.between(2.3, 2.7), r, r * self.between(0.55, 0.95)), 40 + 0.7 * self.contrast)

    def inside_cavity(
        self, tries: int, lowest: float, radii: tuple[float, float], margin: float
    ) -> list[tuple[float, float, float]]:
        """Random places and radii of round shapes inside the cavity.

        Args:
            tries: Number of places tried; those outside are dropped.
            lowest: Lowest place, as a share of the way from the cavity's middle to its front (positive: to the back).
            radii: Least and greatest radius.
            margin: Least distance of a place from the cavity's outline, in radii.
        """
        cavity = self.cavity
        across, down, radius = self.rng.uniform((-1, -1, radii[0]), (1, lowest, radii[1]), (tries, 3)).T
        x, y = across * cavity.width, cavity.y + down * cavity.front
        fits = cavity.depth(x.astype(np.float32), y.astype(np.float32)) > margin * radius
        return list(zip(x[fits].tolist(), y[fits].tolist(), radius[fits].tolist(), strict=True))

    def organ(self, oval: _Oval, density: float) -> None:
        """Paints a shape of the background's class into the cavity."""
        self.oval(oval, density, _GROUND, self.inside)

    def bowel(self, x: float, y: float, radius: float, gas: float) -> None:
        """A loop of bowel: its wall, its content, and at times gas above the content."""
        waves = self.waves(0.07)
        width, height = radius * self.between(0.85, 1.25), radius * self.between(0.75, 1.1)
        slope = self.between(-0.6, 0.6)
        self.organ(_Oval(x, y, width, height, slope=slope, waves=waves), 45 + 0.3 * self.contrast)
        content = self.between(180, 350) if self.chance(0.12) else self.between(-5, 45)
        inner = _Oval(x, y, width - 0.28, height - 0.28, slope=slope, waves=waves)
        self.organ(inner, content)
        if self.chance(gas):
            above = self.y < np.float32(y + self.between(-0.5, 0.5) * height)
            self.oval(inner, -900.0, _GROUND, self.inside * above)

    def muscles(self) -> None:
        """Psoas, quadratus lumborum and the muscles of the back, with fat between their fibres."""
        m = self.strength
        fatty = self.between(0, 1)
        fatty *= fatty
        for sign in (-1, 1):
            thick = m * self.between(0.92, 1.08)
            flank = _Oval(
                sign * self.between(6.0, 6.8), self.between(2.5, 3.0), 2.1 * thick, 0.95 * thick,
                slope=-sign * self.between(0.1, 0.4), waves=self.waves(0.05),
            )  # fmt: skip
            self.oval(flank, self.muscle, _MUSCLE)
            loin = _Oval(
                sign * (2.3 + 1.45 * thick), self.between(0.2, 0.8), 1.65 * thick, 2.2 * thick,
                slope=sign * self.between(0.0, 0.3), waves=self.waves(0.05),
            )  # fmt: skip
            self.oval(loin, self.muscle + 4, _MUSCLE)
            back = _Oval(
                sign * (0.35 + 3.0 * thick), 4.5, 3.1 * thick, 2.1, self.back - 4.5, round=0.6, waves=self.waves(0.04)
            )
            covered = self.cover(back.depth(self.x, self.y))
            self.paint(covered, self.muscle, _MUSCLE)
            for _ in range(5):
                x, y = sign * self.between(0.8, 6.0), self.between(3.2, 6.4)
                streak = _Oval(x, y, self.between(0.6, 1.6), self.between(0.08, 0.22), slope=self.between(-2, 2))
                self.oval(streak, -70.0, None, covered, fatty)
            # Fat between the deep muscle and the spine belongs to no class.
            cleft = _Oval(sign * self.between(0.8, 1.1), 5.0, 0.15 + 0.45 * fatty, 1.5, slope=-sign * 0.2)
            self.oval(cleft, -60.0, _GROUND, covered)

    def bones(self) -> None:
        """The vertebra: body, canal, arch and processes."""
        marrow, shell = self.between(110, 230), self.between(260, 480)
        width, depth = self.between(2.15, 2.5), self.between(1.5, 1.75)
        for sign in (-1, 1):
            if self.chance(0.6):
                slope = sign * self.between(-0.1, 0.25)
                process = _Oval(sign * 3.0, self.between(1.9, 2.4), self.between(1.4, 2.2), 0.32, slope=slope)
                self.oval(process, shell * 0.8, _GROUND)
            self.oval(_Oval(sign * 1.55, 2.9, 0.8, 0.75, waves=self.waves(0.06)), shell, _GROUND)
        self.oval(_Oval(0, 2.2, 1.75, 1.35, waves=self.waves(0.03)), shell, _GROUND)
        self.oval(_Oval(self.between(-0.15, 0.15), 4.3, 0.38, 1.7, waves=self.waves(0.08)), shell, _GROUND)
        outline = self.waves(0.02)
        self.oval(_Oval(0, -0.1, width, depth, depth * 0.85, 0.8, waves=outline), shell, _GROUND)
        self.oval(_Oval(0, -0.1, width - 0.3, depth - 0.3, depth * 0.85 - 0.3, 0.8, waves=outline), marrow, _GROUND)
        self.oval(_Oval(0, 2.15, 1.05, 0.75), 15.0, _GROUND)

    def windowed(self) -> Bytes:
        """Converts densities to greys: adds noise by the dose, and applies this patient's window."""
        dose, middle, width = self.between(8, 38), self.between(10, 70), self.between(300, 560)
        streaks = self.between(0, 7)
        size = self.size
        # A pixel of a smaller picture averages many pixels, and so their noise.
        fine = np.float32(min(1.0, size / 128))
        noise = self.rng.standard_normal((size + 2, size + 2), np.float32)
        noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
        noise = (noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]) / np.float32(6)
        along = self.rng.standard_normal((size, 1), np.float32)
        density = self.density + fine * (np.float32(dose) * noise + np.float32(streaks) * along)
        grey = (density - np.float32(middle - width / 2)) * np.float32(255 / width)
        greys: Bytes = np.rint(grey.clip(0, 255)).astype(np.uint8)
        return greys
