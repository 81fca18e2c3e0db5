"""A finished run taken up again: its method with the trained weights, and its data; and what else is scored of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Literal

from lsmbench.errors import UserError
from lsmbench.evaluations import EVALUATIONS, EvaluationConfig
from lsmbench.runs import environment, model
from lsmbench.runs.config import PROTOCOL, Machine, config_from_dict
from lsmbench.runs.context import Run
from lsmbench.runs.folder import RunFolder, load_checkpoint
from lsmbench.runs.ranks import Ranks
from lsmbench.runs.results import RESULT, Result
from lsmbench.runs.run import data_of, method_of
from lsmbench.runs.stage import selected

FOLDER = "evaluations"
"""The folder inside a run's folder that holds the results of further evaluations, each in a folder of its own."""


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
    if not (path / RESULT).exists():
        raise UserError(f"{path}: holds no {RESULT}, so it is not the folder of a finished run.")
    result = Result.load(path)
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


def evaluate(path: Path, name: str, config: EvaluationConfig, machine: Machine | None = None) -> tuple[Result, Path]:
    """Evaluates a finished run again, into a result of its own beside the run's; finds it if it is there.

    Args:
        path: The run's folder.
        name: The evaluation's word.
        config: Its options.
        machine: Where to compute.

    Returns:
        The result, and its folder.

    Raises:
        UserError: As `restored`, or as the evaluation.
    """
    options: dict[str, Any] = {"name": name, **dataclasses.asdict(config)}
    digits = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]
    folder = path / FOLDER / f"{path.name}-{name}-{digits}"
    if (folder / RESULT).exists():
        return Result.load(folder), folder
    began = time.perf_counter()
    run, result = restored(path, machine, config.weights)
    trainer = run.trainer()
    result.scores = EVALUATIONS[name](config)(run.method, run.data, trainer)
    result.id = folder.name
    result.config = {**result.config, "evaluation": options}
    result.cost = {**result.cost, "evaluation_s": round(time.perf_counter() - began, 3)}
    result.environment = {**environment.describe(), "device": trainer.strategy.root_device.type}
    if config.weights == "last":
        result.warnings = [*result.warnings, "tested with the weights of the last epoch"]
        result.validation = None  # it is of the selected weights
    result.save(folder)
    return result, folder
