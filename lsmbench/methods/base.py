"""The base of all methods: everything that is engineering, so that a method's file holds its paper.

Facts about Lightning that this file relies on, each with a test: `global_step` counts the steps of every optimiser
unless all but one are kept from ticking; in manual optimisation Lightning does not clip; Lightning saves no state of
random generators, so every epoch is reseeded by (seed, epoch, rank), and a resumed run draws the same numbers.

Where several processes divide a batch, gradients are averaged over them. Every process has as many samples of each
group, so a loss that is a mean over samples is then that of the whole batch. One that is not (a loss over pairings of
samples, or over sums of the batch) brings together what it needs by `gathered` or `summed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal, TypeVar, cast

import lightning as L  # noqa: N812
import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import MeanMetric

from lsmbench.data.dataset import COPY, Dataset
from lsmbench.data.module import INDEX, Batch, DataModule, Views, scored_by
from lsmbench.data.pools import ViewSet
from lsmbench.data.samplers import Turns
from lsmbench.domains import Domain
from lsmbench.errors import DivergedError, UserError
from lsmbench.methods.phases import Phase, Stage, only, step
from lsmbench.methods.refinement import Code, Refinement, refine
from lsmbench.metrics import SampleMetric
from lsmbench.options import option, options_of

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
    clip: float = option(0.0, "Greatest norm of a phase's gradient; 0 does not clip", source="no paper here clips")


class Method(L.LightningModule):
    """A way to learn to predict some views of a sample from others.

    A subclass declares its `stages`, each a list of phases, or in short by `groups` one stage with a phase for each
    group of networks. For a phase `p` a method `losses_p(views)` gives named terms. Term `t` is weighted by the option
    `w_t` of the configuration, or by `weights` where the paper fixes it. While a phase updates its groups, all other
    parameters are frozen, so that its loss leaves no gradient in them.

    It works in any `Trainer` with any source of batches of the form `Batch`. `lsmbench` trains the stages one after
    the other, each with new optimisers and starting from the selected weights of the one before; to do so by hand, set
    `stage` before each `fit`.

    Args:
        domains: The domain of each view.
        config: The method's options.
        source: The view that is given at test time.
        target: The view that is asked for.
        init_seed: Seed of the initial weights and of every random number in training.
        truths: Which view predictions of a view are compared with, if not the view itself (`Dataset.truths`).
        fresh: Whether initial weights count. If not, trained ones are loaded afterwards, and files that others' weights
            come from are not needed.

    Raises:
        TypeError: If a loss term has no weight, or an option `w_…` has no term; a mistake in the method's file.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    groups: ClassVar[tuple[str, ...]] = ()
    weights: ClassVar[Mapping[str, float]] = {}
    """Weights of the terms that have no option, since the paper fixes them."""
    averaged: ClassVar[Mapping[str, float]] = {}
    """Groups of networks whose parameters are averaged over the updates, each with the average's decay (EMA). The
    average is part of the checkpoint, and predicts in place of the networks themselves. See `decay`."""
    both_ways: ClassVar[bool] = False
    """Whether it learns to translate the target back to the source, too."""
    full_budget: ClassVar[bool] = False
    """Whether all epochs are trained, without stopping early, as GANs are."""
    uses_pairs: ClassVar[bool] = True
    """Whether the result depends on which samples are paired; where that is an option's, see `learns_from_pairs`."""
    needs_pairs: ClassVar[bool] = False
    """Whether translation is learnt from pairs alone; a benchmark leaves the method out where there are none."""
    trained: ClassVar[bool] = True
    """Whether it is trained by updates; what is not learns in `learn` alone, and has nothing to tune."""
    deterministic: ClassVar[bool] = False
    """Whether the result is the same for every seed."""
    has_code: ClassVar[bool] = False
    """Whether it has a code of the source that both views are decoded from, so that it can be refined."""

    generator_stage: ClassVar[str | None] = None
    """The stage that trains a generator of source and target at once, from which `sample` draws; `None`: no stage."""

    def __init__(
        self,
        domains: dict[str, Domain],
        config: MethodConfig | None = None,
        source: str = "x",
        target: str = "y",
        init_seed: int = 0,
        truths: Mapping[str, str] | None = None,
        fresh: bool = True,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.fresh = fresh
        self.config = config or self.Config()
        self.domains = domains
        self.source, self.target = source, target
        self.init_seed = self.test_seed = init_seed
        self.truths = dict(truths or {})
        self.refinement: Refinement | None = None
        """How codes are refined before anything is predicted from them; `None`: they are not."""
        self.remarks: list[str] = []
        """What a reader of the result has to know of this configuration, e.g. a loss that does not apply."""
        self.saw = ""
        """Whose weights it starts from, if these learnt from other data, e.g. ImageNet's photos; tables mark it."""
        self.learnt: dict[str, Tensor] = {}
        """What `learn` finds, by name; a finished run keeps it beside the trained weights."""
        self.build()
        self._decay, self._in_use = 0.0, False
        self.averages = nn.ModuleDict({group: self._average_of(group) for group in self.averaged})
        self.metrics = nn.ModuleDict(
            {f"{s}->{t}": nn.ModuleDict({m.name: m for m in domains[t].metrics()}) for s, t in self.directions}
        )
        self.means = nn.ModuleDict({stage.monitor: MeanMetric() for stage in self.stages if stage.monitor})
        self._check_terms()
        self.stage = self.stages[0] if self.stages else Stage("none", ())
        self._finite: Tensor = torch.tensor(True)

    # What a method says of itself -------------------------------------------------------------------------------------

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Whether the method can be trained on a dataset, and if not, why (shown in the table)."""
        return True, ""

    @classmethod
    def fits(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """As `supports`; and what learns from pairs alone fits no dataset that has none by nature."""
        if cls.needs_pairs and not dataset.paired:
            return False, f"learns to translate from pairs alone, and {dataset.name} has none"
        return cls.supports(dataset, config)

    @classmethod
    def learns_from_pairs(cls, config: MethodConfig) -> bool:
        """Whether the result depends on which samples are paired; if not, it is trained once and shown at every N."""
        return cls.uses_pairs

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The trainings that follow each other: one for most methods."""
        return (Stage("train", self.groups, full_budget=self.full_budget),)

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """The translations that the method learns; the first is the one that is asked for."""
        there, back = (self.source, self.target), (self.target, self.source)
        return (there, back) if self.both_ways else (there,)

    @property
    def views(self) -> ViewSet:
        """The views that the method learns from; of samples that have more it sees these."""
        return tuple(sorted((self.source, self.target)))

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """The groups of samples that the method learns from in the current stage; others are never loaded.

        Here: samples that show any of its views.
        """
        return tuple(s for size in range(len(self.views), 0, -1) for s in combinations(self.views, size))

    @property
    def turns(self) -> Turns | None:
        """The groups of samples that updates take in turn; `None`: every update takes from all groups."""
        return None

    @property
    def balanced(self) -> str | None:
        """The view whose classes every batch shows equally often; `None`: samples are drawn whatever their class."""
        return None

    @property
    def answer(self) -> Domain:
        """The domain of what `predict` gives."""
        return self.domains[self.target]

    @property
    def pair(self) -> ViewSet:
        """The group of samples that show source and target."""
        return tuple(sorted((self.source, self.target)))

    @property
    def random_at_test(self) -> bool:
        """Whether predictions are random. Each sample is then predicted alone, with random numbers of its own."""
        return False

    @abstractmethod
    def build(self) -> None:
        """Makes the networks, each through `network`."""

    @abstractmethod
    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The networks that a group updates."""

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """Translates views of the source domain to network outputs of the target domain."""
        raise TypeError(f"{type(self).__name__} predicts views without network outputs: call predict")

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """Predicts target views.

        Args:
            views: The given views by name; and the view `copy`, where the dataset has one.
            source: The view to predict from.
            target: The view to predict.

        Returns:
            Decided views of the target's domain.
        """
        return self.decided(self.translate(views[source], source, target), target)

    def logits(self, views: Views, source: str, target: str) -> Tensor | None:
        """One logit for each class, (B, K, …), of which `predict` takes the greatest: the method's confidence.

        `None` for targets without classes, and for methods that decide otherwise.

        Args:
            views: As for `predict`.
            source: The view to predict from.
            target: The view to predict.
        """
        if type(self).translate is Method.translate:
            return None
        return self.logits_of(self.translate(views[source], source, target), target)

    def decided(self, output: Tensor, target: str) -> Tensor:
        """Decided views of the target for network outputs."""
        return self.domains[target].decide(output)

    def logits_of(self, output: Tensor, target: str) -> Tensor | None:
        """One logit for each class, (B, K, …), for network outputs; `None` for targets without classes."""
        return self.domains[target].logits(output)

    def code(self, view: Tensor, source: str, seeds: Sequence[int], how: Refinement) -> Code:
        """The codes of views, to be refined; only a method that `has_code` is asked.

        Args:
            view: Views of the source's domain, (B, …).
            source: Which view that is.
            seeds: Of the random numbers of each view.
            how: The weights of the losses.
        """
        raise TypeError(f"{type(self).__name__} has no code")

    def latents(self, view: Tensor, name: str) -> Tensor | None:
        """The latents of views in the space that source and target share, (B, …) of one shape for both.

        `None` for a method that has no such space. Pictures of it are all that this is for.

        Args:
            view: Views of one domain.
            name: Which view: the source or the target.
        """
        return None

    def sample(self, count: int, seed: int, truncation: float = 1.0) -> Views:
        """Decided views of source and target of new samples; only a method with a `generator_stage` is asked.

        Args:
            count: How many.
            seed: Of the codes and of all else that is random.
            truncation: How far codes are from their mean, as a share of the whole way.
        """
        raise TypeError(f"{type(self).__name__} generates no samples")

    def between(self, view: Tensor, count: int, seed: int) -> Views:
        """Decided views of source and target on the way from the code of one source view to that of another.

        Args:
            view: Two views of the source, (2, …).
            count: Places on the way, both ends included.
            seed: Of all that is random besides, which is the same in all places.
        """
        raise TypeError(f"{type(self).__name__} generates no samples")

    def learn(self, data: DataModule) -> None:
        """Learns what takes no updates, such as a constant, into `learnt`; called once, before the first stage."""

    def visible(self, batch: Batch) -> Batch:
        """A batch with the method's views alone; groups of samples that then show the same views are joined.

        Batches of a `DataModule` that knows its learner are returned as they are.
        """
        if all(set(shown) <= set(self.views) for shown in batch):
            return batch
        parts: dict[ViewSet, list[Views]] = {}
        for shown, views in batch.items():
            if kept := tuple(view for view in shown if view in self.views):
                parts.setdefault(kept, []).append(views)
        return {kept: {v: torch.cat([views[v] for views in every]) for v in kept} for kept, every in parts.items()}

    def inputs(self, batch: Batch) -> Views:
        """Network inputs of source and target; samples that show more views come first, so pairs are the first ones.

        A view that no sample of the batch shows is absent.
        """
        fed: Views = {}
        for view in (self.source, self.target):
            shown = [batch[views][view] for views in sorted(batch, key=len, reverse=True) if view in views]
            if shown:
                fed[view] = self.domains[view].to_input(torch.cat(shown))
        return fed

    def veiled(self, fakes: Tensor, real: Views, view: str) -> Tensor:
        """Fakes of a view as its discriminator sees them: where real ones have pixels without a class, so have they.

        Args:
            fakes: Generated network inputs.
            real: Network inputs of the batch, by view; the view may be absent.
            view: Which view.
        """
        return self.domains[view].veil(fakes, real[view]) if view in real else fakes

    def prepare(self, batch: Batch) -> Any:
        """Brings a batch, which may be empty, to the form that the losses take; phases share what is computed here."""
        return batch

    def validate(self, batch: Views) -> Tensor | None:
        """The validation value of a stage that is not selected by the score: a mean over the batch.

        `None` for a batch whose samples lack the views that it takes.
        """
        raise TypeError(f"{type(self).__name__} has to say what {self.stage.monitor} is: override validate")

    def weight(self, term: str) -> float:
        """The weight of a loss term."""
        return float(self.weights[term] if term in self.weights else getattr(self.config, f"w_{term}"))

    def decay(self, group: str, update: int) -> float:
        """The decay of a group's average after an update (from 0)."""
        return self.averaged[group]

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """What the learning rate is multiplied by in an epoch (from 0) of a stage of at most `epochs`."""
        return 1.0

    @property
    def progress(self) -> float:
        """Share of the stage's updates that are done, from 0 to 1; 1 outside of training."""
        if self._trainer is None or not self.trainer.training:
            return 1.0
        updates = cast(int, self.trainer.max_epochs) * int(self.trainer.num_training_batches)
        return min(1.0, self.trainer.global_step / updates)

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

    def normal(self, like: Tensor) -> Tensor:
        """Numbers from N(0, 1) in the form of a part (B, ...): this process's part of those of the whole batch.

        All processes have to ask, for parts of one shape. The numbers are drawn where `like` is, from a seed of the
        epoch's random generator.
        """
        return self._part_of(torch.randn, like)

    def uniform(self, like: Tensor) -> Tensor:
        """The same with numbers from U(0, 1)."""
        return self._part_of(torch.rand, like)

    def _part_of(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        seed = int(self.drawn(torch.randint(2**62, ())))
        generator = torch.Generator(like.device).manual_seed(seed)
        whole = (len(like) * self.devices, *like.shape[1:])
        return self.own(draw(whole, generator=generator, dtype=like.dtype, device=like.device))

    # Helpers for methods ----------------------------------------------------------------------------------------------

    def network(self, name: str, make: Callable[[], Network]) -> Network:
        """Makes a network whose initial weights depend on its name and the seed only.

        Two methods that both have `encoder_x` thus start from the same weights, whatever else they have.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.init_seed, "init", name))
            return make()

    def parameters_of(self, groups: Iterable[str]) -> list[nn.Parameter]:
        """The parameters of some groups of networks, each once."""
        every = (p for group in groups for module in self.modules_of(group) for p in module.parameters())
        return list(dict.fromkeys(every))

    @property
    def size(self) -> int:
        """Number of parameters, without the averages."""
        averages = {id(p) for p in self.averages.parameters()}
        return sum(p.numel() for p in self.parameters() if id(p) not in averages)

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
        """New optimisers of the current stage."""
        made = []
        for spec in self.stage.optimizers:
            optimizer = spec.over(self.parameters_of(self.stage.moves(spec)), self.config)
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
            made.append(optimizer)
        return made

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Does the phases of the stage that are due, in order, then updates the averages."""
        views = self.prepare(self.visible(batch))
        found = self.optimizers()
        made = found if isinstance(found, list) else [found]
        optimizers = dict(zip((spec.name for spec in self.stage.optimizers), made, strict=True))
        ticking = next(phase for phase in self.stage.phases if phase.every == 1)
        update = self.trainer.global_step
        for phase in self.stage.phases:
            if update % phase.every:
                continue
            optimizer = optimizers[phase.moved_by.name]
            with only(self.parameters_of(phase.groups), self.parameters()):
                total = self._total(phase, views)
                optimizer.zero_grad()
                self.manual_backward(total)
                clip = self.config.clip if phase.clip is None else phase.clip
                if clip > 0:
                    self.clip_gradients(optimizer.optimizer, clip, "norm")
                step(optimizer, ticks=phase is ticking)
        moved = {group for phase in self.stage.phases for group in phase.groups}
        for group, average in self.averages.items():
            if group not in moved:
                continue
            self._decay = self.decay(group, update)
            cast(AveragedModel, average).update_parameters(nn.ModuleList(self.modules_of(group)))

    def _total(self, phase: Phase, views: Any) -> Tensor:
        """The weighted sum of a phase's terms."""
        terms: Terms = getattr(self, phase.terms_of)(views)
        values = {name: term() for name, term in terms.items() if self.weight(name) != 0.0}
        total = cast(Tensor, sum(self.weight(name) * value for name, value in values.items()))
        logged = {f"train/{name}": value.detach() for name, value in values.items()}
        logged[f"train/{phase.name}"] = total.detach()
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        self._finite = self._finite.to(total.device) & torch.isfinite(total.detach())
        return total

    def _check_terms(self) -> None:
        """Compares the terms of all phases with the weights that are declared."""
        options = {o.name.removeprefix("w_") for o in options_of(type(self.config)) if o.name.startswith("w_")}
        terms: set[str] = set()
        for stage in self.stages:
            self.stage = stage
            nothing = self.prepare({})
            terms |= {term for phase in stage.phases for term in getattr(self, phase.terms_of)(nothing)}
        if unweighted := sorted(terms - options - self.weights.keys()):
            raise TypeError(
                f"{type(self).__name__}: no weight is declared for {', '.join(unweighted)}; add an option w_… to its "
                "Config, or a number to its weights"
            )
        if unused := sorted(options - terms):
            named = ", ".join(f"w_{term}" for term in unused)
            raise TypeError(f"{type(self).__name__}: no loss term has the weight {named}")

    def _average_of(self, group: str) -> AveragedModel:
        """A copy of a group's networks whose parameters are averaged over the updates; buffers are the networks'."""

        def average(averaged: Any, current: Any, number: Any) -> None:
            get_ema_multi_avg_fn(self._decay)(averaged, current, number)  # type: ignore[no-untyped-call]

        copy = AveragedModel(nn.ModuleList(self.modules_of(group)), multi_avg_fn=average)
        copy.n_averaged.fill_(1)  # the initial weights count as the first; else the first update would replace them
        return copy.requires_grad_(False)

    def averaged_networks(self, group: str) -> list[nn.Module]:
        """A group's networks with the averaged parameters, which are not trained."""
        networks = self.modules_of(group) if self._in_use else cast(nn.ModuleList, self.averages[group].module)
        return list(networks)

    @contextmanager
    def averages_in_use(self) -> Iterator[None]:
        """Puts the averaged parameters in the place of the networks' own for a while."""
        pairs = [
            (own, average)
            for group, averaged in self.averages.items()
            for own, average in zip(self.parameters_of([group]), averaged.parameters(), strict=True)
        ]
        for own, average in pairs:
            own.data, average.data = average.data, own.data
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False
            for own, average in pairs:
                own.data, average.data = average.data, own.data

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Reseeds at the start of each epoch, since checkpoints hold no state of random generators."""
        if batch_idx == 0:
            torch.manual_seed(seed_of(self.init_seed, self.stage.name, self.current_epoch, self.global_rank))

    def on_train_epoch_start(self) -> None:
        """Sets the learning rate of the epoch; stateless, so that a resumed run has the same."""
        factor = self.learning_rate_factor(self.current_epoch, cast(int, self.trainer.max_epochs))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

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

    @torch.no_grad()
    def predictions(self, batch: Views, source: str, target: str) -> Tensor:
        """Predicts the target views of an evaluation batch, of which the method is given the source alone.

        Averaged parameters are used where there are some. Predictions that are random depend on `test_seed` and the
        sample's number, not on how samples are dealt to batches and processes.
        """
        if self.refinement is not None:
            return self.decided(self._refined(batch, source, target, self.refinement), target)
        return cast(Tensor, self._asked(self.predict, batch, source, target))

    @torch.no_grad()
    def said_of(self, batch: Views, source: str, target: str) -> tuple[Tensor, Tensor | None]:
        """What `predict` and `logits` say of samples that are not the dataset's, by the weights of `predictions`.

        The samples' numbers are only what random predictions depend on.
        """
        if self.refinement is not None:
            output = self._refined(batch, source, target, self.refinement)
            return self.decided(output, target), self.logits_of(output, target)
        decided = cast(Tensor, self._asked(self.predict, batch, source, target))
        return decided, self._asked(self.logits, batch, source, target)

    def _asked(self, ask: Callable[..., Tensor | None], batch: Views, source: str, target: str) -> Tensor | None:
        """What `predict` or `logits` says; `None` if it says nothing."""
        given = {view: batch[view] for view in (source, COPY) if view in batch}
        with self.averages_in_use():
            if not self.random_at_test:
                return ask(given, source, target)
            alone = []
            for i, seed in enumerate(self._seeds(batch)):
                with self.seeded(seed):
                    alone.append(ask({v: kept[i : i + 1] for v, kept in given.items()}, source, target))
        known = [one for one in alone if one is not None]
        return torch.cat(known) if known else None

    def _refined(self, batch: Views, source: str, target: str, how: Refinement) -> Tensor:
        """Network outputs of the target, decoded from refined codes of the source."""
        # Evaluation may run in inference mode, whose tensors take no part in gradients: they are copied outside of it.
        with self.averages_in_use(), torch.inference_mode(False), torch.enable_grad(), only((), self.parameters()):
            code = self.code(batch[source].clone(), source, self._seeds(batch), how)
            refine(code, how)
            with torch.no_grad():
                return code.decode(target)

    def _seeds(self, batch: Views) -> list[int]:
        """The seed of each sample's random numbers at test time."""
        return [seed_of(self.test_seed, "test", number) for number in batch[INDEX].tolist()]

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Lets random numbers depend on a seed for a while, and gives back those that are used up."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def validation_step(self, batch: Views, batch_idx: int) -> None:
        """Scores a batch by what the stage is selected by."""
        if self.stage.monitor:
            with self.averages_in_use():
                value = self.validate(batch)
            if value is not None:
                cast(MeanMetric, self.means[self.stage.monitor]).update(value, weight=len(batch[INDEX]))
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
            if metric.update_count:
                self.log(f"val/{direction}/{metric.name}", metric.compute(), prog_bar=True)
            metric.reset()

    def test_step(self, batch: Views, batch_idx: int) -> None:
        """Scores a batch in every direction; read the scores from `all_metrics` afterwards."""
        self._score(batch)

    def on_test_start(self) -> None:
        """Forgets earlier scores."""
        for _, metric in self.all_metrics():
            metric.reset()

    def _score(self, batch: Views) -> None:
        """Scores the directions whose source and truth the batch has; with refined codes the first one alone."""
        for source, target in self.directions if self.refinement is None else self.directions[:1]:
            truth = self.truths.get(target, target)
            if source not in batch or truth not in batch:
                continue
            prediction = self.predictions(batch, source, target)
            compared = self.domains[target].comparable(prediction, batch[truth])
            for metric in self._metrics_of(f"{source}->{target}"):
                metric.update(*compared, scored_by(metric, batch))

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
        saved = checkpoint.get("lsmbench", {})
        mine = (type(self).__name__, self.stage.name)
        if (saved.get("method"), saved.get("stage")) != mine:
            raise UserError(
                f"the checkpoint is of method {saved.get('method')}, stage {saved.get('stage')}; expected {mine[0]}, "
                f"{mine[1]}."
            )
        if "state_dict" in checkpoint:
            self.load_weights(checkpoint, "the checkpoint")

    def load_weights(self, checkpoint: Mapping[str, Any], name: str) -> None:
        """Takes the weights of a checkpoint.

        Args:
            checkpoint: As Lightning saves it.
            name: What it is called in messages.

        Raises:
            UserError: If its networks are not this method's, as those of another version of lsmbench may be.
        """
        state = checkpoint["state_dict"]
        mine = {key: value.shape for key, value in self.state_dict().items()}
        if mine != {key: value.shape for key, value in state.items()}:
            raise UserError(
                f"{name}: its weights are not those of this method's networks, so that it is of another version of "
                "lsmbench or another configuration. Use the version that made it, or move its folder away and train "
                "again."
            )
        self.load_state_dict(state)


def seed_of(*parts: int | str) -> int:
    """A seed that depends on all parts, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")
