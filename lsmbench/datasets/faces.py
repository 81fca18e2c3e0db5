"""Faces: a generated stand-in for 300-W, portraits with the 68 points of its annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageChops, ImageDraw, ImageFilter

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset
from lsmbench.data.files import square_around
from lsmbench.data.inputs import FaceInput
from lsmbench.domains import Domain, Image, Landmarks
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same options give other arrays: cached arrays of other versions are not used."""

_SCENE = 1024.0
"""Height and width of the scene, in its pixels; the face is in its middle, and the picture is a crop of it."""
_UNIT = 100.0
"""Pixels of the scene per unit of length of a head; the unit is half the width of the face."""
_SHEET = 192
"""Least height and width of the drawing, which is reduced to the picture by averaging areas."""
_SHADING = 64
"""Height and width at which the light on the face is computed, whatever the size of the picture."""

Field = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SKINS = np.array([[250, 218, 196], [232, 188, 156], [205, 152, 116], [164, 112, 80], [118, 78, 56], [92, 62, 48]])
_HAIRS = [(28, 24, 24), (58, 40, 30), (96, 64, 40), (150, 112, 66), (206, 174, 112), (140, 66, 34), (168, 164, 160)]
_IRISES = [(62, 40, 26), (92, 62, 36), (70, 96, 66), (76, 112, 150), (96, 108, 116)]


@dataclass
class Faces(Dataset):
    """Portraits to their 68 facial points, as in 300-W (generated, not photographs).

    A sample is a head of random proportions, turned and lit at random and seen in perspective, with the points of the
    300-W annotation, which are exact. The picture is drawn around the points: the outline of the face runs through the
    jaw's, the lids through the eyes', the lips through the mouth's, the brows and the ridge of the nose along theirs.
    As annotators place them, the jaw's points follow the visible outline where the head is turned away; and as in
    photos, other things may hide a point.

    Random are

    * the proportions of jaw, eyes, brows, nose and lips, most by 10 to 40 % either way;
    * the pose: yaw up to 48° either way (standard deviation 16°), pitch up to 27° (9°), roll up to 33° (11°), and the
      distance of the camera, 3 to 8 times the width of the face;
    * the expression: the mouth closed (half of the faces) or open, lips smiling, sulky or pouting, each brow raised or
      drawn down, eyes wide to closed, and where they look;
    * the light: its direction, colour, hardness and brightness; the picture's saturation, blur and noise;
    * skin, lips, irises, hair and its cut, beards, the ground; glasses (1 in 5), strands of hair over the face (1 in
      5), a fringe (1 in 3), and things that hide a part of the face's lower edge (1 in 8).

    Views: `x`, stored as uint8 (N, 3, size, size), RGB; `y`, stored as float32 (N, 68, 2) in [0, 1], x then y. As in
    LSM's released code for 300-W, the picture is the square around the true points, so that the crop reveals the
    position and the size of the face. Sample i depends on `data_seed`, i, `size` and `margin` only, and its points not
    on `size`: a larger set begins with the smaller one.

    Scores are not comparable with those on 300-W. Floors of the default options, NRMSE of the training part's mean
    shape on the test part, the samples split in their order: .175 by the outer corners of the eyes, .212 by the points
    of the released code; over other seeds and shuffled splits .160 to .176 and .194 to .212. For orientation: a
    convolutional network of 0.29 M weights, trained for 1,000 updates of 32 samples on a CPU, scored .082 with all 420
    training pairs and .163 with 42.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "faces"

    size: int = option(64, "Height and width of the pictures, divisible by 4.", unit="px", source="LSM's released code")
    samples: int = option(600, "Number of generated faces.", source="as many as 300-W holds")
    margin: float = option(
        0.0,
        "Added around the points on every side before cropping, as a share of their longer extent.",
        source="LSM's released code",
    )
    data_seed: int = option(0, "Seed of the generated faces.")
    eyes: Literal["outer", "released_code"] = option(
        "outer",
        "Unit of errors: distance of the eyes' outer corners, or of the points that LSM's released code takes.",
        choices=("outer", "released_code"),
    )
    reconstruction: Literal["mse", "l1"] = option(
        "mse", "Loss of the picture's reconstruction.", source="LSM, Table 4", choices=("mse", "l1")
    )

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if not 0 <= self.margin <= 1:
            raise UserError(f"dataset faces: margin={self.margin}; expected a number from 0 to 1.")

    @property
    def domains(self) -> dict[str, Domain]:
        """An RGB picture and 68 points."""
        return {"x": Image(3, self.size, reconstruction=self.reconstruction), "y": Landmarks(68, self.eyes)}

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 faces of 32 px; needs no files."""
        return cls(size=32, samples=40)

    def inputs(self) -> FaceInput:
        """Pictures of faces, of which the box is cut out, with the margin that points got."""
        return FaceInput(self.size, float(self.margin), "apply")

    def load(self) -> Arrays:
        """Pictures `x`, uint8 (N, 3, size, size), and points `y`, float32 (N, 68, 2); kept in the cache.

        Raises:
            UserError: If the cache cannot be written to.
        """
        margin = float(self.margin)
        key = {
            "version": VERSION,
            "size": self.size,
            "samples": self.samples,
            "data_seed": self.data_seed,
            "margin": margin,
        }
        return cached_arrays(self.name, key, [], lambda: _generate(self.size, self.samples, self.data_seed, margin))


