"""DeepJDOT: a classifier carried to another domain by optimal transport of features and classes together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.classifying import ClassifyingMethod, Labelled
from lsmbench.methods.phases import Phase, Stage
from lsmbench.networks.deepjdot import LEAST, Features, classifier
from lsmbench.networks.presets import FILTERS
from lsmbench.options import option


@dataclass
class DeepJDOTConfig(MethodConfig):
    """The released code's settings for digits."""

    learning_rate: float = option(2e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="released code")
    w_features: float = option(
        1e-3,
        "α, of the distance of features that are carried onto each other",
        low=1e-6,
        high=10,
        source="released code",
    )
    w_classes: float = option(
        1e-4,
        "λ_t, of the cross-entropy of what is predicted with the class that is carried there",
        low=1e-6,
        high=10,
        source="released code",
    )


@dataclass
class DeepJDOTViews:
    """What a step has; without source or labelled views the rest is `None`.

    Attributes:
        seen: The views.
        labelled: Features g(x) of labelled views and their classes, of the whole batch.
        unlabelled: Features of source views, of the whole batch.
        plan: γ, (A, B), which sums to 1.
    """

    seen: Labelled = field(default_factory=Labelled)
    labelled: tuple[Tensor, Tensor] | None = None
    unlabelled: Tensor | None = None
    plan: Tensor | None = None


class DeepJDOT(ClassifyingMethod):
    """Deep joint distribution optimal transport (Damodaran et al. 2018, eqs. 5 to 7, algorithm 1).

    Features g and a classifier f of them are the same for both domains. In each update the features are first held
    fixed, and a transport plan γ is found that carries the labelled samples of the batch onto the others at the least
    cost (eq. 6); then γ is held fixed, and g and f learn from the labels, and to make that transport cheaper (eq. 7).
    Labels are the target's and samples to be classified the source's; the paper calls them the other way round.

    Batches show all classes of labelled samples equally often. As in the released code, the classifier is trained on
    the labels alone first, here for half as many epochs. Where released code differs: it finds γ by the squared
    distance of probabilities and one-hot classes, where the equation has the cross-entropy that is minimised. It
    standardises images, and pads USPS with zeros to 28 px; here images are in [0, 1], and the source's are brought to
    the target's side, bilinearly. A batch has 500 labelled samples in the paper.
    """

    Config = DeepJDOTConfig
    config: DeepJDOTConfig
    weights: ClassVar = {"labels": 1.0}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The classifier on labels alone, then both domains."""
        labels = Phase("labels", ("classifier",))
        return (
            Stage("labels", (labels,), validated=False, share=0.5),
            Stage("adapt", (Phase("transport", ("classifier",)),), full_budget=True),
        )

    @classmethod
    def misfit(cls, domains: dict[str, Domain], source: str, target: str) -> str:
        """Maps with as many channels."""
        if reason := super().misfit(domains, source, target):
            return reason
        one, other = domains[source].shape, domains[target].shape
        if one[0] != other[0]:
            return f"needs views with as many channels, and {source} has {one[0]}, {target} {other[0]}"
        if other[-1] < LEAST:
            return f"needs sides of {LEAST} px, and {target} has {other[-1]}"
        return ""

    @property
    def balanced(self) -> str | None:
        """Classes of labelled samples."""
        return self.label

    @property
    def side(self) -> int:
        """The target's."""
        return self.domains[self.target].shape[-1]

    def build(self) -> None:
        """Makes g and f.

        Raises:
            UserError: If the views do not fit.
        """
        if reason := self.misfit(self.domains, self.source, self.target):
            raise UserError(f"DeepJDOT {reason}.")
        channels, filters = self.domains[self.target].shape[0], FILTERS[self.config.network]
        self.features = self.network("features", partial(Features, channels, self.side, filters))
        self.classifier = self.network("classifier", partial(classifier, self.classes))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The features with the classifier, g and f."""
        return (self.features, self.classifier)

    def classify(self, view: Tensor, name: str) -> Tensor:
        """f(g(x)), logits (B, K)."""
        return cast(Tensor, self.classifier(self.latents(view, name)))

    def latents(self, view: Tensor, name: str) -> Tensor:
        """g(x)."""
        return cast(Tensor, self.features(self.feed(view, name)))

    def prepare(self, batch: Batch) -> DeepJDOTViews:
        """Computes features once for all terms, and finds the transport plan of the whole batch (eq. 6)."""
        seen = self.labelled(batch)
        views = DeepJDOTViews(seen)
        if seen.target is not None and seen.classes is not None:
            views.labelled = self.gathered(self.features(seen.target)), self.gathered(seen.classes)
        if seen.source is None or views.labelled is None or self.stage.name == "labels":
            return views
        views.unlabelled = self.gathered(self.features(seen.source))
        with torch.no_grad():
            distances, errors = self.costs(views)
            cost = self.weight("features") * distances + self.weight("classes") * errors
            views.plan = transport(cost.double().cpu().numpy()).to(cost)
        return views

    def costs(self, views: DeepJDOTViews) -> tuple[Tensor, Tensor]:
        """‖g(x_i) − g(x_j)‖² and the cross-entropy of f(g(x_j)) with the class of i, each (A, B)."""
        assert views.labelled is not None
        assert views.unlabelled is not None
        features, classes = views.labelled
        distances = (features[:, None] - views.unlabelled[None]).square().sum(2)
        return distances, -F.log_softmax(self.classifier(views.unlabelled), 1).T[classes]

    def losses_labels(self, views: DeepJDOTViews) -> Terms:
        """Cross-entropy of labelled samples."""
        return {"labels": lambda: self.classified(views)}

    def losses_transport(self, views: DeepJDOTViews) -> Terms:
        """Eq. 7: the same, and Σ γ_ij (α ‖g(x_i) − g(x_j)‖² + λ_t CE(y_i, f(g(x_j))))."""
        distances, errors = (None, None) if views.plan is None else self.costs(views)
        return {
            "labels": lambda: self.classified(views),
            "features": lambda: self.carried(views, distances),
            "classes": lambda: self.carried(views, errors),
        }

    def classified(self, views: DeepJDOTViews) -> Tensor:
        """Mean over the labelled samples."""
        if views.labelled is None:
            return self.nothing("classifier")
        features, classes = views.labelled
        return F.cross_entropy(self.classifier(features), classes)

    def carried(self, views: DeepJDOTViews, costs: Tensor | None) -> Tensor:
        """Σ γ_ij c_ij."""
        if views.plan is None or costs is None:
            return self.nothing("classifier")
        return (views.plan * costs).sum()


def transport(cost: NDArray[np.float64]) -> Tensor:
    """The cheapest plan that carries equal shares of A samples onto equal shares of B samples.

    For A = B it is an assignment; otherwise every sample is divided into as many parts as make it one.

    Args:
        cost: (A, B).

    Returns:
        γ, (A, B), float64; its rows sum to 1 / A, its columns to 1 / B.
    """
    parts = np.lcm(*cost.shape)
    over, down = (np.repeat(np.arange(size), parts // size) for size in cost.shape)
    rows, columns = linear_sum_assignment(cost[np.ix_(over, down)])
    plan = np.zeros(cost.shape)
    np.add.at(plan, (over[rows], down[columns]), 1 / parts)
    return torch.from_numpy(plan)
