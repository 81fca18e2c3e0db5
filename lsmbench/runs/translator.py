"""A trained method, or the same method of several seeds and folds, as a translator of views and of users' files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lsmbench.data.files import Exif, Findings
from lsmbench.data.inputs import Box, Given, InputForm
from lsmbench.data.module import INDEX
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.methods.base import Method
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine
from lsmbench.runs.model import MODEL, Model
from lsmbench.runs.predictions import Prediction, Said, brought_back
from lsmbench.runs.results import RESULT, Result
from lsmbench.runs.weights import restored

BATCH = 64


@dataclass(frozen=True)
class Member:
    """One run's method.

    Attributes:
        home: The run's folder.
        method: With its weights.
        inputs: How files are read; `None` if the run's source is no single file.
        dataset: The dataset's word.
        precision: Arithmetic of the networks.
        deep: Whether targets were images of more than 8 bits.
        files: The files with the weights.
    """

    home: Path
    method: Method
    inputs: InputForm | None
    dataset: str
    precision: str
    deep: bool
    files: tuple[Path, ...]

    @classmethod
    def of(cls, home: Path) -> Member:
        """That of a finished run's folder. No data is read, unless the run is from before runs kept `model.json`.

        Raises:
            UserError: If the folder holds no finished run, or its weights are gone, damaged or of another version.
        """
        if not (home / RESULT).exists():
            what = "no such folder" if not home.is_dir() else f"holds no {RESULT}, so that it is no finished run"
            raise UserError(
                f"{home}: {what}. Name the folder of a run, e.g. runs/lsm-N5-s0-…, or of a benchmark's results."
            )
        if not (home / MODEL).exists():
            return cls._from_data(home)
        model = Model.load(home)
        method, inputs = model.restored(home)
        return cls(home, method, inputs, model.dataset, model.precision, model.deep, tuple(model.weights(home)))

    @classmethod
    def _from_data(cls, home: Path) -> Member:
        """A run from before runs kept what predictions need: its data says it, if it is still there."""
        if not Result.load(home).scores:
            raise UserError(f"{home}: is a run without a test, such as a trial of a sweep, whose weights are not kept.")
        try:
            run, _ = restored(home)
        except UserError as error:
            raise UserError(
                f"{home}: was trained before lsmbench kept what predictions need beside the weights ({MODEL}), and it "
                f"cannot be made up from the data: {error} Bring back data and weights, or train again."
            ) from error
        data, method = run.data, run.method
        holders = data.train[data.pools.has(method.target, data.train)][:1]
        deep = bool(len(holders)) and data.compact(method.target, holders).is_floating_point()
        files = tuple(sorted((home / "checkpoints").glob("*/*.ckpt")))
        training = run.config.training
        return cls(home, method.eval(), data.dataset.inputs(), data.dataset.name, training.precision, deep, files)

    def digest(self) -> str:
        """Hash of the weights."""
        sha = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                sha.update(hashlib.file_digest(file, "sha256").digest())
        return sha.hexdigest()[:16]


class Translator:
    """Translates views and files by one trained method, or by the mean of several seeds and folds of it.

    Args:
        members: The runs' methods, of the same domains.
        machine: Where to compute.
        refine: How the code of each view is refined (test-time optimisation); `None`: codes stay as they are.

    Raises:
        UserError: If the members differ in what they take or give, there is no GPU though one is asked for, or codes
            are to be refined and the method has none.
    """

    def __init__(
        self, members: Sequence[Member], machine: Machine | None = None, refine: RefineConfig | None = None
    ) -> None:
        machine = machine or Machine()
        first = members[0]
        for other in members[1:]:
            mine, its = first.method, other.method
            same = (mine.source, mine.target, mine.domains) == (its.source, its.target, its.domains)
            if not same or first.inputs != other.inputs:
                raise UserError(
                    f"{first.home} and {other.home}: take or give different views, so that their predictions have no "
                    "mean. Choose one of them by --seed, or name its folder."
                )
        ranks.check(1, machine.accelerator)
        if machine.threads:
            torch.set_num_threads(machine.threads)
        wanted = machine.accelerator != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if wanted else "cpu")
        self.members = tuple(members)
        for member in self.members:
            method = member.method.to(self.device, torch.float64 if member.precision == "64-true" else None).eval()
            method.refinement = None if refine is None else refine.refinement(method)

    @property
    def method(self) -> Method:
        """The method; of several the first one."""
        return self.members[0].method

    @property
    def domains(self) -> dict[str, Domain]:
        """The domain of each view."""
        return self.method.domains

    @property
    def target(self) -> Domain:
        """What is predicted."""
        return self.method.answer

    @property
    def inputs(self) -> InputForm:
        """How files are read.

        Raises:
            UserError: If the run's dataset says no way to read single files.
        """
        inputs = self.members[0].inputs
        if inputs is None:
            source = self.domains[self.method.source].kind
            raise UserError(
                f"{self.members[0].home}: translates {self.method.source} ({source}) of dataset "
                f"{self.members[0].dataset}, which cannot be read from single files. In Python, translate(views) of "
                "lsmbench.load takes tensors."
            )
        return inputs

    def translate(self, views: Tensor) -> Tensor:
        """Translates a batch of source views, e.g. images (B, C, size, size) in [0, 1], to decided target views.

        Of several members the greatest mean probability decides; where there are no probabilities, the mean is taken.

        Args:
            views: The source domain's views, of the networks' size.
        """
        every = [self._said(member, views, range(len(views))) for member in self.members]
        if len(every) == 1:
            return torch.stack([one.view for one in every[0]])
        if all(one.logits is not None for said in every for one in said):
            shares = [
                torch.stack([torch.softmax(o.logits.float(), 0) for o in s if o.logits is not None]) for s in every
            ]
            labels = torch.stack(shares).mean(0).argmax(1)
            return labels if labels.ndim == 1 else self.target.from_labels(labels)
        decided = torch.stack([torch.stack([one.view for one in said]) for said in every])
        return decided.float().mean(0) if decided.is_floating_point() else decided.mode(0).values

    def translate_files(
        self,
        paths: Sequence[str | Path],
        batch_size: int = BATCH,
        exif: Exif | None = None,
        boxes: Mapping[str, Box] | None = None,
    ) -> list[Prediction]:
        """Predicts files, each at its own size.

        Args:
            paths: The files.
            batch_size: Files at a time.
            exif: What to do with photos that are stored turned; `None`: what the run's data was read by.
            boxes: Where the faces are, by path or by file name.

        Returns:
            A prediction for each file, in their order.

        Raises:
            UserError: With all files that cannot be read as the run's data was.
        """
        files, found, findings = [Path(path) for path in paths], list[Prediction](), Findings()
        for start in range(0, len(files), batch_size):
            for one in self.batch(files[start : start + batch_size], exif, boxes):
                if isinstance(one, Prediction):
                    found.append(one)
                else:
                    findings.problems.append(str(one))
        findings.stop_if_any(f"{len(files)} files")
        return found

    def batch(
        self, files: Sequence[Path], exif: Exif | None = None, boxes: Mapping[str, Box] | None = None
    ) -> Iterator[Prediction | UserError]:
        """Predicts the files of one batch; in the place of one that cannot be read it gives the error."""
        given: dict[int, Given] = {}
        wrong: dict[int, UserError] = {}
        for number, path in enumerate(files):
            try:
                given[number] = self.inputs.read(path, exif, box_of(path, boxes))
            except UserError as error:
                wrong[number] = error
            except OSError as error:
                wrong[number] = UserError(f"{path}: cannot be read ({error.strerror or error}).")
        domain = self.domains[self.method.source]
        said: list[list[Said]] = []
        if given:
            views = torch.cat([domain.unpack(domain.views(np.array(one.view)[None])) for one in given.values()])
            methods = [member.method for member in self.members]
            random = any(method.random_at_test or method.refinement is not None for method in methods)
            numbers = [_number(files[i]) if random else i for i in given]
            said = [self._said(member, views, numbers) for member in self.members]
        deep, place = self.members[0].deep, {number: row for row, number in enumerate(given)}
        for number, path in enumerate(files):
            if number in wrong:
                yield wrong[number]
            else:
                row = place[number]
                yield brought_back(path, given[number], [one[row] for one in said], self.target, deep)

    def _said(self, member: Member, views: Tensor, numbers: Sequence[int]) -> list[Said]:
        """What one member says of a batch, on the processor's side."""
        method = member.method
        with _arithmetic(member.precision, self.device):
            kind = cast(torch.dtype, method.dtype) if views.is_floating_point() else views.dtype
            given = views.to(self.device, kind)
            batch = {method.source: given, INDEX: torch.tensor(list(numbers)[: len(views)])}
            decided, logits = method.said_of(batch, method.source, method.target)
        sides = [None] * len(decided) if logits is None else list(logits.cpu())
        return [Said(view, logit) for view, logit in zip(decided.cpu(), sides, strict=True)]


def box_of(path: Path, boxes: Mapping[str, Box] | None) -> Box | None:
    """The box of a file, by its path as named, or by its name alone."""
    if not boxes:
        return None
    return boxes.get(str(path)) or boxes.get(path.name)


@contextmanager
def _arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """The arithmetic that the run was tested with."""
    if precision == "bf16-mixed":
        with torch.autocast(device.type, torch.bfloat16):
            yield
    elif precision == "64-true":
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(default)
    else:
        yield


def _number(path: Path) -> int:
    """A number of a file's content, by which its random numbers are drawn."""
    return int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:4], "little")
