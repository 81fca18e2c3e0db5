"""What methods share that tell the class of source views themselves, in place of translating them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, Views
from lsmbench.data.pools import ViewSet
from lsmbench.domains import Category, Domain
from lsmbench.errors import UserError
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.networks.translators import at_side


@dataclass(frozen=True)
class Labelled:
    """What a step has, as network inputs at the method's `side`; what no sample of the batch shows is `None`.

    Attributes:
        source: Views without labels, (B, C, side, side).
        target: Views with labels, (A, C, side, side).
        classes: Their classes, int64 (A,).
    """

    source: Tensor | None = None
    target: Tensor | None = None
    classes: Tensor | None = None


class ClassifyingMethod(Method):
    """Unsupervised domain adaptation of a classifier: labels from the target, tested on the source.

    It learns from target views with their classes, and from source views without. Its prediction for a source view is
    a class, which is compared with the truth as a judge's verdict on a translated view would be.

    A subclass says in `classify` what it makes of views of either domain.
    """

    uses_pairs = False

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs maps, with classes beside the target."""
        if not [v for v, shown in dataset.beside.items() if shown == dataset.target and _classes(dataset.domains[v])]:
            return False, f"learns from classes of the target, and {dataset.name} has none"
        reason = cls.misfit(dataset.domains, dataset.source, dataset.target)
        return not reason, reason

    @classmethod
    def misfit(cls, domains: dict[str, Domain], source: str, target: str) -> str:
        """Why views do not fit the networks; else empty."""
        for view in (source, target):
            if domains[view].is_vector:
                return f"reads maps, and {view} is {domains[view].kind}"
        return ""

    @property
    def label(self) -> str:
        """The view that is the target's class.

        Raises:
            UserError: If no view is a class.
        """
        if found := [view for view, domain in self.domains.items() if _classes(domain)]:
            return found[0]
        raise UserError(f"{type(self).__name__} learns from classes of the target, and there is no view of classes.")

    @property
    def views(self) -> ViewSet:
        """Source, target and the target's class."""
        return tuple(sorted((self.source, self.target, self.label)))

    @property
    def answer(self) -> Domain:
        """The classes."""
        return self.domains[self.label]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.answer.shape[0]

    @property
    @abstractmethod
    def side(self) -> int:
        """Height and width that views of both domains are brought to, in pixels."""

    @abstractmethod
    def classify(self, view: Tensor, name: str) -> Tensor:
        """Logits (B, K) of views of a domain; `name` is the domain's view."""

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """The most probable classes of source views, int64 (B,)."""
        return self.classify(views[source], source).argmax(1)

    def logits(self, views: Views, source: str, target: str) -> Tensor | None:
        """What `classify` says of source views."""
        return self.classify(views[source], source)

    def feed(self, view: Tensor, name: str) -> Tensor:
        """Views in the form of network inputs, at `side`."""
        return at_side(self.domains[name].to_input(view), self.side)

    def labelled(self, batch: Batch) -> Labelled:
        """The batch's source views, and its target views with their classes."""
        source = [views[self.source] for shown, views in batch.items() if self.source in shown]
        both = [views for shown, views in batch.items() if {self.target, self.label} <= set(shown)]
        return Labelled(
            self.feed(torch.cat(source), self.source) if source else None,
            self.feed(torch.cat([views[self.target] for views in both]), self.target) if both else None,
            torch.cat([views[self.label] for views in both]) if both else None,
        )


def _classes(domain: Domain) -> bool:
    return isinstance(domain, Category)