def _generate(size: int, samples: int, seed: int, margin: float) -> Arrays:
    pictures = np.empty((samples, 3, size, size), np.uint8)
    points = np.empty((samples, 68, 2), np.float32)
    for i in range(samples):
        # A generator for each sample makes it independent of the number of samples.
        pictures[i], points[i] = _portrait(_Dice(np.random.default_rng((seed, i))), size, margin)
    return {"x": pictures, "y": points}


def _portrait(dice: _Dice, size: int, margin: float) -> tuple[Bytes, Field]:
    """One face: the picture, (3, size, size), and its points."""
    head, camera = _Head.random(dice), _Camera.random(dice)
    landmarks = _landmarks(head, camera)
    points = camera.project(landmarks)
    left, top, side = square_around(points, int(_SCENE), int(_SCENE), margin)
    # On a grid, since sine and cosine may differ by a bit from machine to machine.
    points = np.rint((points - [left, top]) / side * 2**16) / 2**16
    sheet = _Sheet(camera, left, top, side, size * max(2, -(-_SHEET // size)))
    _draw(sheet, head, landmarks, points * sheet.pixels, dice)
    picture = sheet.picture.resize((size, size), Picture.Resampling.BOX)
    if dice.chance(0.3):
        picture = picture.filter(ImageFilter.GaussianBlur(dice.between(0, 0.012) * size))
    return _expose(np.asarray(picture, np.float64), dice).transpose(2, 0, 1), points


def _expose(picture: Field, dice: _Dice) -> Bytes:
    """Colour and brightness of the light, saturation and noise."""
    grey = picture.mean(2, keepdims=True)
    picture = grey + dice.between(0.75, 1.25) * (picture - grey)
    warmth = dice.about(0.02, 0.12)
    picture = picture * np.array([1 + warmth, 1.0, 1 - warmth]) * dice.between(0.85, 1.45) + dice.between(-8, 15)
    strength = dice.between(0, 14)
    # Noise is the sum of two uniform numbers, which needs no logarithms. It is drawn last, so that all numbers drawn
    # before are the same at every size.
    noise = strength * (dice.rng.random((2, *picture.shape)).sum(0) - 1)
    return np.asarray(np.rint((picture + noise).clip(0, 255)), np.uint8)


class _Dice:
    """Random numbers, all made of uniform numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.rng.random())

    def about(self, middle: float, spread: float) -> float:
        """Bell-shaped on middle ± spread, with a standard deviation of a third of the spread."""
        return middle + spread * (float(self.rng.random(3).sum()) / 1.5 - 1)

    def chance(self, probability: float) -> bool:
        return float(self.rng.random()) < probability

    def colour(self, palette: list[Colour], spread: float) -> Colour:
        """A random colour of the palette, slightly changed."""
        chosen = palette[int(self.rng.random() * len(palette))]
        return _colour(np.array(chosen) + spread * (2 * self.rng.random(3) - 1))


# The head


@dataclass(frozen=True)
class _Head:
    """A head with its expression. x to the picture's right, y down, z towards the viewer; the eyes are near y = 0.

    Attributes:
        flat: The 68 points as seen from ahead, without depth.
        nose: How far the nose stands out.
        chin: How far the chin stands out.
    """

    flat: Field
    nose: float
    chin: float

    @classmethod
    def random(cls, dice: _Dice) -> Self:
        smile, pout = dice.about(0.2, 1.0), dice.between(0, 0.8) * dice.chance(0.15)
        opened = dice.between(0, 1) ** 1.5 * dice.chance(0.5)
        gap = 0.34 * opened
        jaw = _jaw(dice, gap)
        brows, eyes = _brows_and_eyes(dice, smile)

        base = dice.about(0.67, 0.1)
        tip = dice.about(0, 0.04), base - dice.about(0.15, 0.06)
        ridge = np.linspace((0.0, dice.about(-0.03, 0.07)), tip, 4)
        wings = np.array([[-1, -0.06], [-0.5, -0.02], [0, 0.01], [0.5, -0.02], [1, -0.06]])
        nostrils = wings * [dice.about(0.2, 0.055), 1] + [tip[0], base]

        mouth = _mouth(dice, gap, smile, pout) + np.array([dice.about(0, 0.04), base + dice.about(0.27, 0.06)])
        flat = np.concatenate([jaw, brows, ridge, nostrils, eyes, mouth])
        return cls(flat, nose=dice.about(0.42, 0.16), chin=dice.about(0.14, 0.1))

    def depth(self, x: Field, y: Field) -> Field:
        """Height of the face's surface at x and y, which are broadcast against each other."""
        (_, nasion), (tip_x, tip), (_, base) = self.flat[[27, 30, 33]]
        wing, eye, mouth, chin = self.flat[35, 0] - tip_x, self.flat[43:47, 0].mean(), self.flat[62, 1], self.flat[8, 1]
        vault = 0.2 - 0.4 * x**2 - 0.15 * x**4 - 0.1 * (y - 0.4) ** 2 - 0.05 * (y - 0.4) ** 4
        height = np.interp(y, [nasion - 0.25, nasion, tip, base, base + 0.12], [0.0, 0.3, 1.0, 0.45, 0.0])
        width = np.interp(y, [nasion, tip], [0.12, 0.16])
        nose = self.nose * height * np.exp(-(((x - tip_x * height) / width) ** 2))
        wings = sum(_bump(x, y, tip_x + s * 0.75 * wing, base - 0.07, 0.09, 0.08) for s in (-1, 1))
        sockets = sum(_bump(x, y, s * eye, 0, 0.26, 0.16) for s in (-1, 1))
        cheeks = sum(_bump(x, y, s * 0.58, 0.4, 0.22, 0.2) for s in (-1, 1))
        muzzle = _bump(x, y, 0, mouth, 0.42, 0.28)
        lips = _bump(x, y, 0, mouth - 0.06, 0.3, 0.05) + _bump(x, y, 0, self.flat[57, 1] - 0.06, 0.26, 0.05)
        jut = _bump(x, y, 0, chin - 0.18, 0.28, 0.16)
        brow = _bump(x, y, 0, self.flat[19, 1] + 0.06, 0.8, 0.1)
        return np.asarray(
            vault + nose + 0.15 * wings - 0.12 * sockets + 0.07 * cheeks + 0.14 * muzzle + 0.05 * lips
            + self.chin * jut + 0.07 * brow
        )  # fmt: skip

    def on_face(self, flat: Field) -> Field:
        """Points (N, 2), seen from ahead, on the face's surface: (N, 3)."""
        return np.column_stack([flat, self.depth(flat[:, 0], flat[:, 1])])


def _bump(x: Field, y: Field, centre_x: float, centre_y: float, width: float, height: float) -> Field:
    return np.asarray(np.exp(-(((x - centre_x) / width) ** 2)) * np.exp(-(((y - centre_y) / height) ** 2)))


def _jaw(dice: _Dice, gap: float) -> Field:
    """Points 1 to 17, from half a superellipse."""
    angle = np.pi / 2 * (1 - np.linspace(0, 1, 9) ** 1.1)
    power = 2 / dice.between(1.85, 2.8)
    across, down = np.sin(angle) ** power, np.cos(angle) ** power
    y = 0.05 + dice.about(1.5, 0.2) * down + gap * down**2
    return np.column_stack([np.concatenate([-across, across[-2::-1]]), np.concatenate([y, y[-2::-1]])])


def _brows_and_eyes(dice: _Dice, smile: float) -> tuple[Field, Field]:
    """Points 18 to 27 and 37 to 48."""
    apart, half, slant = dice.about(0.445, 0.05), dice.about(0.175, 0.03), dice.about(0, 0.05)
    shut = dice.chance(0.07)
    opening = dice.between(0.05, 0.2) if shut else dice.about(1 - 0.15 * smile, 0.45)
    height = half * opening * dice.about(0.36, 0.08)
    # Outwards and down, in half widths: outer corner, upper lid, inner corner, lower lid. Lids that close meet low.
    lids = np.array([[1, 0.1], [0.36, -1], [-0.3, -1], [-1, 0.1], [-0.3, 0.8], [0.36, 0.8]]) * [half, height]
    lids[:, 1] += (1 - min(opening, 1)) * 0.25 * half * (lids[:, 0] != lids[:, 0].max()) - slant * lids[:, 0] / half
    eye = lids + np.array([apart, dice.about(0, 0.03)])

    arch = np.array([[0.83, 0.145], [0.71, 0.025], [0.53, -0.015], [0.345, 0.005], [0.175, 0.06]])
    shape = arch * [dice.about(1, 0.1), dice.about(1, 0.6)] - [0, dice.about(0.28, 0.08)]
    raised, frown = dice.about(0.03, 0.13), dice.about(0, 0.1)
    brows = []
    for side in (-1, 1):
        brow = shape * [side, 1]
        brow[:, 1] += frown * np.array([0, 0, 0.1, 0.4, 1]) - (raised + dice.about(0, 0.05))
        brows.append(brow)
    mirrored = eye[[3, 2, 1, 0, 5, 4]]
    return np.concatenate([brows[0], brows[1][::-1]]), np.concatenate([eye * [-1, 1], mirrored])


def _mouth(dice: _Dice, gap: float, smile: float, pout: float) -> Field:
    """Points 49 to 68, about the middle of the upper lip's lower edge."""
    half = dice.about(0.36, 0.06) * (1 + 0.22 * smile) * (1 - 0.35 * pout) * (1 - 0.3 * gap)
    corner = 0.35 * gap - 0.1 * smile
    thick = 1 + 0.5 * pout - 0.25 * max(smile, 0)
    upper, lower = dice.about(0.1, 0.045) * thick, dice.about(0.13, 0.05) * thick

    def edge(across: list[float], at: float, lip: float, thickness: list[float]) -> Field:
        """Points of an edge that meets the corners, at height `at` in the middle; lip < 0 is above it."""
        u = np.array(across)
        return np.column_stack([half * u, at + (corner - at) * u**2 + lip * np.array(thickness)])

    return np.concatenate(
        [
            edge([-1], 0, 0, [0]),
            edge([-0.63, -0.26, 0, 0.26, 0.63], 0, -upper, [0.6, 1, 0.85, 1, 0.6]),
            edge([1], 0, 0, [0]),
            edge([0.63, 0.28, 0, -0.28, -0.63], gap, lower, [0.6, 0.95, 1, 0.95, 0.6]),
            edge([-0.9], gap / 2, 0, [0]),
            edge([-0.27, 0, 0.27], 0, 0, [0, 0, 0]),
            edge([0.9], gap / 2, 0, [0]),
            edge([0.27, 0, -0.27], gap, 0, [0, 0, 0]),
        ]
    )


# The camera


@dataclass(frozen=True)
class _Camera:
    """The camera that sees the head.

    Attributes:
        rotation: Rotates directions of the head to directions of the camera.
        distance: Distance from the head, in the head's units.
    """

    rotation: Field
    distance: float

    @classmethod
    def random(cls, dice: _Dice) -> Self:
        yaw, pitch, roll = np.radians([dice.about(0, 48), dice.about(0, 27), dice.about(0, 33)])
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return cls(tilt @ nod @ turn, dice.between(6, 16))

    def project(self, points: Field) -> Field:
        """Points of the head, (N, 3), in pixels of the scene, (N, 2)."""
        seen = (points - [0, 0.5, -0.4]) @ self.rotation.T
        return np.asarray(_SCENE / 2 + _UNIT * seen[:, :2] * (self.distance / (self.distance - seen[:, 2:])))


def _landmarks(head: _Head, camera: _Camera) -> Field:
    """The 68 points on the head, (68, 3)."""
    points = head.on_face(head.flat)
    points[:17, 2] = _edge_depth(points[:17, 0], points[:17, 2], camera)
    return points


def _edge_depth(x: Field, surface: Field, camera: _Camera) -> Field:
    """Depth of the face's outline: at the ear on the visible side, further ahead on the side turned away."""
    turned = camera.rotation[2, 0]  # minus the sine of the yaw, if the head does not nod
    return np.asarray((1 - x**2) * surface + x**2 * (-0.36 - 0.28 * np.tanh(4 * x * turned)))


# The picture


class _Sheet:
    """The cropped square of the scene, drawn larger than the picture."""

    def __init__(self, camera: _Camera, left: float, top: float, side: float, pixels: int) -> None:
        self.camera, self.pixels = camera, pixels
        self._corner, self._scale = np.array([left, top]), pixels / side
        self.picture = Picture.new("RGB", (pixels, pixels))

    def place(self, points: Field) -> Field:
        """Points of the head, (N, 3), on the sheet."""
        return np.asarray((self.camera.project(points) - self._corner) * self._scale)

    def length(self, units: float) -> float:
        """Converts a length on the head to a length on the sheet."""
        return units * _UNIT * self._scale

    def fill(self, outline: Field, colour: Colour, alpha: float = 1) -> None:
        """Fills a polygon, given on the sheet."""
        ImageDraw.Draw(self.picture, "RGBA").polygon(_dots(outline), fill=(*colour, round(255 * alpha)))

    def stroke(self, line: Field, colour: Colour, width: float, alpha: float = 1) -> None:
        """Draws a line, given on the sheet, of a width on the head."""
        pen = ImageDraw.Draw(self.picture, "RGBA")
        pen.line(
            _dots(line), fill=(*colour, round(255 * alpha)), width=max(1, round(self.length(width))), joint="curve"
        )

    def mask(self, outline: Field) -> Picture.Image:
        """A mask of a polygon that is given on the sheet."""
        mask = Picture.new("L", self.picture.size)
        ImageDraw.Draw(mask).polygon(_dots(outline), fill=255)
        return mask


def _dots(line: Field) -> list[int]:
    # Rounded here, since Pillow would cut the fractions off.
    dots: list[int] = np.rint(line - 0.5).astype(int).ravel().tolist()
    return dots


def _colour(values: NDArray[np.generic]) -> Colour:
    r, g, b = np.rint(np.asarray(values, np.float64).clip(0, 255)).astype(int).tolist()
    return r, g, b


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    red, green, blue = (round(p * (1 - share) + q * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def _curve(points: Field) -> Field:
    """A smooth line through points (Catmull-Rom), four more between any two."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    between = _CATMULL_ROM @ np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], 1)
    return np.concatenate([between.reshape(-1, 2), points[-1:]])


_STEPS = np.arange(5) / 5
_CATMULL_ROM = (
    np.stack(
        [
            -_STEPS + 2 * _STEPS**2 - _STEPS**3,
            2 - 5 * _STEPS**2 + 3 * _STEPS**3,
            _STEPS + 4 * _STEPS**2 - 3 * _STEPS**3,
            _STEPS**3 - _STEPS**2,
        ],
        axis=1,
    )
    / 2
)


def _ring(x: float, y: float, z: float, across: float, down: float, depth: float = 0) -> Field:
    """An ellipse about a point of the head, (24, 3); `depth` slants it: z of its right end over its middle."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.column_stack([x + across * np.cos(angle), y + down * np.sin(angle), z + depth * np.cos(angle)])


def _draw(sheet: _Sheet, head: _Head, landmarks: Field, points: Field, dice: _Dice) -> None:
    """Draws the scene from back to front; the landmarks are given on the head and on the sheet."""
    skin = _skin(dice)
    hair = dice.colour(_HAIRS, 14)
    _draw_ground(sheet, dice)
    _draw_behind(sheet, head, skin, hair, dice)
    face = np.concatenate([_curve(points[:17]), sheet.place(_forehead(head, sheet.camera))])
    sheet.fill(face, skin)
    _draw_beard(sheet, points, _mix(hair, (30, 20, 16), 0.4), dice)
    _draw_nose(sheet, points, skin, dice)
    _draw_mouth(sheet, points, skin, dice)
    _draw_eyes(sheet, landmarks, points, skin, dice)
    _draw_brows(sheet, landmarks, _mix(hair, (20, 16, 14), dice.between(0.2, 0.7)), dice)
    light = _light(sheet, head, dice).resize(sheet.picture.size, Picture.Resampling.BILINEAR)
    lit = ImageChops.multiply(sheet.picture, Picture.merge("RGB", [light] * 3))
    sheet.picture.paste(lit, mask=sheet.mask(face))
    _draw_before(sheet, head, skin, hair, dice)


def _skin(dice: _Dice) -> Colour:
    tone = dice.between(0, 1) ** 1.3 * (len(_SKINS) - 1)
    base = [np.interp(tone, np.arange(len(_SKINS)), channel) for channel in _SKINS.T]
    return _colour(np.add(base, [dice.about(0, 12), 0, dice.about(0, 12)]))


def _forehead(head: _Head, camera: _Camera) -> Field:
    """The edge of the face from the last point of the jaw over the top to the first."""
    angle = np.linspace(0, np.pi, 20)[1:-1]
    x, y = np.cos(angle), head.flat[0, 1] - 1.15 * np.sin(angle)
    return np.column_stack([x, y, _edge_depth(x, np.full_like(x, -0.2), camera)])


def _draw_ground(sheet: _Sheet, dice: _Dice) -> None:
    """A background with random shapes, sharp or blurred."""
    side = 96  # small, since it is blurred
    tint = dice.rng.random(3)
    blotches = (0.4 * dice.rng.random((4, 4, 3)) + 0.6 * tint) * 255
    ground = Picture.fromarray(blotches.astype(np.uint8)).resize((side, side), Picture.Resampling.BICUBIC)
    pen = ImageDraw.Draw(ground)
    for _ in range(int(dice.between(0, 14))):
        centre, colour = dice.rng.random(2) * side, _colour((0.5 * dice.rng.random(3) + 0.5 * dice.rng.random()) * 255)
        corners = int(dice.between(3, 7))
        angle = 2 * np.pi * (np.arange(corners) / corners + dice.rng.random())
        radius = (0.05 + 0.3 * dice.rng.random((corners, 1))) * side
        pen.polygon(_dots(centre + radius * np.column_stack([np.cos(angle), np.sin(angle)])), fill=colour)
    ground = ground.filter(ImageFilter.GaussianBlur(dice.between(0.5, 4)))
    sheet.picture.paste(ground.resize(sheet.picture.size, Picture.Resampling.BILINEAR))


def _draw_behind(sheet: _Sheet, head: _Head, skin: Colour, hair: Colour, dice: _Dice) -> None:
    """What is behind the face: neck and shoulders, hair, ears."""
    chin = float(head.flat[8, 1])
    volume, bald, long = dice.between(0.05, 0.3), dice.chance(0.12), dice.chance(0.4)
    length, cloth = dice.between(0.9, 2.4), _colour(dice.rng.random(3) * 255)
    shade = _mix(skin, (30, 16, 14), dice.between(0.2, 0.6))
    back = _mix(hair, (0, 0, 0), 0.3)
    for z in (-1.0, -0.35):
        if long and not bald:
            wide = 1.05 + volume
            sides = [[-wide, -0.4, z], [wide, -0.4, z], [wide * 1.05, length, z], [-wide * 1.05, length, z]]
            sheet.fill(sheet.place(np.array(sides)), back)
    neck = [[-0.62, 0.6, -0.5], [0.62, 0.6, -0.5], [0.75, chin + 1.4, -0.7], [-0.75, chin + 1.4, -0.7]]
    sheet.fill(sheet.place(np.array(neck)), shade)
    sheet.fill(sheet.place(_ring(0, chin + 1.3, -0.6, 2.3, dice.between(0.7, 1.1))), cloth)
    for z in (-1.0, -0.35):
        skull = _ring(0, -0.3, z, 1.02 if bald else 1.02 + volume, 1.1 if bald else 1.12 + volume)
        sheet.fill(sheet.place(skull), shade if bald else back)
    size = dice.about(1, 0.2)
    if not (long and dice.chance(0.7)):
        for side in (-1, 1):
            ear = _ring(side * 1.04, 0.2, -0.62, 0.11 * size, 0.27 * size, depth=-side * 0.1)
            sheet.fill(sheet.place(ear), _mix(skin, (90, 20, 20), 0.25))


def _draw_beard(sheet: _Sheet, points: Field, hair: Colour, dice: _Dice) -> None:
    """Wrinkles, and a beard that follows the jaw."""
    kind, alpha = dice.between(0, 1), dice.between(0.15, 0.85)
    if kind < 0.18:
        upper = points[[13, 12, 54, 35, 33, 31, 48, 4, 3]]
        sheet.fill(np.concatenate([_curve(points[3:14]), _curve(upper)]), hair, alpha)
    elif kind < 0.24:
        sheet.fill(
            np.concatenate([points[48:55], points[[35, 33, 31]] * 0.7 + points[[53, 51, 49]] * 0.3]), hair, alpha
        )
    fold = dice.between(0, 0.22)
    for wing, corner in ((31, 48), (35, 54)):
        bent = (points[wing] + points[corner]) / 2 + (points[corner] - points[51]) * 0.35
        line = np.stack([points[wing] * 1.15 - points[33] * 0.15, bent, points[corner] * 1.2 - points[51] * 0.2])
        sheet.stroke(_curve(line), (60, 20, 16), 0.03, fold)


def _draw_nose(sheet: _Sheet, points: Field, skin: Colour, dice: _Dice) -> None:
    """The nose: underside, nostrils, wings, and a ridge that catches the light."""
    dark = _mix(skin, (50, 14, 10), 0.45)
    lift = (points[30] - points[33]) * 0.25
    sheet.fill(np.concatenate([_curve(points[31:36]), points[[34, 32]] + lift]), dark, 0.6)
    for outer, inner in ((31, 32), (35, 34)):
        middle = points[outer] * 0.4 + points[inner] * 0.6 + lift * 0.5
        sheet.stroke(np.stack([middle * 0.6 + points[outer] * 0.4, points[inner]]), _mix(dark, (0, 0, 0), 0.6), 0.055)
        wing = np.stack(
            [points[outer] + 1.3 * lift, points[outer] * 1.12 - points[33] * 0.12 + 0.5 * lift, points[outer]]
        )
        sheet.stroke(_curve(np.concatenate([wing, points[inner : inner + 1]])), dark, 0.025, 0.8)
    sheet.stroke(_curve(points[27:31]), _mix(skin, (255, 255, 255), 0.3), 0.06, dice.between(0.1, 0.6))


def _draw_mouth(sheet: _Sheet, points: Field, skin: Colour, dice: _Dice) -> None:
    """Lips, and teeth and tongue between them."""
    lips = _mix(skin, (180, 50, 62), dice.between(0.35, 0.55))
    if dice.chance(0.2):
        lips = _mix(lips, dice.colour([(170, 20, 40), (200, 50, 90), (120, 20, 50)], 15), 0.7)
    outer = np.concatenate([_curve(points[48:55]), _curve(points[[54, 55, 56, 57, 58, 59, 48]])])
    top, bottom = _curve(points[60:65]), _curve(points[[64, 65, 66, 67, 60]])
    sheet.fill(outer, lips)
    sheet.fill(np.concatenate([_curve(points[48:55]), top[::-1]]), _mix(lips, (60, 10, 20), 0.3))
    sheet.stroke(
        points[[58, 57, 56]] * 0.55 + points[[67, 66, 65]] * 0.45, _mix(lips, (255, 225, 220), 0.5), 0.035, 0.6
    )
    sheet.fill(np.concatenate([top, bottom]), (52, 14, 16))
    teeth = dice.between(0, 0.6)
    row = top + (bottom[::-1] - top) * teeth
    sheet.fill(np.concatenate([top[3:-3], row[3:-3][::-1]]), dice.colour([(232, 226, 212)], 14))
    tongue = bottom + (top[::-1] - bottom) * dice.between(0, 0.4)
    sheet.fill(np.concatenate([bottom[4:-4], tongue[4:-4][::-1]]), (168, 72, 76))
    sheet.stroke(top, _mix(lips, (30, 5, 8), 0.75), 0.02)


def _draw_eyes(sheet: _Sheet, landmarks: Field, points: Field, skin: Colour, dice: _Dice) -> None:
    """Eyes: sockets, the white, iris and pupil as far as the lids leave them free, lids and lashes."""
    iris, radius = dice.colour(_IRISES, 12), dice.about(0.088, 0.012)
    gaze = np.array([dice.about(0, 0.09), dice.about(0, 0.03), 0])
    white = dice.colour([(236, 232, 228)], 14)
    dark, lashes = _mix(skin, (40, 14, 14), dice.between(0.2, 0.55)), dice.between(0.015, 0.04)
    for first in (36, 42):
        lids = points[first : first + 6]
        upper, lower = _curve(lids[:4]), _curve(lids[[3, 4, 5, 0]])
        middle = lids.mean(0)
        sheet.fill(middle + (np.concatenate([upper, lower]) - middle) * [1.35, 1.6], dark, 0.35)
        opened = sheet.picture.copy()
        sheet.fill(np.concatenate([upper, lower]), white)
        x, y, z = landmarks[first : first + 6].mean(0) + gaze
        for share, colour in ((1.0, _mix(iris, (0, 0, 0), 0.4)), (0.85, iris), (0.42, (8, 6, 8))):
            sheet.fill(sheet.place(_ring(x, y, z, radius * share, radius * share)), colour)
        spark = sheet.place(_ring(x - 0.03, y - 0.035, z, 0.02, 0.02))
        sheet.fill(spark, (255, 255, 255))
        opened.paste(sheet.picture, mask=sheet.mask(np.concatenate([upper, lower])))
        sheet.picture = opened
        sheet.stroke(upper, _mix(dark, (10, 6, 6), 0.75), lashes)
        sheet.stroke(lower, dark, 0.015, 0.7)
        fold = middle + (upper - middle) * 1.15 + (points[27] - points[28]) * 0.25
        sheet.stroke(fold, dark, 0.018, 0.6)


def _draw_brows(sheet: _Sheet, landmarks: Field, colour: Colour, dice: _Dice) -> None:
    """Brows, which thin out towards the temples."""
    thickness, alpha = dice.between(0.025, 0.065), dice.between(0.55, 1)
    taper = np.array([0.25, 0.7, 1, 1, 0.85])
    for first, widths in ((17, taper), (22, taper[::-1])):
        half = np.outer(thickness * widths, [0, 1, 0])
        edges = [_curve(sheet.place(landmarks[first : first + 5] + offset)) for offset in (-half, half)]
        sheet.fill(np.concatenate([edges[0], edges[1][::-1]]), colour, alpha)


def _blur(width: float) -> Field:
    offsets = np.subtract.outer(np.arange(_SHADING), np.arange(_SHADING))
    return np.asarray(np.exp(-((offsets / width) ** 2)))


_NARROW, _WIDE = _blur(1.3), _blur(5.0)


def _light(sheet: _Sheet, head: _Head, dice: _Dice) -> Picture.Image:
    """How much light falls on each part of the face, as a grey picture: a lamp and the light from all around."""
    azimuth, height = np.radians([dice.between(-80, 80), dice.between(-15, 65)])
    lamp = np.array([np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)])
    ambient, gloss = dice.between(0.4, 0.8), dice.between(0, 0.35)
    x, y = np.linspace(-1.35, 1.35, 72)[None], np.linspace(-1.2, float(head.flat[8, 1]) + 0.15, 84)[:, None]
    z = head.depth(x, y)
    down, right = np.gradient(z, y[:, 0], x[0])
    normals = np.stack([-right, -down, np.ones_like(z)], -1).reshape(-1, 3) @ sheet.camera.rotation.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    halfway = (lamp + np.array([0, 0, 1])) / np.sqrt(2 + 2 * lamp[2])
    brightness = ambient + (1 - ambient) * np.clip((normals @ lamp + 0.2) / 1.2, 0, None)
    brightness = 0.85 * brightness + gloss * np.clip(normals @ halfway, 0, None) ** 30

    # The surface's points are scattered over the picture and smoothed, which closes the gaps between them. What faces
    # away is left out, which is most of what the nose would hide.
    surface = np.stack(np.broadcast_arrays(x, y, z), -1).reshape(-1, 3)
    column, row = np.floor(sheet.place(surface) / sheet.pixels * _SHADING).astype(int).T
    seen = (normals[:, 2] > 0) & (column >= 0) & (column < _SHADING) & (row >= 0) & (row < _SHADING)
    light, weight = np.zeros((2, _SHADING, _SHADING))
    np.add.at(light, (row[seen], column[seen]), brightness[seen])
    np.add.at(weight, (row[seen], column[seen]), 1)
    smooth = (_smooth(light) + 1e-9 * ambient) / (_smooth(weight) + 1e-9)
    return Picture.fromarray(np.rint(smooth.clip(0, 1) * 255).astype(np.uint8))


def _smooth(field: Field) -> Field:
    """Blurs with a narrow kernel; where that finds no points, with a wide one."""
    return np.asarray(_NARROW @ field @ _NARROW + 1e-4 * (_WIDE @ field @ _WIDE))


def _draw_before(sheet: _Sheet, head: _Head, skin: Colour, hair: Colour, dice: _Dice) -> None:
    """Things that hide parts of the face: fringe, strands of hair, glasses, a disc at the lower edge."""
    if dice.chance(0.35):
        low, tips = dice.between(-0.75, -0.3), int(dice.between(3, 9))
        across = np.linspace(-0.95, 0.95, 2 * tips + 1)
        ragged = low + 0.15 * dice.rng.random(len(across)) * np.where(np.arange(len(across)) % 2, 1, -1)
        ragged += 0.25 * across**2
        z = -0.05 - 0.4 * across**2
        edge = np.column_stack([across, ragged, z])
        sheet.fill(sheet.place(np.concatenate([edge, _forehead(head, sheet.camera)])), hair)
    if dice.chance(0.2):
        for _ in range(int(dice.between(1, 5))):
            start, end = dice.between(-0.9, 0.9), dice.between(-1, 1)
            strand = np.array(
                [[start, -1.0], [(start + end) / 2 + dice.about(0, 0.4), -0.2], [end, dice.between(0, 1.1)]]
            )
            sheet.stroke(
                _curve(sheet.place(head.on_face(strand) + np.array([0, 0, 0.1]))), hair, dice.between(0.015, 0.07)
            )
    if dice.chance(0.2):
        _draw_glasses(sheet, head, dice)
    if dice.chance(0.125):
        side, reach = dice.between(-0.9, 0.9), dice.between(0.25, 0.5)
        colour = skin if dice.chance(0.5) else _colour(dice.rng.random(3) * 255)
        thing = _ring(side, float(head.flat[8, 1]) + 0.15, 0.35, reach, reach * 0.8)
        sheet.fill(sheet.place(thing), _mix(colour, (40, 20, 20), 0.2))


def _draw_glasses(sheet: _Sheet, head: _Head, dice: _Dice) -> None:
    frame, width = _colour(dice.rng.random(3) * 110), dice.between(0.02, 0.06)
    across, down, tint = dice.between(0.27, 0.36), dice.between(0.17, 0.3), dice.between(0, 0.3)
    for side in (-1, 1):
        eye = side * float(np.abs(head.flat[36:48, 0]).mean())
        lens = sheet.place(_ring(eye, 0.04, 0.2, across, down, depth=-side * 0.07))
        sheet.fill(lens, (200, 215, 220) if dice.chance(0.5) else frame, tint)
        sheet.stroke(np.concatenate([lens, lens[:2]]), frame, width)
        hinge = [eye + side * across, -0.02, 0.13]
        sheet.stroke(sheet.place(np.array([hinge, [side * 1.05, 0.0, -0.6]])), frame, width)
        sheet.stroke(sheet.place(np.array([[eye - side * across, 0, 0.25], [0, -0.04, 0.3]])), frame, width)
