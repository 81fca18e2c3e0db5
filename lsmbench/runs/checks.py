"""What a run refuses before it trains: processes that do not fit, and supervision that leaves nothing to learn from."""

from __future__ import annotations

import numpy as np

from lsmbench.errors import UserError
from lsmbench.runs import ranks
from lsmbench.runs.context import Run


def check_started(devices: int) -> None:
    """Refuses to be one of more or fewer processes than the run has devices.

    Raises:
        UserError: If another number of processes was started.
    """
    started = ranks.started()
    if devices != started > 1:
        raise UserError(
            f"training.devices: {devices} were asked for, and torchrun or SLURM has started {started} processes; say "
            f"--devices {started}."
        )
    if devices != started:
        raise UserError(
            f"training.devices: {devices} were asked for, and only this process was started. Start one process per "
            "device by torchrun or SLURM, or by lsmbench.launch.local.compute in place of execute."
        )


def check_same(run: Run, identity: str) -> None:
    """Refuses processes that were started with different configurations or data.

    Raises:
        UserError: Naming what each process was started with.
    """
    task = f"{identity}, {run.machine.accelerator}, {'with' if run.data.testing else 'without'} a test"
    tasks = run.ranks.gathered(task)

    def check() -> None:
        if len(set(tasks)) > 1:
            lines = "\n".join(f"- process {rank}: {task}" for rank, task in enumerate(tasks))
            raise UserError(
                f"the processes of this run were started with different configurations or data:\n{lines}\nStart all of "
                "them with the same command on the same data."
            )

    run.ranks.together(check)


def check_supervision(run: Run) -> None:
    """Refuses supervision that leaves a stage nothing to learn from, or a device nothing to do.

    Raises:
        UserError: Naming what is missing.
    """
    data, method, devices = run.data, run.method, run.ranks.size
    parts = {"validation": data.val} | (data.test_sets if data.testing else {})
    for part, numbers in parts.items():
        scored = np.isin(numbers, data.scored(numbers))
        count = int(scored.sum())
        if count and not all(scored[rank::devices].any() for rank in range(devices)):
            raise UserError(
                f"training.devices: {devices} divide the {part} samples, and there are only {count}. Ask for fewer."
            )
    first = method.stage
    for stage in method.stages:
        method.stage = stage
        if not data.groups():
            needs = " or ".join("pairs" if len(shown) > 1 else f"{shown[0]}-only samples" for shown in method.uses)
            which = f"stage {stage.name} of " if len(method.stages) > 1 else ""
            config = run.config.supervision
            amount = (
                f"N = {config.paired:g} %"
                if config.paired_count is None
                else f"a number of {config.counted} of {config.paired_count}"
            )
            raise UserError(
                f"{which}method {run.config.method_name} learns from {needs}, and {amount} leaves none (protocol "
                f"{config.protocol})."
            )
        data.sampler(0, devices)  # it refuses a batch that cannot be divided
    method.stage = first
