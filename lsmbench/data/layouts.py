"""Recognises how a user's folder is laid out, and matches its pictures with their annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image as Picture

from lsmbench.data.census import Settled
from lsmbench.data.files import ANNOTATIONS, PICTURES, Findings, Inventory, all_of, few, inventory, without_limit
from lsmbench.data.pairing import AUTO, STEM, Rule, pair
from lsmbench.data.places import PARTS, TARGETS, File, Place, Role, meaning, place_of
from lsmbench.data.tables import Points, read_points
from lsmbench.errors import UserError

ACCEPTED = (
    "Accepted are images/ with masks/ (class numbers, or the colours of a palette); images/ with landmarks/ (.pts "
    "files), with landmarks.csv, or with .pts files beside the pictures; A/ with B/ (pictures both); pictures and "
    "masks in one folder, told apart by an ending such as _mask; or pictures alone, each showing both views side by "
    "side. All of them also inside train/, val/ and test/, or with these inside, as in images/train."
)

Kind = Literal["masks", "pts", "csv", "images", "sides"]

_TABLE = "landmarks.csv"
_LOSSLESS = (".png", ".bmp", ".gif", ".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
SIDES = (1.8, 2.2)
"""Width by height of a picture that shows two views side by side, unless the user says so."""


class Sample(NamedTuple):
    """One sample's files: its picture, the file with its target, and the target's points if they are already read.

    A picture without an annotation has `None` there, and so has an annotation without a picture. `name` is the file's
    name below the folder of its kind and part; `line` that of the annotation's file which holds the points, where one
    file holds those of many samples.
    """

    part: int
    picture: Path | None
    annotation: Path | None
    points: Points | None = None
    name: str = ""
    line: int = 0

    @property
    def file(self) -> Path:
        """The file that a sample is called by: its picture, or else its annotation."""
        path = self.picture or self.annotation
        assert path is not None
        return path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that there are."""
        return tuple(path for path in (self.picture, self.annotation) if path is not None)


@dataclass
class Found:
    """What a folder holds.

    Attributes:
        root: The folder.
        kind: What its annotations are.
        title: Its layout, in words.
        parts: The parts that it is divided into, of `PARTS`; none if it is not.
        rule: How names of pictures and of annotations differ.
        samples: The matched files, part by part; in a part in the order of pictures' paths, then of annotations'.
        unread: Entries that are not read, by the reason.
        settled: What the census of the files finds, once they are decoded.
    """

    root: Path
    kind: Kind
    title: str
    parts: list[str]
    rule: Rule = field(default_factory=Rule)
    samples: list[Sample] = field(default_factory=list)
    unread: dict[str, list[str]] = field(default_factory=dict)
    settled: Settled = field(default_factory=Settled)

    @property
    def sources(self) -> set[Path]:
        """All files of the samples."""
        return {path for sample in self.samples for path in sample.files}

    @property
    def plain(self) -> bool:
        """Whether every sample is a picture with the annotation of the same name."""
        return self.rule == Rule() and all(sample.picture and sample.annotation for sample in self.samples)


Sides = list[tuple[list[File], list[File]]]
"""The pictures and the annotations of each part."""


@dataclass
class _Shelf:
    """The files of one part: by role, then by the folder that has this role; and those in no such folder."""

    part: str
    roles: dict[Role, dict[str, list[File]]] = field(default_factory=dict)
    loose: list[File] = field(default_factory=list)
    table: Path | None = None

    def of(self, role: Role) -> list[File]:
        """All files of a role."""
        return [file for files in self.roles.get(role, {}).values() for file in files]


def find(root: Path, pairing: str, sides: bool, findings: Findings) -> Found:
    """Recognises a folder's layout by its names, and matches its files.

    Args:
        root: The folder.
        pairing: The option of that name.
        sides: Whether the user says that pictures show both views side by side.
        findings: Takes problems and notes.

    Raises:
        UserError: If the folder has no known layout, or several; or cannot be read.
    """
    if not _is_utf8(str(root)):
        raise UserError(f"{str(root)!a}: the folder's name is not UTF-8. Rename it, or name it by a link.")
    held = inventory(root)
    _refuse_names(root, held, findings)
    _refuse_links(root, held, findings)
    finder = _Finder(root, held, pairing, sides, findings)
    return finder.find()


