"""LSTNet: translation without pairs, through a latent space in which domains cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.domains import Domain, signed
from lsmbench.errors import UserError
from lsmbench.losses import bce_to
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.methods.phases import linear_decay
from lsmbench.networks.lstnet import (
    SharedTranslator,
    find_plans,
    image_discriminator,
    latent_discriminator,
    nearest_sides,
)
from lsmbench.networks.presets import FILTERS
from lsmbench.options import option

PAPER = "LSTNet, §3"


@dataclass
class LSTNetConfig(MethodConfig):
    """The paper's settings."""

    learning_rate: float = option(1e-4, "Adam's learning rate", low=1e-6, high=1e-1, source=PAPER)
    beta1: float = option(0.8, "Adam's decay of the mean gradient", source=PAPER)
    beta2: float = option(0.999, "Adam's decay of the mean squared gradient", source=PAPER)
    schedule: Literal["constant", "linear"] = option(
        "constant",
        "Of the learning rate. linear: constant for half of the epochs, then towards zero",
        source="the paper names one rate",
        counts="if_changed",
    )
    w_an1: float = option(
        20.0, "w1, of J_AN1: real images of domain 1 and translated ones", low=0.1, high=1e3, source=PAPER
    )
    w_an2: float = option(
        20.0, "w2, of J_AN2: real images of domain 2 and translated ones", low=0.1, high=1e3, source=PAPER
    )
    w_anl: float = option(30.0, "wl, of J_ANl: latents of domain 1 and of domain 2", low=0.1, high=1e3, source=PAPER)
    w_cc1: float = option(100.0, "w3, of J_CC1: x1 from its own latent", low=0.1, high=1e4, source=PAPER)
    w_cc2: float = option(100.0, "w4, of J_CC2: x2 from its own latent", low=0.1, high=1e4, source=PAPER)
    w_cc3: float = option(100.0, "w5, of J_CC3: x1 there and back", low=0.1, high=1e4, source=PAPER)
    w_cc4: float = option(100.0, "w6, of J_CC4: x2 there and back", low=0.1, high=1e4, source=PAPER)
    w_pairs: float = option(
        0.0,
        "Weight of L1 between translations and the true other view, both ways, on pairs; 0 never uses which x and y "
        "belong together",
        low=0.0,
        high=1e4,
        source="the paper has no pairs",
    )
    saturating: bool = option(
        False,
        "Whether encoders and generators minimise eq. 1 as it is printed; if not, they minimise what discriminators do "
        "with exchanged labels, which has a gradient also where discriminators are sure",
        source="eq. 1: yes; no: as GANs are trained (Goodfellow et al. 2014)",
    )


@dataclass
class LSTNetViews:
    """What a step has of each domain, by view; a view that no sample of the batch shows is absent.

    Attributes:
        real: Network inputs x_i.
        codes: Their latents E_i(x_i).
        own: G_i(E_i(x_i)), in the form of network inputs.
        fake: Translations into the view, from the other one, in the form of network inputs.
        pairs: How many samples are pairs: the first ones of both views, in the same order.
    """

    real: dict[str, Tensor] = field(default_factory=dict)
    codes: dict[str, Tensor] = field(default_factory=dict)
    own: dict[str, Tensor] = field(default_factory=dict)
    fake: dict[str, Tensor] = field(default_factory=dict)
    pairs: int = 0


