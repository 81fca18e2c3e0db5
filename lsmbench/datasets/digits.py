"""Handwritten digits: USPS and MNIST, unpaired, with class labels on one side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.cache import cache_root, cached_arrays
from lsmbench.data.dataset import COPY, Arrays, Dataset, data_root
from lsmbench.data.decoding import Reading
from lsmbench.data.digit_files import read_mnist, read_usps
from lsmbench.data.inputs import PictureInput
from lsmbench.data.pools import TEST, TRAIN, VAL, Computed, Pool, Stored
from lsmbench.domains import Category, Domain, Image, JudgedImage
from lsmbench.domains.judges import Classifier, Weights, recipe, trained, updates_for
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays."""

Bytes = NDArray[np.uint8]

LABEL, TRUTH = "label", "digit"
"""The class as methods may see it beside the target, and as evaluations compare with it."""

_CLASSES = tuple("0123456789")
_SIDES = {"x": 16, "y": 28}
_SETS = {"x": "usps", "y": "mnist"}
_MNIST = {TRAIN: "train", TEST: "t10k"}
_FEWEST = 20
_WHERE = (
    "MNIST (http://yann.lecun.com/exdb/mnist/): train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz and the two "
    "files of t10k, in LSMBENCH_DATA/mnist; USPS (https://hastie.su.domains/ElemStatLearn/data.html): zip.train.gz and "
    "zip.test.gz, in LSMBENCH_DATA/usps. Or name the folder that holds mnist/ and usps/ with the option root, or let "
    "--dataset.download true fetch them, or try --dataset.files sklearn, which needs no file."
)


