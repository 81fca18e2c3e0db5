"""What the LSM family shares: translations through latent codes, and the codes of a step, each computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.methods.refinement import Code, Refinement
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.translators import LatentOptions, LatentTranslator, encoder_misfit

Rows = slice | Tensor
"""Some rows of a batch: a slice where they follow each other, else their numbers."""


@dataclass
class LatentConfig(LatentOptions, MethodConfig):
    """Options of the whole family."""


class LatentMethod(Method):
    """A method of the LSM family: x is translated to y as D_y ∘ L_xy ∘ E_x, and losses are over codes.

    A subclass says by `has_code` and `both_ways` which networks it has, and gives losses for `mappers`.
    """

    Config: ClassVar[type[MethodConfig]] = LatentConfig
    config: LatentConfig
    groups: ClassVar[tuple[str, ...]] = ("mappers",)
    has_code: ClassVar[bool] = False
    """Whether both domains have an encoder and a decoder, so that x is decoded from its code, too."""

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs a greatest side that its image encoder can halve often enough."""
        shapes = shapes_of(dataset)
        reason = encoder_misfit(shapes, LatentTranslator.image_encoder_for(cast(LatentConfig, config), shapes))
        return not reason, reason

    def build(self) -> None:
        """Makes encoders, decoders and links."""
        shapes, filters = {v: self.domains[v].shape for v in self.views}, FILTERS[self.config.network]
        self.translator = LatentTranslator(
            shapes, self.directions, self.network, filters, self.config, autoencodes=self.has_code
        )

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """All encoders, decoders and links."""
        return (self.translator,)

    def encode(self, view: Tensor, name: str) -> Tensor:
        """The codes of views: E_x(x)."""
        return self.translator.encode(self.domains[name].to_input(view), name)

    def latents(self, view: Tensor, name: str) -> Tensor | None:
        """Codes in the target's space, where the link leads; `None` if the target has no encoder."""
        if self.target not in self.translator.encoders:
            return None
        codes = self.encode(view, name)
        return codes if name == self.target else self.translator.link(codes, name, self.target)

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """D_y ∘ L_xy ∘ E_x (eq. 1)."""
        return cast(Tensor, self.translator(self.domains[source].to_input(view), source, target))

    def code(self, view: Tensor, source: str, seeds: Sequence[int], how: Refinement) -> Code:
        """E_x(x), refined until D_x makes x of it."""
        return LatentCode(self, view, source, how)

    def prepare(self, batch: Batch) -> LatentViews:
        """Collects the visible views of each domain; codes are computed when first asked for."""
        return LatentViews(self, batch)

    def supervised(self, views: LatentViews, source: str, target: str) -> Tensor:
        """Translation loss on the pairs (eq. 2); reaches the source's encoder, the link and the target's decoder."""
        if not views.paired(source, target):
            return self.nothing("mappers")
        output = self.translator.decode(views.mapped(source, target, pairs_only=True), target)
        return self.domains[target].loss(output, views.visible[target][views.beside(target, source)])

    def reconstruction(self, views: LatentViews, view: str) -> Tensor:
        """Reconstruction loss on every sample that shows the view (eqs. 5, 6); reaches its encoder and decoder."""
        if view not in views.visible:
            return self.nothing("mappers")
        return self.domains[view].loss(self.translator.decode(views.code(view), view), views.visible[view])


