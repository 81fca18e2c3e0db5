"""A finished run taken up again: its method with the trained weights, and its data; and what else is scored of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from lsmbench.errors import UserError
from lsmbench.evaluations import EVALUATIONS, EvaluationConfig, Refine
from lsmbench.runs import environment, model
from lsmbench.runs.config import PROTOCOL, Machine, config_from_dict, setting_of
from lsmbench.runs.context import Run
from lsmbench.runs.folder import RunFolder, load_checkpoint
from lsmbench.runs.ranks import Ranks
from lsmbench.runs.refinements import Trace
from lsmbench.runs.results import EVALUATED, FAILURE, RESULT, Result
from lsmbench.runs.run import data_of, method_of
from lsmbench.runs.stage import selected


def restored(
    path: Path, machine: Machine | None = None, weights: Literal["selected", "last"] = "selected"
) -> tuple[Run, Result]:
    """A finished run, ready to be evaluated: nothing is trained, and nothing is written.

    Args:
        path: The run's folder.
        machine: Where to compute.
        weights: Those that were tested at the run's end, or those of the last epoch.

    Returns:
        The run, whose method holds the weights; and its result.

    Raises:
        UserError: If the folder holds no finished run; if the run is of another version of the protocol, or its data is
            not what it was trained on; or if its weights are gone or damaged.
    """
    result = _finished(path)
    if result.protocol != PROTOCOL:
        raise UserError(
            f"{path}: was made by version {result.protocol} of the protocol, and this is {PROTOCOL}. Test it with the "
            "version of lsmbench that made it, or train it again."
        )
    config = config_from_dict(result.config)
    config.training.devices = 1  # whatever the run was trained on
    run = Run(config, machine or Machine(), Ranks(), data_of(config), lambda progress: None)
    run.folder = RunFolder(path)
    if run.data.fingerprint != result.dataset["fingerprint"]:
        raise UserError(
            f"{path}: dataset {config.dataset.name} has changed since the run was trained: its fingerprint was "
            f"{result.dataset['fingerprint']} and is {run.data.fingerprint} now. Bring back the data, or train again."
        )
    method = run.method = run.data.learner = method_of(config)
    if not model.take_learnt(method, path):
        method.learn(run.data)
    if method.stages:
        number = len(method.stages) - 1
        method.stage, place = run.stage(number)
        checkpoint = selected(run, number) if weights == "selected" else place.last
        if not checkpoint.exists():
            raise UserError(
                f"{checkpoint}: no such file; the weights are gone. Train the run again: move its folder away, or "
                "name another with --output."
            )
        method.load_weights(load_checkpoint(checkpoint), str(checkpoint))
    return run, result


def _finished(path: Path) -> Result:
    """The result of a run.

    Raises:
        UserError: If the folder holds none.
    """
    if not (path / RESULT).exists():
        raise UserError(f"{path}: holds no {RESULT}, so it is not the folder of a finished run.")
    return Result.load(path)


def evaluation_folder(path: Path, name: str, config: EvaluationConfig) -> Path:
    """The folder of an evaluation's result, whose name is the result's identity.

    Args:
        path: The run's folder.
        name: The evaluation's word.
        config: Its options.
    """
    digits = hashlib.sha256(json.dumps(_options(name, config), sort_keys=True).encode()).hexdigest()[:8]
    return path / EVALUATED / f"{path.name}-{name}-{digits}"


def _options(name: str, config: EvaluationConfig) -> dict[str, Any]:
    return {"name": name, **dataclasses.asdict(config)}


def evaluate(
    path: Path,
    name: str,
    config: EvaluationConfig,
    machine: Machine | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Result, Path]:
    """Evaluates a finished run again, into a result of its own beside the run's; finds it if it is there.

    Args:
        path: The run's folder.
        name: The evaluation's word.
        config: Its options.
        machine: Where to compute.
        tell: Called after every step of a refinement, with how many samples × steps are done, and how many there are.

    Returns:
        The result, and its folder.

    Raises:
        UserError: As `restored`, or as the evaluation.
    """
    folder = evaluation_folder(path, name, config)
    _finished(path)
    with RunFolder(path).lock(Ranks()):
        if not (folder / RESULT).exists():
            _evaluate(path, folder, name, config, machine, tell)
    return Result.load(folder), folder


def _evaluate(
    path: Path,
    folder: Path,
    name: str,
    config: EvaluationConfig,
    machine: Machine | None,
    tell: Callable[[int, int], None],
) -> None:
    """Writes what `evaluate` finds."""
    run, result = restored(path, machine, config.weights)
    trainer, evaluation = run.trainer(), EVALUATIONS[name](config)
    trace = Trace(run.method, run.data, evaluation, trainer, tell) if isinstance(evaluation, Refine) else None
    began = time.perf_counter()
    result.scores = evaluation(run.method, run.data, trainer)
    result.id = folder.name
    result.config = {**result.config, "evaluation": _options(name, config)}
    result.setting = setting_of(result.config)
    result.cost = {**result.cost, "evaluation_s": round(time.perf_counter() - began, 3)}
    result.environment = {**environment.describe(), "device": trainer.strategy.root_device.type}
    if config.weights == "last":
        result.warnings = [*result.warnings, "tested with the weights of the last epoch"]
        result.validation = None  # it is of the selected weights
    if trace:
        trace.save(folder)
    result.save(folder)
    (folder / FAILURE).unlink(missing_ok=True)
