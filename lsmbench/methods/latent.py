"""What the LSM family shares: an encoder, a latent code and a decoder per view, and links between the codes.

The networks are those of LSM, App. B. Images and masks: a ResNet-6 generator cut in half, and one residual block as the
link (the paper is silent on links between image codes; the block is the released code's). Landmarks: a multilayer
perceptron, and a flattening and a linear layer as the link; images are then encoded by the released code's `native`
network, since the ResNet's code is too large for that link.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.domains import Domain
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.networks.convnet import BLOCKS, ConvDecoder, ConvEncoder
from lsmbench.networks.links import LinearLink, ResnetLink
from lsmbench.networks.mlp import VectorDecoder, VectorEncoder
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.resnet import ResnetDecoder, ResnetEncoder
from lsmbench.options import option

VECTOR_WIDTHS = (64, 256, 1024)
"""Of the encoder of landmarks (LSM, App. B), at every preset: they cost little."""

Shape = tuple[int, ...]
Rows = slice | Tensor
"""Some rows of a batch: a slice where they follow each other, else their numbers."""


@dataclass
class LatentConfig(MethodConfig):
    """Which networks encode and decode."""

    image_encoder: Literal["auto", "resnet", "native"] = option(
        "auto",
        "resnet: half a ResNet-6 generator, codes at a quarter of the side; native: five convolutions with pooling, "
        "codes at 1/32; auto: native where a view is a vector such as landmarks, else resnet",
        source="resnet: LSM, App. B; native: released code for faces",
    )
    norm: Literal["batch", "layer", "none"] = option(
        "batch",
        "Normalisation in native and vector networks; the ResNet has instance normalisation",
        source="released code",
    )


class LatentNetworks(Method):
    """The networks with which x is translated to y as D_y ∘ L_xy ∘ E_x.

    A subclass says which ones it has by `reconstructs` and `both_ways`.
    """

    Config: ClassVar[type[MethodConfig]] = LatentConfig
    config: LatentConfig
    reconstructs: ClassVar[bool] = False
    """Whether both domains have an encoder and a decoder."""
    both_ways: ClassVar[bool] = False
    """Whether target to source is learnt as well."""

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs sides that its image encoder can halve often enough."""
        return cls._fits(dataset.domains, image_encoder(cast(LatentConfig, config), dataset.domains))

    @classmethod
    def _fits(cls, domains: dict[str, Domain], encoder: str) -> tuple[bool, str]:
        multiple = {"resnet": 4, "native": 2**BLOCKS}[encoder]
        for view, domain in domains.items():
            if not domain.is_vector and domain.shape[-1] % multiple:
                return False, f"needs sides that are multiples of {multiple} px, and {view} has {domain.shape[-1]} px"
        return True, ""

    @property
    def directions(self) -> tuple[tuple[str, str], ...]:
        """Source to target, and back if the method learns it."""
        there, back = (self.source, self.target), (self.target, self.source)
        return (there, back) if self.both_ways else (there,)

    def build(self) -> None:
        """Makes encoders, decoders and links."""
        both = (self.source, self.target)
        encoded = both if self.reconstructs or self.both_ways else (self.source,)
        decoded = both if self.reconstructs or self.both_ways else (self.target,)
        self.encoders = nn.ModuleDict({v: self.network(f"encoder_{v}", partial(self._encoder, v)) for v in encoded})
        self.decoders = nn.ModuleDict({v: self.network(f"decoder_{v}", partial(self._decoder, v)) for v in decoded})
        self.links = nn.ModuleDict(
            {f"{s}{t}": self.network(f"link_{s}{t}", partial(self._link, s, t)) for s, t in self.directions}
        )

    def _encoder(self, view: str) -> nn.Module:
        features, filters = self.domains[view].shape[0], FILTERS[self.config.network]
        if self.domains[view].is_vector:
            return VectorEncoder(features, VECTOR_WIDTHS, self.config.norm)
        if self.image_encoder == "native":
            return ConvEncoder(features, filters, self.config.norm)
        return ResnetEncoder(features, filters)

    def _decoder(self, view: str) -> nn.Module:
        features, filters = self.domains[view].shape[0], FILTERS[self.config.network]
        if self.domains[view].is_vector:
            return VectorDecoder(features, VECTOR_WIDTHS, self.config.norm)
        if self.image_encoder == "native":
            return ConvDecoder(features, filters, self.config.norm)
        return ResnetDecoder(features, filters)

    def _link(self, source: str, target: str) -> nn.Module:
        here, there = self.code_shape(source), self.code_shape(target)
        if here == there and self.image_encoder == "resnet":
            return ResnetLink(here[0])
        return LinearLink(here, there)

    @property
    def image_encoder(self) -> str:
        """`resnet` or `native`, after `auto` is resolved."""
        return image_encoder(self.config, self.domains)

    def code_shape(self, view: str) -> Shape:
        """Shape of a view's code without the batch: (C, h, w), or (F,) for a vector."""
        domain, filters = self.domains[view], FILTERS[self.config.network]
        if domain.is_vector:
            return (VECTOR_WIDTHS[-1],)
        if self.image_encoder == "native":
            return (16 * filters, *(side // 2**BLOCKS for side in domain.shape[1:]))
        return (4 * filters, *(side // 4 for side in domain.shape[1:]))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """All encoders, decoders and links."""
        return (self.encoders, self.decoders, self.links)

    def encode(self, view: Tensor, name: str) -> Tensor:
        """The codes of views: E_x(x)."""
        code: Tensor = self.encoders[name](self.domains[name].to_input(view))
        return code

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """D_y ∘ L_xy ∘ E_x (eq. 1)."""
        return self.translate_input(self.domains[source].to_input(view), source, target)

    def translate_input(self, fed: Tensor, source: str, target: str) -> Tensor:
        """The same for network inputs, which may be generated themselves."""
        output: Tensor = self.decoders[target](self.links[f"{source}{target}"](self.encoders[source](fed)))
        return output


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
            absent: Whether the rows are asked for whose samples do *not* show the other view.
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
        """The codes of source views, brought to the target's latent space by the link.

        With `pairs_only` those of samples that show the target too; else all of them.
        """
        pairs = self.beside(source, target)
        if (source, target, False) in self._mapped:
            everything = self._mapped[source, target, False]
            return everything[pairs] if pairs_only else everything
        if (source, target, pairs_only) not in self._mapped:
            code = self.code(source)[pairs] if pairs_only else self.code(source)
            link = self.method.links[f"{source}{target}"]
            self._mapped[source, target, pairs_only] = link(code) if len(code) else code
        return self._mapped[source, target, pairs_only]


class LatentMethod(LatentNetworks):
    """A method of the LSM family: its losses are over codes, which are computed once a step."""

    groups: ClassVar[tuple[str, ...]] = ("mappers",)

    def prepare(self, batch: Batch) -> LatentViews:
        """Gathers the visible views of each domain; codes are computed on demand."""
        return LatentViews(self, batch)

    def supervised(self, views: LatentViews, source: str, target: str) -> Tensor:
        """Translation loss on the pairs (eq. 2): to encoder and link of the source, decoder of the target."""
        if not views.paired(source, target):
            return self.nothing("mappers")
        output = self.decoders[target](views.mapped(source, target, pairs_only=True))
        return self.domains[target].loss(output, views.visible[target][views.beside(target, source)])

    def reconstruction(self, views: LatentViews, view: str) -> Tensor:
        """Reconstruction loss on every sample that shows the view (eqs. 5 and 6): to its encoder and decoder."""
        if view not in views.visible:
            return self.nothing("mappers")
        return self.domains[view].loss(self.decoders[view](views.code(view)), views.visible[view])


def image_encoder(config: LatentConfig, domains: dict[str, Domain]) -> str:
    """`resnet` or `native`, after `auto` is resolved."""
    if config.image_encoder != "auto":
        return config.image_encoder
    return "native" if any(domain.is_vector for domain in domains.values()) else "resnet"