class LatentCode(Code):
    """Codes E_x(x) + s·u, where s is the spread of a view's code: u is optimised, and starts at 0.

    The loss is the domain's own of D_x against x, as in training, and λ3 times the mean of u².

    Args:
        method: Has an encoder and a decoder of the source.
        view: Views of the source.
        source: Which view that is.
        how: λ3.
    """

    def __init__(self, method: LatentMethod, view: Tensor, source: str, how: Refinement) -> None:
        self.method, self.view, self.source, self.how = method, view, source, how
        with torch.no_grad():
            self.start = method.encode(view, source)
            rows = self.start.flatten(1)
            self.spread = rows.std(1).view(-1, *[1] * (self.start.ndim - 1))
        self.moved = torch.zeros_like(self.start)

    @property
    def tensors(self) -> list[Tensor]:
        """The moves u."""
        return [self.moved]

    def losses(self) -> Tensor:
        """Reconstruction and pull, (B,)."""
        output, domain = self.decode(self.source), self.method.domains[self.source]
        misses = [domain.loss(output[i : i + 1], self.view[i : i + 1]) for i in range(len(output))]
        return torch.stack(misses) + self.how.w_encoder * self.moved.square().flatten(1).mean(1)

    def decode(self, name: str) -> Tensor:
        """D_x of the code, or D_y of the code after the link."""
        code, networks = self.start + self.spread * self.moved, self.method.translator
        return networks.decode(code if name == self.source else networks.link(code, self.source, name), name)


class LatentViews:
    """The visible views of one step and their codes, each computed once, when first asked for.

    Samples that show the most views come first. Which rows of a domain belong to which group is kept, so that two
    views of the same samples can be found whatever other views a sample shows.

    Args:
        method: The method whose networks encode.
        batch: The visible views.
    """

    def __init__(self, method: LatentMethod, batch: Batch) -> None:
        self.method = method
        self.visible: dict[str, Tensor] = {}
        self._rows: dict[str, dict[ViewSet, slice]] = {}
        self._codes: dict[str, Tensor] = {}
        self._mapped: dict[tuple[str, str, bool], Tensor] = {}
        shown = sorted(batch, key=len, reverse=True)
        for view in method.views:
            groups = [group for group in shown if view in group]
            if groups:
                ends = np.cumsum([len(batch[group][view]) for group in groups]).tolist()
                self._rows[view] = {g: slice(a, b) for g, a, b in zip(groups, [0, *ends], ends, strict=False)}
                self.visible[view] = torch.cat([batch[group][view] for group in groups])

    def beside(self, view: str, other: str, absent: bool = False) -> Rows:
        """The rows of a view whose samples show another view too, in the same order for both views.

        Args:
            view: Whose rows.
            other: The other view.
            absent: Whether to give the rows whose samples do *not* show the other view instead.
        """
        found = [r for group, r in self._rows.get(view, {}).items() if (other in group) is not absent]
        if all(one.stop == following.start for one, following in pairwise(found)):
            return slice(found[0].start, found[-1].stop) if found else slice(0, 0)
        return torch.cat([torch.arange(rows.start, rows.stop) for rows in found])

    def paired(self, view: str, other: str) -> bool:
        """Whether any sample shows both views."""
        return any(other in group for group in self._rows.get(view, {}))

    def code(self, view: str) -> Tensor:
        """The codes of all visible views of a domain; of length zero where none is visible."""
        if view not in self._codes:
            seen = self.visible.get(view)
            empty = torch.zeros(0, device=self.method.device)
            self._codes[view] = empty if seen is None else self.method.encode(seen, view)
        return self._codes[view]

    def mapped(self, source: str, target: str, *, pairs_only: bool) -> Tensor:
        """The codes of source views after the link, in the target's latent space.

        Args:
            source: The view that is encoded.
            target: The view whose latent space the link leads to.
            pairs_only: Whether to give the codes of samples that show the target too; else of all samples.
        """
        pairs = self.beside(source, target)
        if (source, target, False) in self._mapped:
            everything = self._mapped[source, target, False]
            return everything[pairs] if pairs_only else everything
        if (source, target, pairs_only) not in self._mapped:
            code = self.code(source)[pairs] if pairs_only else self.code(source)
            linked = self.method.translator.link(code, source, target) if len(code) else code
            self._mapped[source, target, pairs_only] = linked
        return self._mapped[source, target, pairs_only]


def shapes_of(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Shapes of the network inputs of a dataset's source and target, by view."""
    return {view: dataset.domains[view].shape for view in sorted((dataset.source, dataset.target))}
