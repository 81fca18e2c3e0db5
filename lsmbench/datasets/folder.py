"""The user's own data: a folder of pictures with masks, with landmarks, or with other pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.census import Wanted, labels_of, odd_points, parse_window
from lsmbench.data.dataset import Arrays, Inspection, pools_of
from lsmbench.data.decoding import Decoded, Reading, eyes_of, flat_targets, percent, shown_part
from lsmbench.data.files import Findings, few
from lsmbench.data.folds import few_folds
from lsmbench.data.layouts import ACCEPTED, Found, Kind
from lsmbench.data.naming import pattern_of
from lsmbench.data.pairing import rule_of
from lsmbench.data.places import meaning
from lsmbench.data.pools import Stored
from lsmbench.datasets.pictures import PALETTES, SHOWN, LabelMaps, PictureFolder, alike, named_palette
from lsmbench.domains import Domain, Image, Landmarks, Mask, in_proportion
from lsmbench.errors import UserError
from lsmbench.options import option
from lsmbench.palettes import IGNORED, palette_text

_IN_PROPORTION = "y_in_proportion"
"""The view, read by evaluations only, that holds landmarks with the sides of their pictures."""

_DARK = 64
"""Grey pictures whose levels are all below this look black, and may be class numbers."""

_HOW = "Name it by --dataset.root=PATH, or make bench DATASET=folder DATA=PATH."


@dataclass
class Folder(PictureFolder):
    """Your own folder: images with masks, with landmarks or with other images, or both side by side in one file.

    The names in the folder tell its layout:

    * `images/` and `masks/`: a mask is a PNG of the same name and size that holds class numbers: a palette PNG (the
      index is the class), grey, or of 1 bit. Masks whose only values are 0 and 255 are taken for two classes.
    * `images/` and `landmarks/` with a `.pts` file of the same name for each picture (pixels counted from 1, as 300-W
      does); the `.pts` files may also lie beside the pictures. Or `images/` and `landmarks.csv` with the header
      `file,x1,y1,x2,y2,…`, a row for each picture, its name with or without the ending; pixels are counted from 0 there
      and whole numbers are pixels' centres.
    * `A/` and `B/`: pictures of the same name in both; A is `x`.
    * pictures and masks in one folder: the names of the masks have an ending, as `3_mask.png` beside `3.png`; or
      photos are JPEG and masks PNG of the same name.
    * pictures alone, about twice as wide as high: the left half is `x`, the right half `y` (pix2pix' aligned sets).

    `places.py` has the other words that folders may be called by, and `pairing.py` the endings. Names are compared in
    composed form (NFC), with the sub-folders in front of them and without the last ending; one rule (`pairing`) holds
    for the whole folder. A file without a counterpart is a sample with one view, `x` or `y`, and is trained on as such.
    Points without a picture are left out, since they are shares of its size.

    Each layout may also lie in `train/`, `val/` and `test/`, or have these inside (`images/train`): they are then the
    parts, whatever the split's seed, and nothing outside `train/` is trained on. Where one side only is divided, as
    `images/train` and `images/test` beside `masks/` or `landmarks.csv`, the other follows it by name, and what has no
    counterpart is trained on; a row of the table may name a picture with its part in front, as `test/3.png`. Without
    `val/`, an eighth of `train/` is drawn for validation; without `test/`, `val/` is the test part; with `train/` only,
    or without any of them, the pairs are split 70/10/20. They are drawn at random, since files with successive names
    often show one class or one place; the draw is always the same unless the split has a seed. Of two pairs one is
    trained on and one tested, and a single pair is trained on: no pair is then left to validate with. Where several
    files show one patient or one scene, say so by `unit`: drawing else puts such files on both sides. A sample with one
    view is in the part of its unit.

    Views, all `size`×`size`: `x`, and `y` if it is an image, uint8 (N, C, size, size), or float32 in [0, 1] if any
    picture has more than 8 bits; a mask `y` is uint8 (N, size, size);
    landmarks `y` are float32 (N, P, 2) in [0, 1], as shares of the shown part. Images are resized by an antialiased
    bilinear filter, masks by the nearest pixel. `fit` makes a picture square: `stretch` changes its proportions, `crop`
    shows the middle, `pad` shows all of it on black (class 0). Annotations are transformed alike.

    The files are looked at together. One range of numbers holds for all pictures of a view (`window`): 8 bits stay as
    they are; of more bits, those that the set uses become 0 to 1 (12 bits are 0 to 4095), also of colours and of
    signed numbers. Alpha that is one number throughout is left out. Palette PNGs that store the same colours in another
    order are renumbered by colour; JPEG masks of two clear grey levels are cut in the middle; masks whose sides are a
    whole multiple of their picture's, or a whole part, are matched by the nearest pixel. Labels of `ignore` have no
    class: they are neither trained on nor scored. `background` says which label the foreground IoU leaves out; mean IoU
    and pixel accuracy are over all classes. Errors of landmarks are measured in the pictures' own proportions, whatever
    `fit` does. Landmarks outside their picture are refused, skipped, or kept at its border (`outside`).

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
    ignore: str = option(
        "",
        "Labels of mask pixels that have no class, as 255 or 0,255: they are neither trained on nor scored.",
        counts="if_changed",
    )
    background: str = option(
        "0",
        "The masks' label that the foreground IoU leaves out; none: every class is scored.",
        counts="if_changed",
    )
    class_names: str = option(
        "",
        "What the masks' classes are called, as background,lung,heart; or the file of a palette, for its names.",
        counts="if_changed",
    )
    window: str = option(
        "auto",
        "The numbers in pictures that become black and white: low,high as in 0,4095; percentiles of all pictures as in "
        "p1,p99; auto: 8 bits as they are, of more bits the fewest that hold all numbers.",
        counts="if_changed",
    )
    outside: Literal["keep", "skip", "refuse"] = option(
        "refuse",
        "Landmarks outside their picture: refuse them, skip their samples, or keep them, moved to the border.",
        choices=("keep", "skip", "refuse"),
        counts="if_changed",
    )
    channels: int = option(0, "Number of channels that all images are converted to, 1 to 4; 0: as stored.")
    side_by_side: Literal["auto", "x_left", "x_right"] = option(
        "auto",
        "Both views in one file: which half is x; auto: the left one, in files that are wider than high.",
        choices=("auto", "x_left", "x_right"),
    )
    pairing: str = option(
        "auto",
        "How the names of pictures and annotations match: stem (equal without the last ending), the ending of "
        "annotations, such as _mask, two patterns such as *_img,*_mask, or none (nothing is paired); auto: the rule "
        "that fits the folder.",
        counts="never",
    )
    unit: str = option(
        "",
        "The patient, person or scene of a file, which no split divides: folder (the sub-folder that it lies in), or a "
        r"regular expression with one group that is found in its name, such as (P\d+)_; empty: each file is its own.",
        counts="if_changed",
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
        parse_window(self.window, f"dataset {self.name}")
        wanted = self._wanted
        if 0 < self.classes < len(wanted.names):
            raise UserError(
                f"dataset {self.name}: class_names gives {len(wanted.names)} names for classes={self.classes}. Name "
                "each class once."
            )
        for check, word in ((rule_of, self.pairing), (pattern_of, self.unit)):
            try:
                check(word)
            except UserError as error:
                raise UserError(f"dataset {self.name}: {error}") from error
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

    @cached_property
    def _wanted(self) -> Wanted:
        """What the options say of the masks' labels.

        Raises:
            UserError: If they are no labels.
        """

        def label(word: str, field: str) -> int:
            if not (word.isascii() and word.isdigit() and int(word) <= 255):
                raise UserError(
                    f"dataset {self.name}: {field}={getattr(self, field)}; expected labels as masks hold them, from 0 "
                    "to 255" + (", separated by commas." if field == "ignore" else ", or none.")
                )
            return int(word)

        cells = [cell.strip() for cell in self.ignore.split(",") if cell.strip()]
        word = self.background.strip().lower()
        names = tuple(name.strip() for name in self.class_names.split(",") if name.strip())
        if len(names) == 1:
            names = named_palette(names[0], self.name, "class_names").names
        if len(set(names)) < len(names):
            raise UserError(f"dataset {self.name}: class_names={self.class_names}: two classes have the same name.")
        return Wanted(
            self.classes,
            tuple(sorted({label(cell, "ignore") for cell in cells})),
            None if word == "none" else label(word, "background"),
            names,
            background_said=word != "0",
        )

    def _labels_key(self) -> dict[str, object]:
        wanted = self._wanted
        return {"ignore": wanted.ignore, "background": wanted.background, "names": len(wanted.names)}

    def default_folds(self) -> int | None:
        """5 for fewer than 100 pairs that lie in no parts of the user's own (`few_folds`)."""
        return few_folds(pools_of(self), ("x", "y")) if self._facts.parts is None else None

    @property
    def _reading(self) -> Reading:
        maps = self._label_maps
        asked = parse_window(self.window, self.name)
        reach = asked if asked is not None and len(asked) == 2 else None
        return Reading(
            self.size,
            self.fit,
            self.classes,
            self.channels,
            self.side_by_side,
            self.eyes,
            self.exif,
            None if maps is None else maps.palette,
            self.window,
            reach,
            reach,
            self.outside,
        )

    @property
    def _pairing(self) -> str:
        return self.pairing

    @property
    def _unit(self) -> str:
        return self.unit

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
            background = int(arrays["background"][0])
            target = Mask(
                len(arrays["labels"]),
                self.size,
                bool(arrays["void"][0]),
                None if background < 0 else background,
                self._wanted.names,
                detailed=True,
            )
        elif kind in ("pts", "csv"):
            count = arrays["y"].shape[1]
            sizes = np.asarray(arrays.get("sizes", np.ones((1, 2))))
            oblong = self.fit == "stretch" and bool((sizes[:, 0] != sizes[:, 1]).any())
            target = Landmarks(count, eyes_of(self.eyes, count, self.name), oblong)
        else:
            target = image("y")
        return {"x": image("x"), "y": target}

    @property
    def truths(self) -> dict[str, str]:
        """Landmarks are compared in their pictures' proportions, where pictures are stretched."""
        return {**super().truths, **({"y": _IN_PROPORTION} if self._oblong else {})}

    def evaluation_views(self) -> Mapping[str, Stored]:
        """Also, where pictures are stretched, the true points with their pictures' sides (`in_proportion`)."""
        if not self._oblong:
            return super().evaluation_views()
        arrays = self._arrays
        return {_IN_PROPORTION: in_proportion(np.asarray(arrays["y"], np.float32), arrays["sizes"])}

    @property
    def _oblong(self) -> bool:
        target = self.domains["y"]
        return isinstance(target, Landmarks) and target.proportions

    def _refuse_idle_options(self, found: Found, findings: Findings) -> None:
        kinds: dict[str, tuple[object, tuple[Kind, ...]]] = {
            "classes": (0, ("masks",)),
            "ignore": ("", ("masks",)),
            "background": ("0", ("masks",)),
            "class_names": ("", ("masks",)),
            "outside": ("refuse", ("pts", "csv")),
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

    def _look_for_classes(self, found: Found, decoded: Sequence[Decoded], inspection: Inspection) -> None:
        if found.kind not in ("images", "sides") or self._label_maps is not None:
            return
        paths = [d.sample.annotation for d in decoded if d.sample.annotation is not None]
        counts = flat_targets(found.kind, paths, self._reading)
        if counts is None or len(counts) < 2:
            return
        shares = {colour: n / counts.total() for colour, n in counts.most_common()}
        inspection.palette = palette_text(shares)
        levels = sorted(red for red, green, blue in counts if red == green == blue)
        numbers = len(levels) == len(counts) and (levels[-1] < _DARK or levels == [0, 255])
        if numbers:
            held = few([str(level) for level in levels], 8)
            said = f"no grey levels but {held}, as masks of class numbers do. If they are masks, {_as_masks(found)}"
        else:
            held = few([f"{colour} {percent(share)}" for colour, share in shares.items()], 8)
            said = (
                f"{len(counts)} flat colours, with their shares of pixels: {held}. If these stand for classes, "
                "lsmbench data check folder PATH --write-palette classes.csv writes them to a file; correct the names "
                "in it, and give palette=classes.csv"
            )
        inspection.findings.notes.append(
            f"{found.root}: {found.title}: the {len(paths)} pictures y hold {said}; else they are translated as "
            "pictures are."
        )

    def _settle(self, found: Found, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        decoded = super()._settle(found, decoded, findings)
        if found.kind == "masks" and not self.palette:
            return self._settle_labels(found, decoded, findings)
        if found.kind in ("pts", "csv"):
            decoded = alike(decoded, "y", "points", findings)
            return self._settle_points(decoded, findings)
        return decoded

    def _settle_labels(self, found: Found, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        """Turns the numbers of all masks into classes, as the census of the set settles them."""
        masks = [d for d in decoded if d.mask is not None]
        labels = labels_of([d.mask for d in masks if d.mask is not None], self._wanted, findings)
        beyond = labels.background if labels.background is not None and not labels.void else IGNORED
        labels.void |= self.fit == "pad" and labels.background is None
        for d, table in zip(masks, labels.tables, strict=True):
            if table is None or d.y is None or d.mask is None:
                continue
            d.y = table[d.y]
            d.labels = frozenset(int(table[number]) for number in d.mask.numbers) - (
                {IGNORED} if labels.void else set()
            )
            if self.fit == "pad":
                d.y[~shown_part(d.size, self._reading)] = beyond
        found.settled.labels = labels
        refused = {id(d) for d, table in zip(masks, labels.tables, strict=True) if table is None}
        return [d for d in decoded if id(d) not in refused]

    def _settle_points(self, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        """Refuses samples whose errors have no unit, since a distance is zero."""
        first = next((d for d in decoded if d.y is not None), None)
        if first is None or first.y is None:
            return decoded
        count, in_table = len(first.y), first.sample.points is not None
        there = [(d.points, d.sample.annotation, d.sample.file) for d in decoded]
        given = [(points, path, picture) for points, path, picture in there if points is not None and path is not None]
        place = given[0][1]
        findings.notes += odd_points(
            [points for points, _, _ in given],
            0.5 if in_table else -0.5,
            [picture.name if in_table else path.name for _, path, picture in given],
            place if in_table else place.parent,
        )
        with findings.gathering():
            eyes = eyes_of(self.eyes, count, self.name)
            if eyes is None and count == 1:
                raise UserError(
                    f"{first.sample.annotation}: holds one point, but the unit of errors is a distance between "
                    "points. Give at least two points a picture."
                )
            domain = Landmarks(count, eyes)
            usable = []
            for d in decoded:
                with findings.gathering():
                    if d.y is not None:
                        domain.check(d.y[None], f"{d.sample.annotation}, {d.sample.file.name}")
                    usable.append(d)
            return usable
        return decoded


def _as_masks(found: Found) -> str:
    """How targets that are read as pictures come to be read as masks."""
    if found.kind == "sides":
        return "save the halves apart, as images/ and masks/"
    first = next(sample.annotation for sample in found.samples if sample.annotation is not None)
    for folder in first.relative_to(found.root).parts[:-1]:
        part, role = meaning(folder)
        if role == "images":
            return f"rename {folder}/ to {part}masks/"
    return f"let their names have _mask in place of {found.rule.annotation}"


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