def _refuse_names(root: Path, held: Inventory, findings: Findings) -> None:
    readable = [path for path in held.files if path.suffix.lower() in (*ANNOTATIONS, ".pts")]
    strange = [str(path.relative_to(root)) for path in readable if not _is_utf8(str(path.relative_to(root)))]
    if strange:
        findings.problems.append(
            f"{root}: the names of {len(strange)} files are not UTF-8: {few([ascii(name) for name in strange])}. "
            "Rename them; convmv -f latin1 -t utf8 -r does so for names in Latin-1."
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_links(root: Path, held: Inventory, findings: Findings) -> None:
    """A link that leads nowhere, often to a disk that is not mounted, would leave out data in silence."""
    by_folder: dict[Path, list[Path]] = {}
    for path in held.broken:
        if path.suffix.lower() in ("", *ANNOTATIONS, ".pts", ".csv"):
            by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        first = paths[0]
        try:
            target = str(first.readlink())
        except OSError:
            target = "nowhere"
        what = f"{len(paths)} links lead" if len(paths) > 1 else "a link leads"
        findings.problems.append(
            f"{folder}: {what} to files that are not there: {few([p.name for p in paths])} ({first.name} to {target}). "
            "If they lie on another disk, mount it; else remove the links."
        )


class _Finder:
    """One look at a folder: sorts its files by part and role, tells the layout by these, and matches the files."""

    def __init__(self, root: Path, held: Inventory, pairing: str, sides: bool, findings: Findings) -> None:
        self.root, self.pairing, self.sides, self.findings = root, pairing, sides, findings
        self.unread: dict[str, list[str]] = {}
        for path in held.broken:
            self._leave(path, "a link that leads nowhere")
        for path in held.empty:
            self._leave(path, "an empty folder")
        for path in held.special:
            self._leave(path, "no regular file")
        self.names = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir()) if path.name[0] != "."]
        self.files = held.files

    def _leave(self, path: Path, why: str) -> None:
        self.unread.setdefault(why, []).append(path.relative_to(self.root).as_posix())

    def _not_read(self) -> str:
        """What is not read, for a message that something is missing."""
        told = [f"{few(names, 3)} ({why})" for why, names in self.unread.items()]
        return f" Not read: {'; '.join(told)}." if told else ""

    # What lies where

    def find(self) -> Found:
        shelves = self._shelves()
        parts = [shelf.part for shelf in shelves if shelf.part]
        kind, title, sides = self._layout(shelves)
        found = Found(self.root, kind, title, parts, unread=self.unread)
        if kind == "sides":
            for shelf, (pictures, _) in zip(shelves, sides, strict=True):
                part = _number(shelf.part, parts)
                found.samples += [Sample(part, f.path, f.path, name=f.name) for f in pictures]
        elif kind == "csv":
            self._read_tables(found, shelves, sides)
        else:
            self._match(found, shelves, sides)
        self._look_through(found, shelves, sides)
        return found

    def _shelves(self) -> list[_Shelf]:
        """The readable files of each part, sorted by their folders' words; other files are left."""
        placed: list[tuple[Path, Place]] = []
        for path in self.files:
            suffix = path.suffix.lower()
            if suffix in (*ANNOTATIONS, ".pts") or path.name.casefold() == _TABLE:
                placed.append((path, place_of(path.relative_to(self.root))))
            else:
                self._leave(path, f"{suffix or 'files without an ending'}, which is not read")
        if not any(place.role for _, place in placed):
            placed = self._inside_units(placed)
        parts = [part for part in PARTS if any(place.part == part for _, place in placed)]
        if parts and "train" not in parts:
            held = all_of([f"{part}/" for part in parts])
            raise UserError(
                f"{self.root}: holds {held}, but no train/. Add it, or put all files together, to be split 70/10/20. "
                f"{ACCEPTED}"
            )
        shelves = {part: _Shelf(part) for part in parts or [""]}
        outside = {place.role for _, place in placed if parts and not place.part}
        if "x" in outside and outside & set(TARGETS):
            raise UserError(
                f"{self.root}: two layouts fit: {all_of([f'{part}/' for part in parts])}, and folders beside them that "
                f"belong to no part. Move one of both out of {self.root}."
            )
        undivided = _Shelf("")
        for path, place in placed:
            shelf = shelves.get(place.part, undivided)
            if path.name.casefold() == _TABLE:
                if "/" in place.name or place.role:
                    self._leave(path, f"{_TABLE} in a folder where it is not looked for")
                else:
                    shelf.table = path
            elif place.role:
                shelf.roles.setdefault(place.role, {}).setdefault(place.folder, []).append(File(path, place.name))
            else:
                shelf.loose.append(File(path, place.name))
        divided = list(shelves.values())
        for path in self._share_out(undivided, divided):
            self._leave(path, f"beside {parts[0]}/, and in no part")
        return divided

    def _share_out(self, undivided: _Shelf, shelves: list[_Shelf]) -> list[Path]:
        """Gives what lies in no part to the parts of its counterparts, as `masks/` beside `images/train`.

        A folder is shared out by the names of its files, if it is what the parts lack: annotations for their pictures,
        or pictures for their annotations. A file without a counterpart is given to the first part, which is train.

        Returns:
            The files that belong to no part.

        Raises:
            UserError: If a file belongs to several parts.
        """
        pictures = [self._pictures(shelf, True) for shelf in shelves]
        targets = [[f for role in TARGETS for f in shelf.of(role)] for shelf in shelves]
        left = [f.path for f in undivided.loose]
        for role, folders in undivided.roles.items():
            own, others = (pictures, targets) if role == "x" else (targets, pictures)
            lacking = not self.sides and any(others) and not any(own)
            for folder, files in folders.items():
                if not (lacking and self._share_folder(role, folder, files, shelves, others)):
                    left += [f.path for f in files]
        if (table := undivided.table) is not None:
            if self.sides or not any(pictures) or any(targets) or any(shelf.table for shelf in shelves):
                left.append(table)
            else:
                for shelf in shelves:
                    shelf.table = table
        return sorted(left)

    def _share_folder(
        self, role: Role, folder: str, files: list[File], shelves: list[_Shelf], others: list[list[File]]
    ) -> bool:
        """Shares a folder's files out; leaves it, and returns `False`, if neither names nor words speak for that."""
        homes: dict[str, list[_Shelf]] = {}
        for shelf, some in zip(shelves, others, strict=True):
            for key in dict.fromkeys(f.key for f in some):
                homes.setdefault(key, []).append(shelf)
        keys = [f.key for f in files]
        sides = (keys, list(homes)) if role == "x" else (list(homes), keys)
        pairs = pair(*sides, self.pairing, str(self.root))[1]
        counterpart = pairs if role == "x" else {y: x for x, y in pairs.items()}
        if not pairs and not any(shelf.roles for shelf in shelves):
            return False
        torn = [f for f in files if len(homes.get(counterpart.get(f.key, ""), ())) > 1]
        if torn:
            parts = [shelf.part for shelf in homes[counterpart[torn[0].key]]]
            raise UserError(
                f"{self.root}: {folder}/ is not divided into parts, and {len(torn)} of its names occur in several "
                f"({few([f.name for f in torn], 3)} in {all_of([f'{part}/' for part in parts])}), so that a file could "
                f"belong to either. Divide it alike, into {all_of([f'{folder}/{shelf.part}/' for shelf in shelves])}; "
                "or give each file a name of its own."
            )
        for f in files:
            shelf = homes[counterpart[f.key]][0] if f.key in counterpart else shelves[0]
            shelf.roles.setdefault(role, {}).setdefault(folder, []).append(f)
        alone = sum(f.key not in counterpart for f in files)
        rest = f"; {alone} of {len(files)} have none, and are trained on" if alone and role != "pts" else ""
        self.findings.notes.append(
            f"{self.root}: {folder}/ is not divided into parts: its files belong to the parts of their counterparts, "
            f"by name{rest}."
        )
        return True

    def _inside_units(self, placed: list[tuple[Path, Place]]) -> list[tuple[Path, Place]]:
        """Places by words deeper down: `P01/images/3.png` is the picture `P01/3.png`; left alone without such words."""
        found = []
        for path, place in placed:
            folders = place.name.split("/")[:-1]
            role_at = next((i for i, folder in enumerate(folders) if meaning(folder) not in (("", ""),)), None)
            if role_at is None:
                found.append((path, place))
                continue
            part, role = meaning(folders[role_at])
            if part:
                upper = path.relative_to(self.root).parts[:-1]
                upper = upper[: next(i for i, folder in enumerate(upper) if meaning(folder)[0])]
                if place.part:
                    found.append((path, place))
                    continue
                raise UserError(
                    f"{self.root}: the folder {'/'.join(upper)}/ in it holds the parts; name that one: "
                    f"{self.root.joinpath(*upper)}."
                )
            name = "/".join([*folders[:role_at], *place.name.split("/")[role_at + 1 :]])
            folder = "/".join(filter(None, [place.folder, "…", folders[role_at]]))
            found.append((path, Place(place.part, role, folder, name)))
        return found

    # Which layout it is

    def _layout(self, shelves: list[_Shelf]) -> tuple[Kind, str, Sides]:
        """The kind, its title, and for each shelf its pictures and its annotations."""
        targets = [role for role in TARGETS if any(shelf.of(role) for shelf in shelves)]
        self._refuse_several(shelves, targets)
        pictures = [self._pictures(shelf, bool(targets)) for shelf in shelves]
        if targets:
            kind, annotations = self._annotations(shelves, targets[0])
            return kind, self._title(shelves, targets[0], kind), list(zip(pictures, annotations, strict=True))
        where = self._name_of_x(shelves)
        if any(shelf.table for shelf in shelves):
            return "csv", f"{where} with {_TABLE}", [(files, []) for files in pictures]
        points = [[f for f in (*shelf.of("x"), *shelf.loose) if f.path.suffix.lower() == ".pts"] for shelf in shelves]
        if any(points):
            title = f"{where} with .pts files in it" if where.endswith("/") else "pictures with .pts files"
            return "pts", title, list(zip(pictures, points, strict=True))
        if not any(pictures):
            shown = few(self.names) or "nothing"
            raise UserError(f"{self.root}: holds none of the layouts; found {shown}.{self._not_read()} {ACCEPTED}")
        return self._in_one_folder(shelves, pictures, where)

    def _refuse_several(self, shelves: list[_Shelf], targets: list[Role]) -> None:
        """Two folders of pictures, or two of annotations: which is meant?"""
        for shelf in shelves:
            pictures, table = list(shelf.roles.get("x", {})), [_TABLE] if shelf.table else []
            others = [folder for role in targets for folder in shelf.roles.get(role, {})] + table
            units = {folder for folder in (*pictures, *others) if "…" in folder}
            for several in (pictures, others):
                if len(several) > 1:
                    picture = f"{pictures[0]}/" if pictures else "the pictures"
                    pairs = [f"{picture} with {name}{'/' * (name != _TABLE)}" for name in others]
                    shown = [f"{name}/" for name in several] if several is pictures else pairs
                    extra = f" (… stands for folders such as {self.names[0]})" if units else ""
                    raise UserError(
                        f"{self.root}: holds {all_of(shown)}{extra}; expected one of them. Move what is not meant out "
                        f"of {self.root}."
                    )
        loose = {shelf.part for shelf in shelves if not shelf.roles and shelf.loose}
        if targets and loose and any(shelf.of("x") for shelf in shelves):
            raise UserError(
                f"{self.root}: all parts must be laid out alike; found folders of pictures and of annotations in some "
                f"parts, and pictures alone in {all_of([f'{part}/' for part in sorted(loose)])}."
            )

    def _pictures(self, shelf: _Shelf, with_targets: bool) -> list[File]:
        """The pictures of a part; beside a folder of annotations these may lie in no folder of their own."""
        files = shelf.of("x") or [f for f in shelf.loose if shelf.part or not with_targets or "/" not in f.name]
        return [f for f in files if f.path.suffix.lower() in PICTURES]

    def _annotations(self, shelves: list[_Shelf], role: Role) -> tuple[Kind, list[list[File]]]:
        """The annotations of each part; what they are is told by the folder's word, or by .pts files in it."""
        files = [shelf.of(role) for shelf in shelves]
        endings = {f.path.suffix.lower() == ".pts" for some in files for f in some}
        if role == "pts" or endings == {True}:
            return "pts", [[f for f in some if f.path.suffix.lower() == ".pts"] for some in files]
        if endings == {True, False}:
            raise UserError(
                f"{self.root}: {self._folder_of(shelves, role)}/ holds pictures and .pts files; expected one of them. "
                f"Move the others out of {self.root}."
            )
        suffixes = ANNOTATIONS if role == "masks" else PICTURES
        kind: Kind = "masks" if role == "masks" else "images"
        return kind, [[f for f in some if f.path.suffix.lower() in suffixes] for some in files]

    def _folder_of(self, shelves: list[_Shelf], role: Role) -> str:
        return next(folder for shelf in shelves for folder in shelf.roles.get(role, {}))

    def _name_of_x(self, shelves: list[_Shelf]) -> str:
        named = [f"{folder.removeprefix(f'{s.part}/')}/" for s in shelves for folder in s.roles.get("x", {})]
        return all_of(list(dict.fromkeys(named))) or "pictures"

    def _title(self, shelves: list[_Shelf], role: Role, kind: Kind) -> str:
        """`images/ with masks/` where each part has these folders, else the folders of each part."""
        titles = []
        for shelf in shelves:
            sides = [next(iter(shelf.roles.get(of, {})), "").removeprefix(f"{shelf.part}/") for of in ("x", role) if of]
            picture = f"{sides[0]}/" if sides[0] else f"{shelf.part}/" if shelf.part else "pictures"
            titles.append(f"{picture} with {sides[1]}/" if sides[1] else picture)
        return all_of(list(dict.fromkeys(titles)))

    def _in_one_folder(self, shelves: list[_Shelf], pictures: list[list[File]], where: str) -> tuple[Kind, str, Sides]:
        """Pictures only: told apart by an ending, or by JPEG and PNG of one name, or each showing both views."""
        plain = [(files, list[File]()) for files in pictures]
        if self.sides:
            return "sides", "pictures that show both views side by side", plain
        files = [f for some in pictures for f in some]
        keys = [f.key for f in files]
        oblong = _are_oblong(files)
        if self.pairing != STEM:
            rule, pairs, left = pair(keys, keys, self.pairing, str(self.root))
            if pairs and oblong and self.pairing == AUTO and 4 * len(pairs) < len(keys):
                x, y = next(iter(pairs.items()))
                raise UserError(
                    f"{self.root}: two layouts fit: pictures that show both views side by side, since they are twice "
                    f"as wide as high, and pictures with annotations by the ending {rule.annotation} ({x}, {y}; "
                    f"{len(pairs)} such pairs). Set side_by_side=x_left or pairing={rule.word}."
                )
            if pairs:
                for f in files:
                    if f.key in left:
                        self._leave(f.path, "an annotation by another rule than pairing says")
                is_y = {key for key in keys if rule.annotation.base(key) is not None} - pairs.keys()
                told = [
                    ([f for f in some if f.key not in is_y and f.key not in left], [f for f in some if f.key in is_y])
                    for some in pictures
                ]
                kind: Kind = "images" if rule.of_pictures else "masks"
                return kind, f"{where} told apart by {rule.picture} and {rule.annotation}", told
        counts = [Counter(f.key for f in some) for some in pictures]
        if twins := [key for one in counts for key in one if one[key] == 2]:
            return "masks", f"{where}, JPEG and its mask of the same name", self._twins(pictures, twins)
        if oblong:
            self.findings.notes.append(
                f"{self.root}: pictures only, about twice as wide as high: taken as both views side by side. "
                "side_by_side=x_left says so, side_by_side=x_right exchanges the halves."
            )
            return "sides", "pictures that show both views side by side", plain
        first = files[0].path
        try:
            with without_limit(), Picture.open(first) as opened:
                size = f"{opened.width}×{opened.height} px"
        except (OSError, SyntaxError, ValueError):
            size = "cannot be read"
        raise UserError(
            f"{self.root}: holds pictures only, and no annotation was recognised ({first.name}: {size}; two views side "
            "by side are about twice as wide as high). If each shows two views, set side_by_side=x_left; if some are "
            f"annotations of others, set pairing to their ending, as in pairing=_mask.{self._not_read()} {ACCEPTED}"
        )

    def _twins(self, pictures: list[list[File]], twins: list[str]) -> Sides:
        """Photos as JPEG, and masks of the same name in a lossless format with one channel."""
        told = []
        for some in pictures:
            by_key: dict[str, list[File]] = {}
            for f in some:
                by_key.setdefault(f.key, []).append(f)
            x, y = [], []
            for files in by_key.values():
                jpeg = [f for f in files if f.path.suffix.lower() in _JPEG]
                others = [f for f in files if f not in jpeg]
                if len(files) > 1 and (len(jpeg) != 1 or len(others) != 1 or not _has_one_channel(others[0].path)):
                    names = all_of([f.path.name for f in files])
                    raise UserError(
                        f"{self.root}: {len(twins)} names occur twice, such as {names}. If one of both is the mask of "
                        f"the other, move the masks to {self.root / 'masks'} and the photos to {self.root / 'images'}; "
                        f"if it is a copy, move the copies out of {self.root}."
                    )
                y += others if len(files) > 1 else []
                x += jpeg if len(files) > 1 else files
            told.append((x, y))
        return told

    # What belongs together

    def _match(self, found: Found, shelves: list[_Shelf], sides: Sides) -> None:
        """Pairs the files of each part by one rule; a file without a counterpart is a sample with one view."""
        kept = [(self._unique(pictures), self._unique(annotations)) for pictures, annotations in sides]
        everything = ([key for x, _ in kept for key in x], [key for _, y in kept for key in y])
        if not everything[0]:
            self._say_empty(found, "pictures")
        if not everything[1]:
            self._say_empty(found, found.kind)
        if not all(everything):
            return
        try:
            found.rule = pair(*everything, self.pairing, str(self.root))[0]
        except UserError as error:
            self.findings.problems.append(str(error))
            return
        count = 0
        alone = []
        for shelf, (x, y) in zip(shelves, kept, strict=True):
            pairs = {} if self.pairing == "none" else found.rule.pairs(x, y)
            part, taken = _number(shelf.part, found.parts), set(pairs.values())
            count += len(pairs)
            for key, file in x.items():
                annotation = y[pairs[key]].path if key in pairs else None
                found.samples.append(Sample(part, file.path, annotation, name=file.name))
            for key, file in y.items():
                if key not in taken and found.kind == "pts":
                    alone.append(file)
                elif key not in taken:
                    found.samples.append(Sample(part, None, file.path, name=file.name))
        examples = [few([f.name for one in kept for f in one[side].values()], 3) for side in (0, 1)]
        if not count and found.kind == "pts" and self.pairing != "none":
            self.findings.problems.append(
                f"{self.root}: no .pts file has the name of a picture; found {examples[1]} for {examples[0]}. Rename "
                "them, or set pairing to how their names differ, as in pairing=_points."
            )
            return
        for file in alone:
            self._leave(file.path, "points without a picture, whose size they refer to")
        if not count:
            self.findings.notes.insert(
                0,
                f"{self.root}: nothing is paired: no annotation has the name of a picture (pictures: {examples[0]}; "
                f"annotations: {examples[1]}). If some belong together, rename them, or set pairing to how their names "
                "differ, as in pairing=img_*,label_*.",
            )

    def _say_empty(self, found: Found, what: Kind | Literal["pictures"]) -> None:
        """One side has no files: `what` they would be."""
        wanted = {
            "pictures": f"pictures ({', '.join(PICTURES)}) as x",
            "masks": f"masks ({', '.join(ANNOTATIONS)}) as y",
            "images": f"pictures ({', '.join(PICTURES)}) as y",
            "pts": ".pts files as y",
        }[what]
        self.findings.problems.append(
            f"{self.root}: {found.title}: expected {wanted}, found none; there are {few(self.names) or 'no files'}."
            f"{self._not_read()}"
        )

    def _unique(self, files: list[File]) -> dict[str, File]:
        """Files by name without ending; of two with one name the first is kept, the second is a problem."""
        kept: dict[str, File] = {}
        for file in files:
            if file.key in kept:
                self.findings.problems.append(
                    f"{file.path}: has the same stem as {kept[file.key].path.name}, so that a file of the other side "
                    f"could belong to either. Rename one with its counterpart, or move it out of {self.root}."
                )
            else:
                kept[file.key] = file
        return kept

    def _read_tables(self, found: Found, shelves: list[_Shelf], sides: Sides) -> None:
        kept = [list(self._unique(pictures).values()) for pictures, _ in sides]
        rows: dict[Path, tuple[Points, int]] = {}
        for table in dict.fromkeys(shelf.table for shelf in shelves if shelf.table):
            those = {s.part: files for s, files in zip(shelves, kept, strict=True) if s.table == table}
            rows |= read_points(table, those, self.findings)
        for shelf, files in zip(shelves, kept, strict=True):
            part = _number(shelf.part, found.parts)
            for file in files:
                points, line = rows.get(file.path, (None, 0))
                annotation = None if points is None else shelf.table
                found.samples.append(Sample(part, file.path, annotation, points, file.name, line))
        if not any(pictures for pictures, _ in sides):
            self._say_empty(found, "pictures")

    def _look_through(self, found: Found, shelves: list[_Shelf], sides: Sides) -> None:
        """Names what lies in folders that are read and was not taken."""
        known = {self.root / name for names in self.unread.values() for name in names}
        known |= {f.path for pictures, annotations in sides for f in (*pictures, *annotations)}
        known |= {shelf.table for shelf in shelves if shelf.table}
        for shelf in shelves:
            for folder, files in [item for of in shelf.roles.values() for item in of.items()] + [("", shelf.loose)]:
                for file in files:
                    if file.path not in known:
                        why = f"not expected in {folder}/" if folder else f"beside the folders of {found.title}"
                        self._leave(file.path, why)


def _number(part: str, parts: Sequence[str]) -> int:
    """The number of a sample's part; without `test/`, `val/` is the test part; one part alone is split."""
    if len(parts) < 2:
        return 0
    return 2 if part == "val" and "test" not in parts else PARTS.index(part)


def _are_oblong(files: Sequence[File], most: int = 24) -> bool:
    """Whether pictures are about twice as wide as high, by some of them; files that are no pictures say nothing."""
    seen = []
    for number in np.unique(np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)).tolist():
        try:
            with without_limit(), Picture.open(files[number].path) as opened:
                seen.append(SIDES[0] <= opened.width / opened.height <= SIDES[1])
        except (OSError, SyntaxError, ValueError, ZeroDivisionError):
            continue
    return sum(seen) > len(seen) / 2


def _has_one_channel(path: Path) -> bool:
    try:
        with without_limit(), Picture.open(path) as opened:
            return path.suffix.lower() in _LOSSLESS and opened.mode[0] in "1LPI" and opened.mode not in ("LA", "PA")
    except (OSError, SyntaxError, ValueError):
        return False
