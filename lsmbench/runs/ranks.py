"""The processes that share one run: what started them, how they find each other, and how they act together."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import distributed

from lsmbench.errors import Elsewhere, UserError
from lsmbench.runs.environment import cores

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the other processes, e.g. until the slowest has read its data. The end of a process is
noticed at once."""

OWN = "LSMBENCH_PROCESSES"
"""Environment variable that the local launcher sets in each process that it starts: how many processes the run has."""


@dataclass(frozen=True)
class Place:
    """The place of a process that the local launcher starts among the processes of its run.

    Attributes:
        rank: Its number, from 0.
        size: How many there are, all on this machine.
        port: The port on which the first process listens.
    """

    rank: int
    size: int
    port: int

    def take(self) -> None:
        """Sets the environment variables that Lightning reads, in the process itself."""
        variables = {"LOCAL_RANK": self.rank, "NODE_RANK": 0, "WORLD_SIZE": self.size, OWN: self.size}
        os.environ.update({name: str(value) for name, value in variables.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(self.port))


def places(size: int) -> list[Place]:
    """The places of the processes of one run on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Place(rank, size, port) for rank in range(size)]


def started() -> int:
    """How many processes torchrun, SLURM or the local launcher has started for this run, over all nodes; 1 if none has.

    Raises:
        UserError: If SLURM has several tasks and srun has not started them.
    """
    environment = _environment()
    if environment is None and SLURMEnvironment.detect() and (tasks := int(os.environ["SLURM_NTASKS"])) > 1:
        raise UserError(
            f"SLURM has {tasks} tasks for this job, and only this process was started. Put srun before the command, or "
            "ask SLURM for one task and say --devices."
        )
    if isinstance(environment, LightningEnvironment):
        return int(os.environ[OWN])
    return 1 if environment is None else environment.world_size()


def number() -> int:
    """This process's number among those of its run, from 0."""
    environment = _environment()
    if isinstance(environment, LightningEnvironment):
        return environment.local_rank()
    return 0 if environment is None else environment.global_rank()


def check_alone() -> None:
    """Refuses to run in one of several processes.

    Raises:
        UserError: If this process is one of several.
    """
    if (several := started()) > 1:
        raise UserError(
            f"this command starts its own processes, and torchrun or SLURM has started it {several} times. Start it "
            "once and say --devices, or use `lsmbench train` for a run over several nodes."
        )


def check(devices: int, accelerator: str) -> None:
    """Refuses more devices than this machine has.

    Args:
        devices: Processes on this machine; each has a GPU or a core of its own.
        accelerator: `auto`, `cpu` or `gpu`.

    Raises:
        UserError: If there are not so many, or no GPU where one is asked for.
    """
    gpus = torch.cuda.device_count() if accelerator != "cpu" else 0
    if accelerator == "gpu" and not gpus:
        raise UserError("machine.accelerator: gpu was asked for, and torch finds none here. Use auto or cpu.")
    there, what = (gpus, "GPU") if gpus else (cores(), "CPU core")
    if devices > there:
        raise UserError(
            f"training.devices: {devices} were asked for, and this machine has {there} {what}{'s' * (there > 1)}. Ask "
            "for fewer, or start one process per device on several machines by torchrun or SLURM."
        )


def strategy(devices: int) -> dict[str, Any]:
    """The arguments of a Trainer that are about the processes of a run.

    Args:
        devices: Over all nodes.

    Returns:
        Arguments by name.
    """
    if devices == 1:
        return {"devices": 1, "plugins": [LightningEnvironment()]}  # also as the one task of SLURM, see `_environment`
    environment = cast(ClusterEnvironment, _environment())
    here = _on_this_node(environment, devices)
    # Neither plain ddp nor a static graph works where groups of parameters are updated in turn. Buffers are not
    # broadcast: pools of fakes are the same in all processes, and the method averages running statistics.
    ddp = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, timeout=PATIENCE)
    return {"devices": here, "num_nodes": devices // here, "strategy": ddp, "plugins": [environment]}


class Ranks:
    """The processes of a run, seen from one of them. With one process, `first` and `together` only call a function.

    Attributes:
        rank: The number of this process, from 0.
        size: The number of processes.
    """

    def __init__(self) -> None:
        joined = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if joined else 0
        self.size = distributed.get_world_size() if joined else 1

    def first(self, do: Callable[[], T]) -> T:
        """Calls a function in the first process alone; the other processes wait.

        Args:
            do: The function; its value has to be picklable.

        Returns:
            Its value, in every process.

        Raises:
            Elsewhere: In the other processes, if the function raises in the first process.
        """
        if self.size == 1:
            return do()
        sent: list[Any] = [None]
        problem: Exception | None = None
        if self.rank == 0:
            try:
                sent = [(do(), "")]
            except Exception as error:
                problem, sent = error, [(None, str(error) or type(error).__name__)]
        distributed.broadcast_object_list(sent, src=0)
        if problem:
            raise problem
        value, failure = sent[0]
        if failure:
            raise Elsewhere(failure)
        return cast(T, value)

    def together(self, do: Callable[[], T]) -> T:
        """Calls a function in every process, and goes on only if it raised in none of them.

        Returns:
            The function's value in this process.

        Raises:
            Elsewhere: If the function raised in another process. The error itself is raised in the first process that
                has one.
        """
        if self.size == 1:
            return do()
        value, problem = None, None
        try:
            value = do()
        except Exception as error:
            problem = error
        failures = self.gathered("" if problem is None else str(problem) or type(problem).__name__)
        failed = [rank for rank, text in enumerate(failures) if text]
        if failed and failed[0] == self.rank:
            raise cast(Exception, problem)
        if failed:
            raise Elsewhere(failures[failed[0]])
        return cast(T, value)

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank; a value has to be picklable."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def lost(self, error: BaseException) -> str:
        """What happened to another process, if an error is only the consequence of it; empty if it is not."""
        text = str(error).lower()
        if self.size == 1 or not isinstance(error, RuntimeError):
            return ""
        if "timeout" in text or "timed out" in text:
            return f"another process of the run did not answer for {PATIENCE.total_seconds() / 60:g} minutes"
        if isinstance(error, distributed.DistError) or "gloo" in text or "connection closed" in text:
            return "another process of the run ended, and left it unfinished"
        return ""


@contextmanager
def joined(strategy: Strategy) -> Iterator[Ranks]:
    """Connects the processes of a run with each other for the time of the block.

    Args:
        strategy: The strategy of any Trainer of the run.

    Raises:
        UserError: If they were started in a way that Lightning refuses.
        Elsewhere: In place of the error that the end of another process causes in this one.
    """
    if not isinstance(strategy, DDPStrategy):
        yield Ranks()
        return
    strategy.setup_environment()
    ranks = Ranks()
    try:
        yield ranks
    except RuntimeError as error:
        if lost := ranks.lost(error):
            raise Elsewhere(lost) from error
        raise
    # Not after an error: the process would wait for long for processes that have ended.
    distributed.destroy_process_group()


def _environment() -> ClusterEnvironment | None:
    """What started this process: the local launcher, torchrun or SLURM; `None` if none of these."""
    if OWN in os.environ:
        return LightningEnvironment()
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # A single task, or one outside any step of srun, is a batch script itself, whose processes are not started yet.
    if SLURMEnvironment.detect() and int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_STEP_ID" in os.environ:
        try:
            # Else Lightning writes checkpoints of its own at SLURM's signals, and resumes from those.
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # it says which of SLURM's options is the right one
            raise UserError(str(error)) from error
    return None


def threads(devices: int) -> int | None:
    """CPU threads of each process, so that the processes of a node share its cores; `None` where the user set them."""
    if devices == 1 or "OMP_NUM_THREADS" in os.environ:
        return None
    here = _on_this_node(cast(ClusterEnvironment, _environment()), devices)
    return int(os.environ.get("SLURM_CPUS_PER_TASK") or max(1, cores() // here))


def _on_this_node(environment: ClusterEnvironment, devices: int) -> int:
    """How many of a run's processes are on this node."""
    if isinstance(environment, TorchElasticEnvironment):
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS_PER_NODE"]) if isinstance(environment, SLURMEnvironment) else devices
