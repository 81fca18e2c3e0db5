"""The user's own data: a folder of pictures with masks, with landmarks, or with other pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.dataset import Arrays, pools_of
from lsmbench.data.decoding import Decoded, Reading, eyes_of
from lsmbench.data.files import Findings, few
from lsmbench.data.folds import few_folds
from lsmbench.data.layouts import ACCEPTED, Kind
from lsmbench.datasets.pictures import PALETTES, SHOWN, Found, LabelMaps, PictureFolder, alike, named_palette
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

_HOW = "Name it by --dataset.root=PATH, or make bench DATASET=folder DATA=PATH."


@dataclass
class Folder(PictureFolder):
    """Your own folder: images with masks, with landmarks or with other images, or both side by side in one file.

    The names in the folder tell its layout:

    * `images/` and `masks/`: a mask is a PNG of the same stem and size that holds class numbers: a palette PNG (the
      index is the class), grey, or of 1 bit. Masks whose only values are 0 and 255 are taken for two classes.
    * `images/` and `landmarks/` with a `.pts` file of the same stem for each picture (pixels counted from 1, as 300-W
      does); the `.pts` files may also lie beside the pictures. Or `images/` and `landmarks.csv` with the header
      `file,x1,y1,x2,y2,…`, a row for each picture, its name with or without the ending; pixels are counted from 0 there
      and whole numbers are pixels' centres.
    * `A/` and `B/`: pictures of the same stem in both; A is `x`.
    * pictures alone: the left half is `x`, the right half `y` (pix2pix' aligned sets).

    Each layout may also lie in `train/`, `val/` and `test/`: these are then the parts, whatever the split's seed.
    Without `val/`, an eighth of `train/` is drawn for validation; without `test/`, `val/` is the test part; with
    `train/` only, or without any of them, 70/10/20 are drawn. Files are drawn at random, since files with successive
    names often show one class or one place; the draw is always the same unless the split has a seed. Where several
    files show one patient or one scene, make the parts yourself: drawing puts such files on both sides.

    Views, all `size`×`size`: `x`, and `y` if it is an image, uint8 (N, C, size, size), or float32 in [0, 1] if any
    picture is grey of 16 bit (65535 is 1; colours of 16 bit are read as 8 bit); a mask `y` is uint8 (N, size, size);
    landmarks `y` are float32 (N, P, 2) in [0, 1], as shares of the shown part. Images are resized by an antialiased
    bilinear filter, masks by the nearest pixel. `fit` makes a picture square: `stretch` changes its proportions, `crop`
    shows the middle, `pad` shows all of it on black (class 0). Annotations are transformed alike.

    With `palette`, pictures `y` (in `masks/`, in `B/`, or the right half) are label maps in the classes' colours, as
    Shukla et al. (2019) translate them: uint8 (N, 3, size, size). Each pixel of a file gets its class, the classes are
    resized by the nearest pixel, and become the palette's exact colours again. Pixels in the colours of the palette's
    lines `void…`, and pixels that `pad` adds, have no class and are not scored. A lossless map may hold no other
    colours; each pixel of a JPEG gets the nearest colour. With `segmenter`, photos made from label maps are scored by
    the classes that your network gives to their pixels.

    Raises:
        UserError: If an option has a value that is not allowed, or `root` is not given.
    """

    name: ClassVar[str] = "folder"

    root: str = option(
        "",
        "The folder with the data: images/ with masks/, landmarks/ or landmarks.csv, A/ with B/, or pictures that show "
        "both views side by side; all also inside train/, val/ and test/.",
        counts="never",
    )
    fit: Literal["stretch", "crop", "pad"] = option(
        "stretch",
        "How a picture becomes square: stretch changes its proportions, crop takes the middle, pad adds black.",
        choices=("stretch", "crop", "pad"),
    )
    classes: int = option(0, "Number of the masks' classes, background included; 0: the greatest label + 1.")
    channels: int = option(0, "Number of channels that all images are converted to, 1 to 4; 0: as stored.")
    side_by_side: Literal["auto", "x_left", "x_right"] = option(
        "auto",
        "Both views in one file: which half is x; auto: the left one, in files that are wider than high.",
        choices=("auto", "x_left", "x_right"),
    )
    eyes: str = option(
        "auto",
        "Unit of landmarks' errors: outer or released_code (faces with 68 points), box (diagonal of the bounding box), "
        "or two points' numbers, counted from 0, as in 36,45; auto: outer for 68 points, else box.",
    )
    exif: Literal["refuse", "apply", "ignore"] = option(
        "refuse",
        "Photos that are stored turned: refuse them, apply the turn or ignore it (as the annotations need).",
        choices=("refuse", "apply", "ignore"),
    )
    reconstruction: Literal["mse", "l1"] = option(
        "mse",
        "Loss of the images' reconstruction; that of label maps in colours is always l1.",
        choices=("mse", "l1"),
        source="as SIT",
    )
    palette: str = option(
        "",
        "The classes' colours, where y is a label map in colours: a text file with a line name,r,g,b for each class "
        f"(void…: no class), or {' or '.join(sorted(PALETTES))}; empty: y is something else.",
        counts="never",
    )
    segmenter: str = option(
        "",
        "With palette: the network that classifies the pixels of photos made from label maps, a TorchScript FILE or "
        "NAME:FILE with a network of torchvision and its weights; empty: such photos are scored as images.",
        counts="never",
    )
    absent: Literal["zero", "ignore"] = option(
        "zero",
        "With palette: how means over classes treat a class that does not occur: zero scores 0, ignore leaves it out.",
        choices=("zero", "ignore"),
        source="Cityscapes' scores in pix2pix' released code",
    )

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if not self.root:
            raise UserError(f"dataset {self.name}: no folder is given. {_HOW} {ACCEPTED}")
        if not (self.classes == 0 or 2 <= self.classes <= 256):
            raise UserError(f"dataset {self.name}: classes={self.classes}; expected 2 to 256, or 0 to infer them.")
        if not 0 <= self.channels <= 4:
            raise UserError(f"dataset {self.name}: channels={self.channels}; expected 1 to 4, or 0 to keep them.")
        eyes_of(self.eyes, None, self.name)
        if self.palette and self.classes:
            raise UserError(
                f"dataset {self.name}: classes={self.classes} and palette={self.palette}; the palette gives the number "
                "of classes. Leave one of the options out."
            )
        for field, default in (("segmenter", ""), ("absent", "zero")):
            if not self.palette and getattr(self, field) != default:
                raise UserError(
                    f"dataset {self.name}: {field}={getattr(self, field)} applies only to label maps in colours. Name "
                    "their palette, palette=FILE, or leave the option out."
                )

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 small pictures of one or two discs, and their masks with three classes; existing files are kept."""
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(40):
            paths = [folder / name / f"{i:02}.png" for name in ("images", "masks")]
            if not all(path.is_file() for path in paths):
                for path, drawn in zip(paths, _example(i), strict=True):
                    drawn.save(path)
        return cls(root=str(folder), size=32)

    def _folder(self) -> Path:
        root = Path(self.root).expanduser()
        if not root.exists():
            raise UserError(f"{root}: no such folder. {_HOW}")
        if not root.is_dir():
            raise UserError(f"{root}: is a file; expected a folder. {_HOW} {ACCEPTED}")
        return root

    def default_folds(self) -> int | None:
        """5 for fewer than 100 pairs that lie in no parts of the user's own (`few_folds`)."""
        return few_folds(pools_of(self), ("x", "y")) if self._facts.parts is None else None

    @property
    def _reading(self) -> Reading:
        maps = self._label_maps
        return Reading(
            self.size,
            self.fit,
            self.classes,
            self.channels,
            self.side_by_side,
            self.eyes,
            self.exif,
            None if maps is None else maps.palette,
        )

    def _find_label_maps(self) -> LabelMaps | None:
        if not self.palette:
            return None
        return LabelMaps.named(named_palette(self.palette, self.name), self.segmenter, self.absent)

    def _domains_of(self, kind: Kind, arrays: Arrays) -> dict[str, Domain]:
        def image(view: str) -> Image:
            return Image(arrays[view].shape[1], self.size, reconstruction=self.reconstruction)

        if (maps := self._label_maps) is not None and kind in SHOWN:
            photo = maps.photo(arrays["x"].shape[1], self.size, self.reconstruction)
            return {"x": photo, "y": maps.target(self.size)}
        target: Domain
        if kind == "masks":
            target = Mask(int(arrays["classes"][0]), self.size)
        elif kind in ("pts", "csv"):
            count = arrays["y"].shape[1]
            target = Landmarks(count, eyes_of(self.eyes, count, self.name))
        else:
            target = image("y")
        return {"x": image("x"), "y": target}

    def _refuse_idle_options(self, found: Found, findings: Findings) -> None:
        kinds: dict[str, tuple[object, tuple[Kind, ...]]] = {
            "classes": (0, ("masks",)),
            "eyes": ("auto", ("pts", "csv")),
            "side_by_side": ("auto", ("sides",)),
            "palette": ("", SHOWN),
        }
        for field, (default, needed) in kinds.items():
            if getattr(self, field) != default and found.kind not in needed:
                findings.problems.append(
                    f"{found.root}: {field}={getattr(self, field)} does not apply to {found.title}, which was found "
                    f"there. Leave the option out, or correct the folder. {ACCEPTED}"
                )

    def _settle(self, found: Found, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        decoded = super()._settle(found, decoded, findings)
        if found.kind == "masks" and not self.palette:
            return self._settle_labels(decoded, findings)
        if found.kind in ("pts", "csv"):
            decoded = alike(decoded, lambda d: len(d.y), "points", findings, lambda d: d.sample.annotation)
            return self._settle_points(decoded, findings)
        return decoded

    def _settle_labels(self, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        """Checks the labels of all masks, and converts masks of 0 and 255 to 0 and 1."""
        if not decoded:
            return decoded
        if self.classes == 2 or (
            self.classes == 0 and all(d.labels <= {0, 1} or d.labels <= {0, 255} for d in decoded)
        ):
            for d in decoded:
                if d.labels <= {0, 255}:
                    d.y, d.labels = np.minimum(d.y, 1), frozenset(min(label, 1) for label in d.labels)
        seen = frozenset[int]().union(*(d.labels for d in decoded))
        if self.classes:
            for d in decoded:
                if beyond := sorted(label for label in d.labels if label >= self.classes):
                    labels = few([str(label) for label in beyond])
                    findings.problems.append(
                        f"{d.sample.annotation}: holds the labels {labels}; expected 0 to {self.classes - 1}. Correct "
                        "the mask, or raise classes."
                    )
            return [d for d in decoded if max(d.labels) < self.classes]
        folder = decoded[0].sample.annotation.parent
        if max(seen) == 0:
            findings.problems.append(
                f"{folder}: all masks hold class 0 only, so that there is nothing to learn; give classes=N if that is "
                "right."
            )
        elif 255 in seen:
            having = [d.sample.annotation.name for d in decoded if 255 in d.labels]
            findings.problems.append(
                f"{folder}: the label 255 lies beside others in {len(having)} of "
                f"{len(decoded)} masks ({few(having)}). If it marks pixels to be ignored, give them a class; if the "
                "masks are grey by smoothing, save them anew with 0 and 255 only; if there are 256 classes, set "
                "classes=256."
            )
        elif 2 * len(seen) < max(seen) + 1:
            findings.problems.append(
                f"{folder}: the masks' labels are {few([str(label) for label in sorted(seen)])}, which would make "
                f"{max(seen) + 1} classes of which most never occur. Number the classes 0, 1, 2 …, or set "
                f"classes={max(seen) + 1}."
            )
        return decoded

    def _settle_points(self, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        """Refuses samples whose errors have no unit, since a distance is zero."""
        if not decoded:
            return decoded
        count = len(decoded[0].y)
        with findings.gathering():
            eyes = eyes_of(self.eyes, count, self.name)
            if eyes is None and count == 1:
                raise UserError(
                    f"{decoded[0].sample.annotation}: holds one point, but the unit of errors is a distance between "
                    "points. Give at least two points a picture."
                )
            domain = Landmarks(count, eyes)
            usable = []
            for d in decoded:
                with findings.gathering():
                    domain.check(d.y[None], f"{d.sample.annotation}, {d.sample.picture.name}")
                    usable.append(d)
            return usable
        return decoded


def _example(i: int) -> tuple[Picture.Image, Picture.Image]:
    """A picture and its mask: a bright disc on noise (class 1), and in every second sample a darker disc (class 2)."""
    rng = np.random.default_rng((i, 11))
    width, height = 40, 36
    mask = Picture.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for label in (1, 2)[: 1 + i % 2]:
        x, y, radius = rng.integers(8, width - 8), rng.integers(8, height - 8), rng.integers(4, 8)
        pen.ellipse([int(x - radius), int(y - radius), int(x + radius), int(y + radius)], fill=label)
    grey = np.array([60, 200, 130])[np.asarray(mask)] + rng.integers(-25, 26, (height, width))
    return Picture.fromarray(grey.astype(np.uint8)), mask
