"""What a finished run keeps so that its method can be used without its training data: `model.json`, `learnt.pt`."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field

from lsmbench.data.inputs import InputForm, form_of
from lsmbench.domains import from_plain, plain
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.runs.config import PROTOCOL
from lsmbench.runs.context import Run
from lsmbench.runs.folder import CHECKPOINTS, load_checkpoint
from lsmbench.runs.results import RESULT, SCHEMA, Record, write_bytes
from lsmbench.runs.stage import selected

MODEL, LEARNT = "model.json", "learnt.pt"


class Model(Record):
    """What a method is made of again, `model.json`: plain values.

    Attributes:
        id: The run's identity.
        protocol: Version of the protocol.
        dataset: The dataset's word.
        method: The method's word as `name`, and its options.
        domains: Each view's domain, as `lsmbench.domains.plain` describes it.
        source: The view that is given.
        target: The view that is asked for.
        truths: As `Dataset.truths`.
        init_seed: Seed of initial weights and of random predictions.
        precision: As `TrainingConfig.precision`.
        stage: Number of the last stage; `None` for a method without stages.
        checkpoint: The selected weights, below the run's folder; `None` for a method without weights.
        learnt: Whether `learnt.pt` belongs to it.
        inputs: How files are read (`InputForm.plain`); `None` if the dataset's source is no single file.
        deep: Whether targets were images of more than 8 bits.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    FILE, NAME, REMEDY = MODEL, "description of a method", "Train the run again."

    id: str
    protocol: str
    dataset: str
    method: dict[str, Any]
    domains: dict[str, dict[str, Any]]
    source: str
    target: str
    truths: dict[str, str]
    init_seed: int
    precision: str
    stage: int | None
    checkpoint: str | None
    learnt: bool
    inputs: dict[str, Any] | None
    deep: bool
    layout: int = Field(default=SCHEMA, alias="schema")

    def weights(self, home: Path) -> list[Path]:
        """The files that the method needs, in the run's folder `home`."""
        names = [self.checkpoint, LEARNT if self.learnt else None]
        return [home / name for name in names if name is not None]

    def restored(self, home: Path) -> tuple[Method, InputForm | None]:
        """The method with its weights, and how its files are read; no dataset is read.

        Args:
            home: The run's folder.

        Raises:
            UserError: If the run is of another version, or its weights are gone or damaged.
        """
        if self.protocol != PROTOCOL:
            raise UserError(
                f"{home}: was made by version {self.protocol} of the protocol, and this is {PROTOCOL}. Use the version "
                "of lsmbench that made it, or train it again."
            )
        gone = [path for path in self.weights(home) if not path.exists()]
        if gone:
            raise UserError(
                f"{gone[0]}: no such file; the weights are gone (bench --keep-weights deletes them). Name a run that "
                "has its weights, or train this one again: move its folder away, and repeat its command."
            )
        word, options = self.method["name"], {k: v for k, v in self.method.items() if k != "name"}
        if word not in METHODS:
            raise UserError(f"{home}: is of method {word!r}, which this version of lsmbench does not have.")
        kind = METHODS[word]
        if strange := options.keys() - {field.name for field in dataclasses.fields(kind.Config)}:
            raise UserError(
                f"{home}: {word} has no option {', '.join(sorted(strange))} in this version of lsmbench. Use the "
                "version that trained the run, or train again."
            )
        domains = {view: from_plain(values) for view, values in self.domains.items()}
        config = kind.Config(**options)
        method = kind(domains, config, self.source, self.target, self.init_seed, self.truths, fresh=False)
        if self.learnt:
            take_learnt(method, home)
        if self.checkpoint is not None and self.stage is not None:
            method.stage = method.stages[self.stage]
            method.load_weights(load_checkpoint(home / self.checkpoint), str(home / self.checkpoint))
        return method.eval(), None if self.inputs is None else form_of(self.inputs)


def keep(run: Run) -> None:
    """Writes what the run's method, which is trained, needs to be used again; the checkpoints are there already."""
    method, data, home = run.method, run.data, run.folder.path
    if method.learnt:
        buffer = io.BytesIO()
        torch.save({name: value.detach().cpu() for name, value in method.learnt.items()}, buffer)
        write_bytes(home / LEARNT, buffer.getvalue())
    number = len(method.stages) - 1
    checkpoint = selected(run, number).relative_to(home).as_posix() if method.stages else None
    inputs = data.dataset.inputs()
    holders = data.train[data.pools.has(method.target, data.train)][:1]
    Model(
        id=run.folder.id,
        protocol=PROTOCOL,
        dataset=data.dataset.name,
        method={"name": run.config.method_name, **dataclasses.asdict(method.config)},
        domains={view: plain(domain) for view, domain in method.domains.items()},
        source=method.source,
        target=method.target,
        truths=method.truths,
        init_seed=method.init_seed,
        precision=run.config.training.precision,
        stage=number if method.stages else None,
        checkpoint=checkpoint,
        learnt=bool(method.learnt),
        inputs=None if inputs is None else inputs.plain(),
        deep=bool(len(holders)) and data.compact(method.target, holders).is_floating_point(),
    ).save(home)


def take_learnt(method: Method, home: Path) -> bool:
    """Gives a method what its run's `learn` found, if the run kept it; says whether it did.

    Raises:
        UserError: If the file is damaged.
    """
    path = home / LEARNT
    if not path.exists():
        return False
    method.learnt.update(load_checkpoint(path))
    return True


def has_weights(home: Path) -> bool:
    """Whether a finished run's method can still be used, by its files' names."""
    if not (home / MODEL).exists():
        return any((home / CHECKPOINTS).glob("*/*.ckpt"))
    try:
        return all(path.exists() for path in Model.load(home).weights(home))
    except UserError:
        return False


def delete_weights(home: Path) -> int:
    """Deletes the weights of a finished run, whose result stays; does nothing if the run has no result.

    Returns:
        Number of bytes that were freed.
    """
    if not (home / RESULT).exists():
        return 0
    paths = [path for path in [*(home / CHECKPOINTS).rglob("*"), home / LEARNT] if path.is_file()]
    freed = sum(path.stat().st_size for path in paths)
    shutil.rmtree(home / CHECKPOINTS, ignore_errors=True)
    (home / LEARNT).unlink(missing_ok=True)
    return freed
