"""Runs in processes of their own, several to a run, with methods whose whole batch is the sum of its parts."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lsmbench import cli
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.run import execute

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["lsmbench.launch.child"])


def _nothing() -> None:
    """There is nothing to register."""


def executed(
    config: RunConfig, root: Path, devices: int, as_it_is: bool = False, register: Callable[[], None] = _nothing
) -> None:
    """Executes a run on the CPU; each process leaves `rank-R-STAGE.pt`: its method's parameters and state.

    They are those of each stage's end as `after`, and those of its start as `before`. Unless the method is left
    `as_it_is`, it has nothing that depends on how a batch is divided. Methods and datasets of tests are added to the
    tables by `register`, in each process.
    """
    root.mkdir()
    config = replace(config, training=replace(config.training, devices=devices))
    processes = [
        _CONTEXT.Process(target=_execute, args=(config.to_dict(), root, place, as_it_is, register))
        for place in ranks.places(devices)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _execute(
    values: dict[str, Any], root: Path, place: ranks.Place, as_it_is: bool, register: Callable[[], None]
) -> None:
    torch.set_num_threads(1)
    register()
    config = config_from_dict(values)
    if place.size > 1:
        place.take()
    METHODS[config.method_name] = _watched(METHODS[config.method_name], root, place.rank, as_it_is)
    execute(config, root, Machine("cpu", 1))


def _watched(kind: type[Method], root: Path, rank: int, as_it_is: bool) -> type[Method]:
    """The method, without batch statistics and each process's own dropout, that saves itself."""

    def build(self: Method) -> None:
        kind.build(self)
        if not as_it_is:
            _replace(self)

    before: dict[str, Tensor] = {}

    def on_fit_start(self: Method) -> None:
        before.update({key: value.clone() for key, value in self.state_dict().items()})

    def on_fit_end(self: Method) -> None:
        saved = {"before": before, "after": self.state_dict()}
        torch.save(saved, root / f"rank-{rank}-{self.stage.name}.pt")

    return type(kind.__name__, (kind,), {"build": build, "on_fit_start": on_fit_start, "on_fit_end": on_fit_end})


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        other: Any = None
        if isinstance(child, nn.BatchNorm1d):
            other = nn.LayerNorm(child.num_features)
        elif isinstance(child, nn.BatchNorm2d):
            other = nn.GroupNorm(1, child.num_features)
        elif isinstance(child, nn.Dropout | nn.Dropout2d):
            other = nn.Identity()
        setattr(module, name, other) if other else _replace(child)


def commanded(words: list[str], variables: Mapping[str, object], output: Path) -> BaseProcess:
    """Starts the command line in a process that has imported torch already; what it prints goes to a file.

    Args:
        words: The command and its options.
        variables: Of the process's environment, such as SLURM's.
        output: The file.
    """
    process = _CONTEXT.Process(target=_command, args=(words, variables, output))
    process.start()
    return process


def at_once(work: Callable[..., None], *arguments: object, processes: int) -> list[int | None]:
    """The exit codes of processes that have imported torch already and do the same together.

    Args:
        work: A module's function. It gets its process's number, a barrier that waits for the others, and the arguments.
        arguments: Further ones.
        processes: How many.
    """
    barrier = _CONTEXT.Barrier(processes)
    started = [_CONTEXT.Process(target=work, args=(k, barrier, *arguments)) for k in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def _command(words: list[str], variables: Mapping[str, object], output: Path) -> None:
    os.environ.update({name: str(value) for name, value in variables.items()})
    _print_to(output)
    # The server that this process comes from makes its children too: a server of its own would import torch again.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    cli.main(words)


def torchrun(words: list[str], processes: int, output: Path) -> BaseProcess:
    """Starts the command line in several processes by what torchrun does; what they print goes to a file."""
    process = _CONTEXT.Process(target=_torchrun, args=(words, processes, output))
    process.start()
    return process


def _torchrun(words: list[str], processes: int, output: Path) -> None:
    _print_to(output)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id="test", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", start_method="fork", max_restarts=0,
    )  # fmt: skip
    elastic_launch(config, _main)(words)


def _main(words: list[str]) -> None:
    try:
        cli.main(words)
    except SystemExit as ended:
        assert not ended.code  # noqa: PT017


def _print_to(output: Path) -> None:
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
