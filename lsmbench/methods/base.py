"""The base of all methods: everything that is engineering, so that a method's file holds its paper.

Facts about Lightning that this file relies on, each with a test: `global_step` counts the steps of every optimiser
unless all but one are kept from ticking; in manual optimisation clipping is ours to call; Lightning keeps no state of
random generators, so every epoch is reseeded by (seed, epoch, rank) and a resumed run draws the same numbers.

Where several processes divide a batch, gradients are averaged over them. Every process has as many samples of each
group, so a loss that is a mean over samples is then that of the whole batch. One that is not (a loss over pairings of
samples, or over sums of the batch) brings together what it needs by `gathered` or `summed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, cast

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torchmetrics import MeanMetric

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, truth_of
from lsmbench.data.samplers import Turns
from lsmbench.data.supervision import ViewSet
from lsmbench.domains import Domain
from lsmbench.errors import DivergedError, UserError
from lsmbench.metrics import SampleMetric
from lsmbench.options import option

Terms = dict[str, Callable[[], Tensor]]
"""Named loss terms, not yet computed: those whose weight is zero never are."""

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class MethodConfig:
    """What every trained method can be told. The optimiser is Adam (LSM, App. B) unless a comparator has another."""

    network: Literal["paper", "small", "tiny"] = option(
        "paper", "Width of the networks: 64, 16 or 8 filters in the first layer", source="paper: LSM, App. B"
    )
    learning_rate: float = option(
        1e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="released code; LSM tunes it and prints no value"
    )
    optimizer: Literal["adam", "sgd"] = option("adam", "The optimiser; sgd has beta1 as its momentum")
    beta1: float = option(0.9, "Adam's decay of the mean gradient", source="LSM, App. B")
    beta2: float = option(0.999, "Adam's decay of the mean squared gradient", source="LSM, App. B")
    weight_decay: float = option(0.0, "Weight decay (L2)", source="LSM and the GANs: none")
    clip: float = option(0.0, "Greatest norm of a group's gradient; 0 does not clip", source="no paper here clips")


@dataclass(frozen=True)
class Stage:
    """One phase of training, with its own optimisers and early stopping.

    Attributes:
        name: The stage's word, unique in its method.
        groups: What is updated at each step, in order.
        monitor: The validation value that selects the epoch; `None` is the method's score.
        full_budget: Whether all epochs are trained, without early stopping (GANs; LSM, App. C). The weights that are
            tested are selected all the same.
        share: Share of the budget's epochs that the stage has, at least one epoch.
    """

    name: str
    groups: tuple[str, ...]
    monitor: str | None = None
    full_budget: bool = False
    share: float = 1.0

    def epochs(self, budget: int) -> int:
        """Most epochs of the stage in a budget of so many."""
        return max(1, round(budget * self.share))


class Method(L.LightningModule):
    """A way to learn to translate between views.

    A subclass declares `groups`, the sets of parameters that are updated in turn at every step, and gives for each
    group `g` a method `losses_g(views)` that returns named terms. Term `t` is weighted by the option `w_t` of the
    method's configuration, or by 1 if there is none. While one group is updated, the parameters of the others are
    frozen, so its loss can leave no gradient in them.

    It works in any `Trainer` with any source of batches of the form `Batch`. `lsmbench` trains the stages one after
    the other, each with new optimisers and starting from the best weights of the one before; to do so by hand, set
    `stage` before each `fit`.

    Args:
        domains: The domain of each view.
        config: The method's options.
        source: The view that is given at test time.
        target: The view that is asked for.
        init_seed: Seed of the initial weights and of every random number in training.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    groups: ClassVar[tuple[str, ...]] = ()
    uses_pairs: ClassVar[bool] = True
    """Whether the result depends on which samples are paired; if not, it is trained once and shown at every N."""
    deterministic: ClassVar[bool] = False
    """Whether the result is the same for every seed."""

    def __init__(
        self,
        domains: dict[str, Domain],
        config: MethodConfig | None = None,
        source: str = "x",
        target: str = "y",
        init_seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config or self.Config()
        self.domains = domains
        self.source, self.target = source, target
        self.init_seed = init_seed
        self.remarks: list[str] = []
        """What a reader of the result has to know of this configuration, e.g. a loss that does not apply."""
        self.build()
        self.metrics = nn.ModuleDict(
            {f"{s}->{t}": nn.ModuleDict({m.name: m for m in domains[t].metrics()}) for s, t in self.directions}
        )
        self.means = nn.ModuleDict({stage.monitor: MeanMetric() for stage in self.stages if stage.monitor})
        self.stage = self.stages[0] if self.stages else Stage("none", ())
        self._finite: Tensor = torch.tensor(True)

    # What a method says of itself -------------------------------------------------------------------------------------

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Whether the method can be trained on a dataset, and if not, why (shown in the table)."""
        return True, ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The phases of training: one for most methods."""
        return (Stage("train", self.groups),)

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """The translations that the method learns; the first is the one that is asked for."""
        return ((self.source, self.target),)

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """The groups of samples that the method learns from in the current stage; others are never loaded."""
        return (self.pair, (self.source,), (self.target,))

    @property
    def turns(self) -> Turns | None:
        """The groups of samples that updates take in turn; `None`: every update takes from all groups."""
        return None

    @property
    def pair(self) -> ViewSet:
        """The group of samples that show both views."""
        return tuple(sorted((self.source, self.target)))

    @abstractmethod
    def build(self) -> None:
        """Makes the networks, each through `network`."""

    @abstractmethod
    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The networks that a group updates."""

    @abstractmethod
    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """Translates views of the source domain to network outputs of the target domain."""

    def prepare(self, batch: Batch) -> Any:
        """Brings a batch to the form that the losses take; what several groups share is computed here, once."""
        return batch

    def validate(self, batch: dict[str, Tensor]) -> Tensor:
        """The validation value of a stage that is not selected by the score: a mean over the batch."""
        raise TypeError(f"{type(self).__name__} has to say what {self.stage.monitor} is: override validate")

    def weight(self, term: str) -> float:
        """The weight of a loss term."""
        return float(getattr(self.config, f"w_{term}", 1.0))

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """What the learning rate is multiplied by in an epoch (from 0) of a stage of at most `epochs`."""
        return 1.0

    # Several processes ------------------------------------------------------------------------------------------------

    @property
    def devices(self) -> int:
        """Processes that divide each batch."""
        return 1 if self._trainer is None else self._trainer.world_size

    def gathered(self, part: Tensor) -> Tensor:
        """The parts (B, ...) of all processes in the order of the whole batch, (B * devices, ...); differentiable.

        All processes have to ask, with parts of one shape.
        """
        if self.devices == 1:
            return part
        parts = cast(Tensor, self.all_gather(part, sync_grads=part.requires_grad))
        return parts.transpose(0, 1).flatten(0, 1)

    def own(self, whole: Tensor) -> Tensor:
        """This process's part of what `gathered` gives."""
        return whole[self.global_rank :: self.devices]

    def summed(self, part: Tensor) -> Tensor:
        """The sum over all processes, differentiable. A loss that is made of such sums is the same in all of them."""
        return part if self.devices == 1 else cast(Tensor, all_reduce(part))  # type: ignore[no-untyped-call]

    def drawn(self, numbers: Tensor) -> Tensor:
        """Random numbers of the first process, for all."""
        return numbers if self.devices == 1 else self.trainer.strategy.broadcast(numbers)

    # Helpers for methods ----------------------------------------------------------------------------------------------

    def network(self, name: str, make: Callable[[], Network]) -> Network:
        """Makes a network whose initial weights depend on its name and the seed only.

        Two methods that both have `encoder_x` thus start from the same weights, whatever else they have.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.init_seed, "init", name))
            return make()

    def nothing(self, group: str) -> Tensor:
        """Zero, for a term without samples: it still touches the group's parameters, as several processes need."""
        return cast(Tensor, sum(p.sum() * 0.0 for module in self.modules_of(group) for p in module.parameters()))

    @property
    def score_name(self) -> str:
        """The logged name of the validation score that selects epochs: primary metric, first direction."""
        return f"val/{self.source}->{self.target}/{self.domains[self.target].metrics()[0].name}"

    @property
    def monitor(self) -> str:
        """The logged name of what selects the epoch in the current stage."""
        return f"val/{self.stage.monitor}" if self.stage.monitor else self.score_name

    @property
    def higher_is_better(self) -> bool:
        """Direction of the current stage's monitored value."""
        if self.stage.monitor:
            return False
        return bool(self.domains[self.target].metrics()[0].higher_is_better)

    # Training ---------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One new optimiser for each group of the current stage."""
        c = self.config
        optimizers: list[torch.optim.Optimizer] = []
        for group in self.stage.groups:
            parameters = [p for module in self.modules_of(group) for p in module.parameters()]
            common: dict[str, Any] = {"lr": c.learning_rate, "weight_decay": c.weight_decay}
            if c.optimizer == "sgd":
                optimizers.append(torch.optim.SGD(parameters, momentum=c.beta1, **common))
            else:
                optimizers.append(torch.optim.Adam(parameters, betas=(c.beta1, c.beta2), **common))
        return optimizers

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Updates every group of the stage once, in order."""
        views = self.prepare(batch)
        for group, optimizer in zip(self.stage.groups, self._ticking_once(), strict=True):
            with self.toggled_optimizer(optimizer):
                total = self._total(group, views)
                optimizer.zero_grad()
                self.manual_backward(total)
                if self.config.clip > 0:
                    self.clip_gradients(optimizer.optimizer, self.config.clip, "norm")
                optimizer.step()

    def _total(self, group: str, views: Any) -> Tensor:
        """The weighted sum of a group's terms."""
        terms: Terms = getattr(self, f"losses_{group}")(views)
        values = {name: term() for name, term in terms.items() if self.weight(name) != 0.0}
        total = cast(Tensor, sum(self.weight(name) * value for name, value in values.items()))
        logged = {f"train/{name}": value.detach() for name, value in values.items()}
        logged[f"train/{group}"] = total.detach()
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        self._finite = self._finite.to(total.device) & torch.isfinite(total.detach())
        return total

    def _ticking_once(self) -> list[LightningOptimizer]:
        """The optimisers, of which only the first advances `trainer.global_step`, so that it counts updates."""
        optimizers = cast(list[LightningOptimizer], self.optimizers())
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in optimizers[1:]:
            optimizer._on_before_step = optimizer._on_after_step = lambda: None
        return optimizers

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Reseeds at the start of each epoch, since checkpoints hold no state of random generators."""
        if batch_idx == 0:
            torch.manual_seed(seed_of(self.init_seed, self.stage.name, self.current_epoch, self.global_rank))

    def on_train_epoch_start(self) -> None:
        """Sets the learning rate of the epoch; stateless, so that a resumed run has the same."""
        factor = self.learning_rate_factor(self.current_epoch, cast(int, self.trainer.max_epochs))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * factor

    def on_validation_start(self) -> None:
        """Stops before weights that are no numbers are scored or saved; all processes then score with the same ones."""
        self._settle()

    def on_train_epoch_end(self) -> None:
        """The same for training without validation."""
        self._settle()

    def _settle(self) -> None:
        if not self.trainer.strategy.reduce_boolean_decision(bool(self._finite)):
            raise DivergedError(
                f"the loss is no longer a finite number in epoch {self.current_epoch} of stage {self.stage.name}; "
                "lower method.learning_rate or the weights"
            )
        if self.devices == 1:
            return
        for norm in (module for module in self.modules() if isinstance(module, _BatchNorm)):
            for running in (norm.running_mean, norm.running_var):
                if running is not None:
                    running.copy_(cast(Tensor, self.all_gather(running)).mean(0))

    # Evaluation -------------------------------------------------------------------------------------------------------

    def predict(self, batch: dict[str, Tensor], source: str, target: str) -> Tensor:
        """Translates the source views of an evaluation batch to decided target views."""
        return self.domains[target].decide(self.translate(batch[source], source, target))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Scores a batch by what the stage is selected by."""
        if self.stage.monitor:
            cast(MeanMetric, self.means[self.stage.monitor]).update(self.validate(batch), weight=len(batch["index"]))
        else:
            self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation values."""
        if self.stage.monitor:
            mean = cast(MeanMetric, self.means[self.stage.monitor])
            self.log(self.monitor, mean.compute(), prog_bar=True)
            mean.reset()
            return
        for direction, metric in self.all_metrics():
            self.log(f"val/{direction}/{metric.name}", metric.compute(), prog_bar=True)
            metric.reset()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Scores a batch in every direction; read the scores from `all_metrics` afterwards."""
        self._score(batch)

    def on_test_start(self) -> None:
        """Forgets earlier scores, and reseeds for methods that are random at test time."""
        torch.manual_seed(seed_of(self.init_seed, "test", self.global_rank))
        for _, metric in self.all_metrics():
            metric.reset()

    def _score(self, batch: dict[str, Tensor]) -> None:
        for source, target in self.directions:
            truth = batch.get(truth_of(target), batch[target])
            compared = self.domains[target].comparable(self.predict(batch, source, target), truth)
            for metric in self._metrics_of(f"{source}->{target}"):
                metric.update(*compared, batch["index"])

    def _metrics_of(self, direction: str) -> list[SampleMetric]:
        return [cast(SampleMetric, m) for m in cast(nn.ModuleDict, self.metrics[direction]).values()]

    def all_metrics(self) -> list[tuple[str, SampleMetric]]:
        """Every direction's metrics, the primary one first."""
        return [(direction, metric) for direction in self.metrics for metric in self._metrics_of(direction)]

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the checkpoint is of, in plain values."""
        checkpoint["lsmbench"] = {
            "method": type(self).__name__,
            "stage": self.stage.name,
            "config": dataclasses.asdict(self.config),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another method or stage."""
        said = checkpoint.get("lsmbench", {})
        mine = (type(self).__name__, self.stage.name)
        if (said.get("method"), said.get("stage")) != mine:
            raise UserError(
                f"the checkpoint is of method {said.get('method')}, stage {said.get('stage')}; expected {mine[0]}, "
                f"{mine[1]}."
            )


def seed_of(*parts: int | str) -> int:
    """A seed that depends on all parts, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")