@dataclass
class Digits(Dataset):
    """Handwritten digits of USPS and MNIST, unpaired; classes are known on one side (Friedjungová et al. 2020, §3).

    Views: `x`, USPS, 16×16 px, and `y`, MNIST, 28×28 px, both uint8 (N, 1, side, side), ink 255 on 0. No sample has
    both. Methods are given the source and make the target, whose images a classifier judges that was trained on the
    target's labelled training images. Scores are whether the judge sees the digit that the source shows: this is
    unsupervised domain adaptation, *labels from* the target, *tested on* the source.

    `direction=x_to_y` has labels from MNIST and is tested on USPS, `y_to_x` the other way round. Papers' arrows mean
    either: see docs/reproduction.md.

    Beside the target, training samples have the view `label`, for methods that ask for it. The source's classes are
    the truth of evaluations (`digit`); no method is given one in training. `val` takes validation samples from the end
    of the source's training images; to choose by their scores is to use labels that one does not have.

    The official parts: 7,291 and 2,007 images of USPS, 60,000 and 10,000 of MNIST. `files=sklearn` needs no file: the
    8×8 scans that scikit-learn ships (1,797, of UCI's optical digits), one half enlarged to 16 px as `x`; the other
    half enlarged to 28 px, thickened, sheared and inverted as `y`. A fifth of each half is for tests.

    Floors: a copy is the source resized bilinearly to the target's side and judged, the *source-only* score. The
    ceiling is the judge's accuracy on the target's own test images.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "digits"
    paired: ClassVar[bool] = False

    root: str = option("", "Folder that holds mnist/ and usps/; empty: LSMBENCH_DATA.", counts="never")
    files: Literal["official", "sklearn"] = option(
        "official",
        "official: your files of MNIST and USPS; sklearn: the digits that come with scikit-learn.",
        choices=("official", "sklearn"),
    )
    direction: Literal["x_to_y", "y_to_x"] = option(
        "x_to_y",
        "x_to_y: labels from MNIST, tested on USPS; y_to_x: labels from USPS, tested on MNIST.",
        choices=("x_to_y", "y_to_x"),
    )
    download: bool = option(False, "Whether to fetch missing files with torchvision, into the folder.", counts="never")
    val: int | None = option(
        None,
        "Source images that validate and are not trained on, the last ones; null: a tenth, at most 500; the paper: 0.",
        unit="images",
    )
    judge_updates: int | None = option(
        None,
        "Updates of the judge's training; null: 15 passes over the images and 240 more, at most 2,400.",
        unit="updates",
    )
    samples: int | None = option(None, "Use only the first so many images of each part of both sets; null takes all.")

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.val is not None and self.val < 0:
            raise UserError(f"dataset digits: val={self.val}; expected 0 or more images.")
        if self.judge_updates is not None and self.judge_updates < 1:
            raise UserError(f"dataset digits: judge_updates={self.judge_updates}; expected at least 1.")
        if self.samples is not None and self.samples < _FEWEST:
            raise UserError(f"dataset digits: samples={self.samples}; expected at least {_FEWEST}.")
        self._loaded: Arrays | None = None
        self._domains: dict[str, Domain] = {}

    @property
    def source(self) -> str:
        """The side that is tested."""
        return self.direction[0]

    @property
    def truths(self) -> dict[str, str]:
        """Predicted targets are compared with the source's classes."""
        return {self.target: TRUTH}

    @property
    def beside(self) -> dict[str, str]:
        """The target's classes."""
        return {LABEL: self.target}

    @property
    def domains(self) -> dict[str, Domain]:
        """Grey images; the target is judged. And the class of the target."""
        if not self._domains:
            made: dict[str, Domain] = {view: Image(1, side) for view, side in _SIDES.items()}
            made[self.target] = JudgedImage(1, _SIDES[self.target], judge=self._judge())
            self._domains = {**made, LABEL: Category(_CLASSES)}
        return self._domains

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 training images a side of scikit-learn's digits; needs no files."""
        return cls(files="sklearn", samples=40, val=8, judge_updates=20)

    def load(self) -> Arrays:
        """Nothing: no sample has both views, and `pools` gives each set by itself."""
        return {}

    def targets(self) -> NDArray[np.generic]:
        """MNIST's training images, (N, 1, 28, 28)."""
        return self._sets()[f"y_{TRAIN}"][:, None]

    def _sets(self) -> Arrays:
        """Images (N, side, side) and classes (N,) of each set and part, e.g. `x_train` and `x_train_class`.

        Raises:
            UserError: If files are missing, damaged or hold something else, or a set lacks a digit.
        """
        if self._loaded is None:
            arrays = self._arrays()
            self._loaded = {name: array[: self.samples] for name, array in arrays.items()}
            self._check_classes(self._loaded)
        return self._loaded

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """The source's images with their classes hidden, and the target's training images with theirs beside them."""
        arrays, source, target = self._sets(), self.source, self.target
        count = len(arrays[f"{source}_{TRAIN}"])
        val = min(500, count // 10) if self.val is None else self.val
        if val > count - _FEWEST:
            raise UserError(
                f"dataset digits: val={val} of {count} training images of {_SETS[source]} leaves fewer than {_FEWEST} "
                "to train with."
            )
        images = self._images()
        rows = np.arange(len(images))
        parts = {TRAIN: rows[: count - val], VAL: rows[count - val : count], TEST: rows[count:]}
        given: dict[str, Stored] = {source: images, **self.evaluation_views()}
        known = arrays[f"{target}_{TRAIN}"][:, None]
        labelled: dict[str, Stored] = {target: known, LABEL: arrays[f"{target}_{TRAIN}_class"]}
        return (
            Pool(_SETS[source], given, {part: numbers for part, numbers in parts.items() if len(numbers)}),
            Pool(_SETS[target], labelled, {TRAIN: np.arange(len(known))}),
        )

    def evaluation_views(self) -> dict[str, Stored]:
        """Of the source's images: their classes, and `copy`, the images at the target's side."""
        arrays, source, images = self._sets(), self.source, self._images()
        classes = np.concatenate([arrays[f"{source}_{part}_class"] for part in (TRAIN, TEST)])
        return {TRUTH: classes, COPY: Computed(len(images), lambda rows: _resized(images[rows], _SIDES[self.target]))}

    def _images(self) -> Bytes:
        """The source's images, training ones first, (N, 1, side, side)."""
        arrays = self._sets()
        images: Bytes = np.concatenate([arrays[f"{self.source}_{part}"] for part in (TRAIN, TEST)])[:, None]
        return images

    def inputs(self) -> PictureInput:
        """Pictures of single digits, ink bright on dark, as grey."""
        return PictureInput(Reading(_SIDES[self.source], channels=1, exif="apply"))

    # The judge --------------------------------------------------------------------------------------------------------

    def _judge(self) -> Classifier:
        """The classifier of target images; trained when it is first asked, and then kept in the cache."""
        arrays, target = self._sets(), self.target
        images, labels = arrays[f"{target}_{TRAIN}"][:, None], arrays[f"{target}_{TRAIN}_class"]
        tests = (arrays[f"{target}_{TEST}"][:, None], arrays[f"{target}_{TEST}_class"])
        updates = updates_for(len(images)) if self.judge_updates is None else self.judge_updates
        digest = recipe(images, labels, updates, len(_CLASSES), *tests)
        name = f"judge-{_SETS[target]}"

        def build() -> Arrays:
            with _told(f"training the judge of {_SETS[target]} digits, once") as tell:
                return dict(trained(images, labels, *tests, updates, len(_CLASSES), tell))

        def weights() -> Weights:
            cache_root().mkdir(parents=True, exist_ok=True)
            with FileLock(cache_root() / f".{name}-{digest}.lock"):
                return cached_arrays(name, {"digest": digest}, [], build)

        return Classifier(_CLASSES, digest, weights)

    # Files ------------------------------------------------------------------------------------------------------------

    def _arrays(self) -> Arrays:
        if self.files == "sklearn":
            return _of_sklearn()
        folder = self._folder()
        files = _files_of(folder)
        if missing := [path for paths in files.values() for path in paths if not path.is_file()]:
            if self.download:
                _download(folder)
                files = _files_of(folder)
                missing = [path for paths in files.values() for path in paths if not path.is_file()]
            if missing:
                raise UserError(
                    f"dataset digits: missing: {', '.join(str(path) for path in missing)}. Expected are the files of "
                    f"{_WHERE}"
                )
        sources = [path for paths in files.values() for path in paths]
        return cached_arrays(self.name, {"version": VERSION}, sources, lambda: _read(files))

    def _folder(self) -> Path:
        folder = Path(self.root).expanduser() if self.root else data_root()
        if folder is None:
            raise UserError(f"dataset digits: LSMBENCH_DATA, the folder of your datasets, is not set. {_WHERE}")
        if not folder.is_dir():
            raise UserError(f"dataset digits: root={self.root}: no such folder. {_WHERE}")
        return folder

    def _check_classes(self, arrays: Arrays) -> None:
        for name, labels in arrays.items():
            if not name.endswith("_class"):
                continue
            if absent := sorted(set(range(len(_CLASSES))) - set(np.unique(labels).tolist())):
                view, part, _ = name.split("_")
                raise UserError(
                    f"dataset digits: no image of {', '.join(map(str, absent))} among the {len(labels)} of part {part} "
                    f"of {_SETS[view]}; expected some of every digit. Use more samples, or get the files again."
                )


def _files_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each set and part: images and labels of MNIST, one file of USPS; packed or not."""

    def found(*names: str) -> Path:
        paths = [folder / name for name in names]
        return next((path for path in paths if path.is_file()), paths[0])

    files: dict[str, tuple[Path, ...]] = {}
    for part, word in _MNIST.items():
        kinds = (f"{word}-images-idx3-ubyte", f"{word}-labels-idx1-ubyte")
        places = ("mnist/{}.gz", "mnist/{}", "MNIST/raw/{}.gz", "MNIST/raw/{}")
        files[f"y_{part}"] = tuple(found(*(place.format(kind) for place in places)) for kind in kinds)
        files[f"x_{part}"] = (found(f"usps/zip.{part}.gz", f"usps/zip.{part}"),)
    return files


def _read(files: dict[str, tuple[Path, ...]]) -> Arrays:
    arrays: Arrays = {}
    for name, paths in files.items():
        images, labels = read_usps(paths[0]) if name.startswith("x") else read_mnist(paths[0], paths[1])
        arrays |= {name: images, f"{name}_class": labels}
    return arrays


def _download(folder: Path) -> None:
    """Fetches both sets with torchvision, and writes USPS in the form of its text files.

    Raises:
        UserError: If they cannot be fetched.
    """
    import gzip

    from torchvision.datasets import MNIST, USPS  # type: ignore[import-untyped]

    try:
        (folder / "usps").mkdir(exist_ok=True)
        MNIST(str(folder), download=True)
        for part in (TRAIN, TEST):
            path = folder / "usps" / f"zip.{part}.gz"
            if path.is_file():
                continue
            fetched = USPS(str(folder / "usps"), train=part == TRAIN, download=True)
            greys = fetched.data.reshape(len(fetched.data), -1) / 127.5 - 1
            rows = [[int(label), *map("{:.4f}".format, row)] for label, row in zip(fetched.targets, greys, strict=True)]
            text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
            scratch = path.with_suffix(".part")
            scratch.write_bytes(gzip.compress(text.encode(), mtime=0))
            scratch.replace(path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"dataset digits: cannot be fetched into {folder} ({error}). {_WHERE}") from error


def _of_sklearn() -> Arrays:
    """Scikit-learn's digits: one half as `x`, the other half transformed as `y`; of both a fifth to test on."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    known = load_digits()
    greys = torch.from_numpy(known.images / 16.0).float()[:, None]
    order = np.random.default_rng(5).permutation(len(greys))
    halves = {"x": order[: len(order) // 2], "y": order[len(order) // 2 :]}
    arrays: Arrays = {}
    for view, rows in halves.items():
        drawn = _enlarged(greys[rows], 16) if view == "x" else _transformed(_enlarged(greys[rows], 28))
        pixels = (drawn[:, 0] * 255).round().to(torch.uint8).numpy()
        tests = len(rows) // 5
        for part, some in ((TRAIN, slice(tests, None)), (TEST, slice(None, tests))):
            arrays[f"{view}_{part}"] = pixels[some]
            arrays[f"{view}_{part}_class"] = known.target[rows][some].astype(np.uint8)
    return arrays


def _enlarged(greys: torch.Tensor, side: int) -> torch.Tensor:
    """Greys (N, 1, 8, 8) in [0, 1] at another side."""
    return F.interpolate(greys, side, mode="bicubic", align_corners=False).clamp(0, 1)


def _transformed(greys: torch.Tensor) -> torch.Tensor:
    """Greys made thicker, sheared by a quarter and inverted."""
    thick = F.max_pool2d(greys, 3, 1, 1)
    shear = torch.tensor([[1.0, 0.25, 0.0], [0.0, 1.0, 0.0]]).expand(len(thick), -1, -1)
    moved = F.grid_sample(thick, F.affine_grid(shear, list(thick.shape), align_corners=False), align_corners=False)
    return 1 - moved


def _resized(images: NDArray[np.generic], side: int) -> Bytes:
    """Images (N, 1, S, S) at another side, bilinearly."""
    parts = torch.split(torch.from_numpy(np.array(images)), 4096)
    made = [F.interpolate(p.float(), side, mode="bilinear", align_corners=False, antialias=True) for p in parts]
    return torch.cat([p.round().clamp(0, 255).to(torch.uint8) for p in made]).numpy()


class _Tell:
    """Shows how far a training has come."""

    def __init__(self, bar: Progress, text: str) -> None:
        self.bar, self.task = bar, bar.add_task(text, total=None)

    def __call__(self, done: int, of: int) -> None:
        self.bar.update(self.task, completed=done, total=of)


@contextmanager
def _told(text: str) -> Iterator[_Tell]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Tell(bar, text)