class LSTNet(Method):
    """Unpaired translation through a shared latent space (Friedjungová et al. 2020, eq. 1).

    Encoders and generators of both domains share their inner halves, and three discriminators judge images of domain 1,
    images of domain 2, and latents. Domain 1 is the view of larger images (MNIST in the paper), of equal ones the view
    whose name comes first; so it does not depend on which view is asked for. Discriminators are updated first, then
    encoders and generators on the same batch (§2.1). Weights scale both teams' losses. J_ANl's labels are 1 for domain
    1 and 0, which the paper calls 2, for domain 2.

    Images are in [-1, 1] with tanh, as in Table 1; masks are probabilities. `lsmbench.networks.lstnet` tells what the
    paper leaves out of its networks. All epochs are trained. The paper says neither how many nor which are tested:
    `training.selection` chooses by validation pairs, which is supervision, or takes the last.

    The method never uses which x and y belong together: it takes the two views of a pair as unpaired samples, and a
    benchmark trains it once per seed. With `w_pairs`, which is not in the paper, it also learns from pairs, at every N.
    """

    Config = LSTNetConfig
    config: LSTNetConfig
    groups = ("discriminators", "translators")
    both_ways = full_budget = True
    weights: ClassVar = dict.fromkeys(("an1_judged", "an2_judged", "anl_judged"), 1.0)
    """Besides the weight of the term of eq. 1."""

    # What it takes ----------------------------------------------------------------------------------------------------

    @classmethod
    def learns_from_pairs(cls, config: MethodConfig) -> bool:
        """Only by `w_pairs`."""
        return cast(LSTNetConfig, config).w_pairs != 0

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs two maps, of sides by which latents can have one side."""
        views = sorted((dataset.source, dataset.target))
        reason = cls.misfit({view: dataset.domains[view] for view in views})
        return not reason, reason

    @classmethod
    def misfit(cls, domains: Mapping[str, Domain]) -> str:
        """Why two views do not fit; else empty."""
        for view, domain in domains.items():
            if domain.is_vector:
                return f"translates maps to maps, and {view} is {domain.kind}"
        sides = tuple(domain.shape[-1] for domain in domains.values())
        if find_plans(*sides):
            return ""
        (x, first), (y, second) = zip(domains, sides, strict=True)
        nearest = ", ".join(f"{one} and {other}" for one, other in nearest_sides(*sides))
        return (
            f"has no strides by which latents of {x} ({first} px) and {y} ({second} px) have one side; the nearest "
            f"sides that work are {nearest} px"
        )

    # Networks ---------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Encoders and generators, and a discriminator of each domain and of latents.

        Raises:
            UserError: If the views do not fit.
        """
        if reason := self.misfit({view: self.domains[view] for view in self.views}):
            raise UserError(f"{type(self).__name__} {reason}.")
        self.domains = {view: signed(domain) for view, domain in self.domains.items()}
        shapes, filters = {view: self.domains[view].shape for view in self.views}, FILTERS[self.config.network]
        self.first, self.second = sorted(self.views, key=lambda view: -shapes[view][-1])
        found = find_plans(shapes[self.first][-1], shapes[self.second][-1])
        assert found is not None
        plans = dict(zip((self.first, self.second), found, strict=True))
        self.translators = SharedTranslator(shapes, plans, self.network, filters)
        self.discriminators = nn.ModuleDict(
            {
                v: self.network(f"discriminator_{v}", partial(image_discriminator, shapes[v][0], filters, plan))
                for v, plan in plans.items()
            }
        )
        self.latent_discriminator = self.network(
            "discriminator_latent", partial(latent_discriminator, filters, found[0].latent)
        )

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The two teams of §2.1."""
        if group == "translators":
            return (self.translators,)
        return (self.discriminators, self.latent_discriminator)

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """By the option `schedule`."""
        return linear_decay(epoch, epochs) if self.config.schedule == "linear" else 1.0

    def encode(self, view: Tensor, name: str) -> Tensor:
        """The latents of views, (B, C, h, w): E_i(x_i)."""
        return self.translators.encode(self.domains[name].to_input(view), name)

    def latents(self, view: Tensor, name: str) -> Tensor:
        """E_i(x_i)."""
        return self.encode(view, name)

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """G_target ∘ E_source (§2)."""
        return cast(Tensor, self.translators(self.domains[source].to_input(view), source, target))

    def prepare(self, batch: Batch) -> LSTNetViews:
        """Encodes and generates once, for both teams; pairs come first."""
        pairs = len(batch[self.pair][self.source]) if self.pair in batch else 0
        views = LSTNetViews(self.inputs(batch), pairs=pairs)
        for view in (self.first, self.second):
            if view in views.real:
                views.codes[view] = self.translators.encode(views.real[view], view)
                there = self.other(view)
                views.own[view], views.fake[there] = self.made(views.codes[view], view, there)
        return views

    def made(self, codes: Tensor, *views: str) -> list[Tensor]:
        """G_i: images of the named domains, in the form of network inputs; differentiable."""
        outputs = self.translators.generate(codes, *views)
        return [self.domains[view].activate(output) for view, output in zip(views, outputs, strict=True)]

    def other(self, view: str) -> str:
        """The other domain's view."""
        return self.second if view == self.first else self.first

    # Losses -----------------------------------------------------------------------------------------------------------

    def weight(self, term: str) -> float:
        """A discriminator's loss has the weight of its term of eq. 1."""
        return super().weight(term.removesuffix("_judged"))

    def losses_discriminators(self, views: LSTNetViews) -> Terms:
        """−J_AN1, −J_AN2 and −J_ANl, which the discriminators minimise."""
        return {
            "an1_judged": lambda: self.judge(views, self.first),
            "an2_judged": lambda: self.judge(views, self.second),
            "anl_judged": lambda: self.judge_latents(views),
        }

    def losses_translators(self, views: LSTNetViews) -> Terms:
        """Eq. 1 for encoders and generators, and L1 on pairs."""
        return {
            "an1": lambda: self.adversarial(views, self.first),
            "an2": lambda: self.adversarial(views, self.second),
            "anl": lambda: self.adversarial_latents(views),
            "cc1": lambda: self.reconstruction(views, self.first),
            "cc2": lambda: self.reconstruction(views, self.second),
            "cc3": lambda: self.cycle(views, self.first),
            "cc4": lambda: self.cycle(views, self.second),
            "pairs": lambda: self.supervised(views, self.first) + self.supervised(views, self.second),
        }

    def judge(self, views: LSTNetViews, view: str) -> Tensor:
        """−J_AN1 = −E log D_1(x_1) − E log(1 − D_1(G_1(E_2(x_2)))), and the same for domain 2."""
        if view not in views.real or view not in views.fake:
            return self.nothing("discriminators")
        judge, fake = self.discriminators[view], self.veiled(views.fake[view], views.real, view).detach()
        return bce_to(judge(views.real[view]), 1.0) + bce_to(judge(fake), 0.0)

    def judge_latents(self, views: LSTNetViews) -> Tensor:
        """−J_ANl = −E log D_l(E_1(x_1)) − E log(1 − D_l(E_2(x_2)))."""
        if len(views.codes) < 2:
            return self.nothing("discriminators")
        one, two = (self.latent_discriminator(views.codes[view].detach()) for view in (self.first, self.second))
        return bce_to(one, 1.0) + bce_to(two, 0.0)

    def adversarial(self, views: LSTNetViews, view: str) -> Tensor:
        """−E log D_1(G_1(E_2(x_2))), saturating E log(1 − D_1(G_1(E_2(x_2)))), and the same for domain 2."""
        if view not in views.fake:
            return self.nothing("translators")
        return self.fooling(self.discriminators[view](self.veiled(views.fake[view], views.real, view)), 0.0)

    def adversarial_latents(self, views: LSTNetViews) -> Tensor:
        """−E log(1 − D_l(E_1(x_1))) − E log D_l(E_2(x_2)), saturating J_ANl; reaches both encoders, no generator."""
        if len(views.codes) < 2:
            return self.nothing("translators")
        one, two = (self.latent_discriminator(views.codes[view]) for view in (self.first, self.second))
        return self.fooling(one, 1.0) + self.fooling(two, 0.0)

    def fooling(self, logits: Tensor, label: float) -> Tensor:
        """The loss of encoders and generators for what discriminators should give a label but are not to."""
        return -bce_to(logits, label) if self.config.saturating else bce_to(logits, 1.0 - label)

    def reconstruction(self, views: LSTNetViews, view: str) -> Tensor:
        """J_CC1 = E |x_1 − G_1(E_1(x_1))|, and J_CC2; MAE, as §2.1 calls the norm."""
        if view not in views.real:
            return self.nothing("translators")
        return self.domains[view].l1(views.own[view], views.real[view])

    def cycle(self, views: LSTNetViews, view: str) -> Tensor:
        """J_CC3 = E |x_1 − G_1(E_2(G_2(E_1(x_1))))|, and J_CC4."""
        if view not in views.real:
            return self.nothing("translators")
        there = self.other(view)
        (back,) = self.made(self.translators.encode(views.fake[there], there), view)
        return self.domains[view].l1(back, views.real[view])

    def supervised(self, views: LSTNetViews, view: str) -> Tensor:
        """L1 between the translation of a pair's other view and the true one."""
        if not views.pairs:
            return self.nothing("translators")
        return self.domains[view].l1(views.fake[view][: views.pairs], views.real[view][: views.pairs])
