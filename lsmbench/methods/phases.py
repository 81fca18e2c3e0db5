"""Stages and phases: what is updated by which losses, how often, by which optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn


class Rates(Protocol):
    """What a configuration says of every optimiser: `MethodConfig`."""

    learning_rate: float
    optimizer: Literal["adam", "sgd"]
    beta1: float
    beta2: float
    weight_decay: float


@dataclass(frozen=True)
class Optimizer:
    """How the parameters of a phase are moved. Phases that name the same optimiser share it, with its state.

    Attributes:
        name: The optimiser's word, unique in its stage.
        learning_rate: `None`: that of the configuration, as for the other numbers.
        beta1: Decay of the mean gradient.
        beta2: Decay of the mean squared gradient.
        weight_decay: L2.
        make: Makes another kind of optimiser from the parameters; the other attributes are then ignored, and the rate
            that it starts with is what `learning_rate_factor` multiplies.
    """

    name: str
    learning_rate: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    weight_decay: float | None = None
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None

    def over(self, parameters: list[nn.Parameter], config: Rates) -> torch.optim.Optimizer:
        """A new optimiser of some parameters."""
        if self.make is not None:
            return self.make(parameters)
        rate, beta1, beta2, decay = (
            getattr(config, name) if (own := getattr(self, name)) is None else own
            for name in ("learning_rate", "beta1", "beta2", "weight_decay")
        )
        if config.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=beta1, weight_decay=decay)
        return torch.optim.Adam(parameters, lr=rate, betas=(beta1, beta2), weight_decay=decay)


def lazily(name: str, config: Rates, every: int) -> Optimizer:
    """An optimiser that a regularisation shares with other losses, once in `every` updates (StyleGAN2, App. B).

    Of `every` + 1 steps the regularisation takes one: with r = every / (every + 1), the rate is multiplied by r and the
    decays are taken to the power of r, so that as many updates move and remember as much as without it.

    Args:
        name: The optimiser's word.
        config: Rate and decays without the correction.
        every: Updates from one step of the regularisation to the next.
    """
    r = every / (every + 1)
    return Optimizer(name, config.learning_rate * r, config.beta1**r, config.beta2**r)


@dataclass(frozen=True)
class Phase:
    """One kind of update: which networks learn, from which losses, every how many updates.

    Attributes:
        name: The phase's word, unique in its stage.
        updates: Groups of networks that are updated (`Method.modules_of`); empty: the group of the phase's name.
        losses: The method `losses_…` that gives its terms; empty: that of the phase's name.
        every: The phase takes part in updates 0, `every`, 2·`every` … of the stage.
        optimizer: What moves the parameters; `None`: one of its own, by the configuration.
        clip: Greatest norm of the gradient, 0 does not clip; `None`: as the configuration says.
    """

    name: str
    updates: tuple[str, ...] = ()
    losses: str = ""
    every: int = 1
    optimizer: Optimizer | None = None
    clip: float | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of networks that are updated."""
        return self.updates or (self.name,)

    @property
    def terms_of(self) -> str:
        """Name of the method's function that gives the terms."""
        return f"losses_{self.losses or self.name}"

    @property
    def moved_by(self) -> Optimizer:
        """The optimiser."""
        return self.optimizer or Optimizer(self.name)


@dataclass(frozen=True, init=False)
class Stage:
    """One training, with its own optimisers, budget and selection.

    Attributes:
        name: The stage's word, unique in its method.
        phases: What is done in an update, in order.
        monitor: The validation value that selects the epoch; `None` is the method's score.
        full_budget: Whether all epochs are trained, without early stopping (GANs; LSM, App. C). The weights that are
            tested are selected all the same.
        share: Share of the budget's epochs that the stage has, at least one epoch.
        validated: Whether there is a validation value; if not, the stage trains its whole budget and ends with the
            last weights.
        validate_every: Epochs from one validation to the next; the last epoch is validated too.
    """

    name: str
    phases: tuple[Phase, ...]
    monitor: str | None
    full_budget: bool
    share: float
    validated: bool
    validate_every: int

    def __init__(
        self,
        name: str,
        phases: Iterable[Phase | str],
        monitor: str | None = None,
        full_budget: bool = False,
        share: float = 1.0,
        validated: bool = True,
        validate_every: int = 1,
    ) -> None:
        """Takes a group's name as the short form of a phase that updates it at every step.

        Raises:
            ValueError: If phases or their optimisers contradict each other; a mistake in a method's file.
        """
        made = tuple(Phase(phase) if isinstance(phase, str) else phase for phase in phases)
        fields = {
            "name": name, "phases": made, "monitor": monitor, "full_budget": full_budget or not validated,
            "share": share, "validated": validated, "validate_every": validate_every,
        }  # fmt: skip
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        names = [phase.name for phase in made]
        optimizers: dict[str, Optimizer] = {}
        for phase in made:
            if phase.every < 1:
                raise ValueError(f"stage {name}, phase {phase.name}: expected every ≥ 1, found {phase.every}")
            if optimizers.setdefault(phase.moved_by.name, phase.moved_by) != phase.moved_by:
                raise ValueError(f"stage {name}: two different optimisers are called {phase.moved_by.name}")
        if len(set(names)) < len(names):
            raise ValueError(f"stage {name}: expected phases of different names, found {', '.join(names)}")
        if made and all(phase.every > 1 for phase in made):
            raise ValueError(f"stage {name}: no phase takes part in every update")
        if validate_every < 1:
            raise ValueError(f"stage {name}: expected validate_every ≥ 1, found {validate_every}")

    def unvalidated(self) -> Stage:
        """The same stage for data without validation samples: its last weights are selected."""
        return Stage(self.name, self.phases, self.monitor, True, self.share, False, self.validate_every)

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The stage's optimisers, in order of first use."""
        return tuple({phase.moved_by.name: phase.moved_by for phase in self.phases}.values())

    def moves(self, optimizer: Optimizer) -> tuple[str, ...]:
        """The groups of networks that an optimiser moves."""
        phases = [phase for phase in self.phases if phase.moved_by == optimizer]
        return tuple(dict.fromkeys(group for phase in phases for group in phase.groups))

    def epochs(self, budget: int) -> int:
        """Most epochs of the stage in a budget of so many."""
        return max(1, round(budget * self.share))


def linear_decay(epoch: int, epochs: int) -> float:
    """What a learning rate is multiplied by in an epoch (from 0), as CycleGAN's (Zhu et al. 2017, §4).

    1 in the first half of the epochs, then down by equal steps; the last epoch still trains.
    """
    constant = epochs // 2
    return 1.0 - max(0, epoch + 1 - constant) / (epochs - constant + 1)


@contextmanager
def only(parameters: Iterable[nn.Parameter], of: Iterable[nn.Parameter]) -> Iterator[None]:
    """Freezes all parameters of `of` but some, so that a loss leaves no gradient in the others."""
    learning = {id(parameter) for parameter in parameters}
    frozen = [p for p in of if id(p) not in learning and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def step(optimizer: LightningOptimizer, ticks: bool) -> None:
    """Takes an optimiser's step.

    Lightning counts the steps of every optimiser in `trainer.global_step`; only the step that `ticks` is counted, so
    that it counts updates.
    """
    before: Any = optimizer._on_before_step
    after: Any = optimizer._on_after_step
    if not ticks:
        optimizer._on_before_step = optimizer._on_after_step = lambda: None
    try:
        optimizer.step()
    finally:
        optimizer._on_before_step, optimizer._on_after_step = before, after
