"""What the LSM family shares: an encoder, a latent code and a decoder per view, and links between the codes.

The networks are those of LSM, App. B: a ResNet-6 generator cut in half, and one residual block as the link (the paper
is silent on links between image codes; the block is the released code's).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from lsmbench.data.base import Dataset
from lsmbench.data.module import Batch
from lsmbench.domains import Image, Mask
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.networks.links import ResnetLink
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.resnet import ResnetDecoder, ResnetEncoder


class LatentViews:
    """The visible views of one step and their codes, each computed once, when first asked for.

    Args:
        method: The method whose networks encode.
        batch: The visible views.
    """

    def __init__(self, method: LatentMethod, batch: Batch) -> None:
        self.method = method
        self.visible: dict[str, Tensor] = {}
        self.pairs = sum(len(next(iter(views.values()))) for shown, views in batch.items() if len(shown) > 1)
        for view in (method.source, method.target):
            parts = [batch[s][view] for s in sorted(batch, key=len, reverse=True) if view in s]  # pairs come first
            if parts:
                self.visible[view] = torch.cat(parts)
        self._codes: dict[str, Tensor] = {}
        self._mapped: dict[tuple[str, str, bool], Tensor] = {}

    def code(self, view: str) -> Tensor:
        """The codes of all visible views of a domain, pairs first; of length zero where none is visible."""
        if view not in self._codes:
            seen = self.visible.get(view)
            empty = torch.zeros(0, device=self.method.device)
            self._codes[view] = empty if seen is None else self.method.encode(seen, view)
        return self._codes[view]

    def mapped(self, source: str, target: str, *, pairs_only: bool) -> Tensor:
        """The codes of the source views, brought to the target's latent space by the link."""
        if (source, target, False) in self._mapped:
            everything = self._mapped[source, target, False]
            return everything[: self.pairs] if pairs_only else everything
        if (source, target, pairs_only) not in self._mapped:
            code = self.code(source)[: self.pairs] if pairs_only else self.code(source)
            link = self.method.links[f"{source}{target}"]
            self._mapped[source, target, pairs_only] = link(code) if len(code) else code
        return self._mapped[source, target, pairs_only]


class LatentMethod(Method):
    """A method that translates x to y as D_y ∘ L_xy ∘ E_x.

    A subclass says which networks it has by `reconstructs` and `both_ways`.
    """

    groups: ClassVar[tuple[str, ...]] = ("mappers",)
    reconstructs: ClassVar[bool] = False
    """Whether both domains have an encoder and a decoder."""
    both_ways: ClassVar[bool] = False
    """Whether target to source is learnt as well."""

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs images or masks on both sides."""
        for view, domain in dataset.domains.items():
            if not isinstance(domain, Image | Mask):
                return False, f"has no networks for a view of kind {domain.kind} ({view})"
        return True, ""

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Source to target, and back if the method learns it."""
        there, back = (self.source, self.target), (self.target, self.source)
        return (there, back) if self.both_ways else (there,)

    def build(self) -> None:
        """Makes encoders, decoders and links."""
        filters = FILTERS[self.config.network]
        both = (self.source, self.target)
        encoded = both if self.reconstructs or self.both_ways else (self.source,)
        decoded = both if self.reconstructs or self.both_ways else (self.target,)

        def encoder(view: str) -> nn.Module:
            return self.network(f"encoder_{view}", lambda: ResnetEncoder(self.domains[view].shape[0], filters))

        def decoder(view: str) -> nn.Module:
            return self.network(f"decoder_{view}", lambda: ResnetDecoder(self.domains[view].shape[0], filters))

        def link(name: str) -> nn.Module:
            return self.network(f"link_{name}", lambda: ResnetLink(4 * filters))

        self.encoders = nn.ModuleDict({view: encoder(view) for view in encoded})
        self.decoders = nn.ModuleDict({view: decoder(view) for view in decoded})
        self.links = nn.ModuleDict({f"{s}{t}": link(f"{s}{t}") for s, t in self.directions})

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The only group of most methods holds all encoders, decoders and links."""
        return (self.encoders, self.decoders, self.links)

    def prepare(self, batch: Batch) -> LatentViews:
        """Gathers the visible views of each domain; codes are computed on demand."""
        return LatentViews(self, batch)

    def encode(self, view: Tensor, name: str) -> Tensor:
        """The codes of views: E_x(x)."""
        code: Tensor = self.encoders[name](self.domains[name].to_input(view))
        return code

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """D_y ∘ L_xy ∘ E_x (eq. 1)."""
        output: Tensor = self.decoders[target](self.links[f"{source}{target}"](self.encode(view, source)))
        return output

    def supervised(self, views: LatentViews, source: str, target: str) -> Tensor:
        """Translation loss on the pairs (eq. 2): to encoder and link of the source, decoder of the target."""
        if not views.pairs:
            return self.nothing("mappers")
        output = self.decoders[target](views.mapped(source, target, pairs_only=True))
        return self.domains[target].loss(output, views.visible[target][: views.pairs])

    def reconstruction(self, views: LatentViews, view: str) -> Tensor:
        """Reconstruction loss on every sample that shows the view (eqs. 5 and 6): to its encoder and decoder."""
        if view not in views.visible:
            return self.nothing("mappers")
        return self.domains[view].loss(self.decoders[view](views.code(view)), views.visible[view])
