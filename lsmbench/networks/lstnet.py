"""LSTNet's networks: encoders and generators of two domains with shared halves, and discriminators (Table 1).

The table prints two numbers where domains differ, the first for MNIST of 28 px, the second for USPS of 16 px. Sides of
both domains meet in latents of one side, here 7 px, by a `Plan` for each domain; for other sides `find_plans` searches
the choices that the table has. The table's stride of 3 in the encoders' last layer is taken for a misprint of 1: with
3, generators do not give images of their domain's side back.

Where the paper names nothing, these are Keras's defaults: LeakyReLU of slope .3, batch normalisation with a momentum of
.99 (.01 in torch's words) and an ε of 1e-3, initial weights of Glorot, biases of 0. Padding is "same", but with odd
kernels the same on both sides of a map, where TensorFlow puts what is odd at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.init import init_xavier

SLOPE, MOMENTUM, EPSILON = 0.3, 0.01, 1e-3

LEAST = 7
"""Least side of a latent in pixels: the paper's."""

STRIDES = ((2, 2), (2, 1), (1, 1))
"""Of the second and third layer: of domain 1, of domain 2, and for images of a quarter of the other domain's side."""

Named = Callable[[str, Callable[[], nn.Module]], nn.Module]
"""Makes a network, having set the seed that belongs to its name: `Method.network`."""


@dataclass(frozen=True)
class Plan:
    """How the networks of one domain come from its images to latents and back: what Table 1 leaves to the domain.

    Attributes:
        side: Of the images, in pixels.
        strides: Of the encoder's layers 2 and 3; of the generator's layers 4 and 5.
        valid: Whether the encoder's fourth layer, the generator's third and the discriminator's fourth have a kernel of
            2 without padding ("K2-V") rather than one of 3 with it.
    """

    side: int
    strides: tuple[int, int]
    valid: bool

    @property
    def latent(self) -> int:
        """Side of the latents."""
        return ceil(ceil(self.side / self.strides[0]) / self.strides[1]) - self.valid

    @property
    def restored(self) -> int:
        """Side of generated images."""
        return (self.latent + self.valid) * self.strides[0] * self.strides[1]

    @property
    def works(self) -> bool:
        """Whether generated images have the side of the domain's, and latents are large enough."""
        return self.restored == self.side and self.latent >= LEAST

    @property
    def judged(self) -> int:
        """Side of the map that the discriminator's last layer reads."""
        return ceil((ceil(ceil(self.side / self.strides[1]) / 2) - self.valid) / 2)


def find_plans(first: int, second: int) -> tuple[Plan, Plan] | None:
    """The plans of two domains by which their latents have one side.

    The larger domain's images are at least halved. Of several plans, those are taken that have the least kernels of 2,
    then those of the smallest latents. Images of 28 and 16 px have Table 1's plans.

    Args:
        first: Side of the first domain's images in pixels.
        second: Side of the second domain's.

    Returns:
        A plan for each, in the order of the arguments; `None` if there are none.
    """
    if first < second:
        found = find_plans(second, first)
        return None if found is None else (found[1], found[0])
    ones, others = (
        [plan for plan in (Plan(side, *choice) for choice in product(strides, (False, True))) if plan.works]
        for side, strides in ((first, STRIDES[:2]), (second, STRIDES))
    )
    meeting = [(one, other) for one, other in product(ones, others) if one.latent == other.latent]
    return min(meeting, key=lambda both: (sum(plan.valid for plan in both), both[0].latent), default=None)


def nearest_sides(first: int, second: int, count: int = 3) -> list[tuple[int, int]]:
    """Sides that have plans, by how much they differ from the given ones in all.

    Args:
        first: Side of the first domain's images in pixels.
        second: Side of the second domain's; if it is equal, so are the sides that are found.
        count: How many to give.
    """
    if first < second:
        return [(one, other) for other, one in nearest_sides(second, first, count)]

    def change(sides: tuple[int, int]) -> tuple[int, int]:
        return abs(sides[0] - first) + abs(sides[1] - second), -sides[0]

    found = {sides for sides in _possible(2 * LEAST, 4 * first + 2 * LEAST) if first != second or len({*sides}) == 1}
    return sorted(found, key=change)[:count]


def _possible(least: int, most: int) -> Iterator[tuple[int, int]]:
    """All pairs of sides that have plans, the larger side first, and that from `least` to `most`."""
    for side in range(least, most + 1):
        latents = {plan.latent for s, v in product(STRIDES[:2], (False, True)) if (plan := Plan(side, s, v)).works}
        for latent, (one, two), valid in product(latents, STRIDES, (False, True)):
            if (other := (latent + valid) * one * two) <= side:
                yield side, other


class _Block(nn.Sequential):
    """A convolution or its transpose, batch normalisation, LeakyReLU."""

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
        norm = nn.BatchNorm2d(convolution.out_channels, eps=EPSILON, momentum=MOMENTUM)
        super().__init__(convolution, norm, nn.LeakyReLU(SLOPE, inplace=True))


def _down(narrow: int, wide: int, kernel: int, stride: int = 1, valid: bool = False) -> _Block:
    """CONV of Table 1: out = ⌈in / stride⌉, or in − 1 where it is valid."""
    size, padding = (2, 0) if valid else (kernel, kernel // 2)
    return _Block(nn.Conv2d(narrow, wide, size, stride, padding))


def _up(narrow: int, wide: int, kernel: int, stride: int = 1, valid: bool = False) -> _Block:
    """DCONV of Table 1: out = in · stride, or in + 1 where it is valid."""
    size, padding = (2, 0) if valid else (kernel, kernel // 2)
    return _Block(nn.ConvTranspose2d(narrow, wide, size, stride, padding, stride - 1))


class _Pooling(nn.Module):
    """MaxPooling-(K2) with "same" padding: out = ⌈in / stride⌉. What is padded is never the greatest."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B, C, H, W)."""
        if self.stride == 1:
            maps = F.pad(maps, (0, 1, 0, 1), value=-torch.inf)
        return F.max_pool2d(maps, 2, self.stride, ceil_mode=True)


def _judging(narrow: int, wide: int, kernel: int, pool: int, valid: bool = False) -> nn.Sequential:
    """CONV, LeakyReLU, MaxPooling of Table 1."""
    size, padding = (2, 0) if valid else (kernel, kernel // 2)
    convolution = nn.Conv2d(narrow, wide, size, padding=padding)
    return nn.Sequential(convolution, nn.LeakyReLU(SLOPE, inplace=True), _Pooling(pool))


def own_encoder(channels: int, filters: int, plan: Plan) -> nn.Module:
    """E_i*, the encoder's layers 1 to 4: (B, channels, side, side) to (B, 8 · filters, latent, latent)."""
    f, (one, two) = filters, plan.strides
    return init_xavier(
        nn.Sequential(
            _down(channels, f, 7),
            _down(f, 2 * f, 5, one),
            _down(2 * f, 4 * f, 3, two),
            _down(4 * f, 8 * f, 3, valid=plan.valid),
        )
    )


def shared_encoder(filters: int) -> nn.Module:
    """E_s, layers 5 and 6: (B, 8 · filters, h, w) to latents (B, 2 · filters, h, w)."""
    return init_xavier(nn.Sequential(_down(8 * filters, 4 * filters, 3), _down(4 * filters, 2 * filters, 3)))


def shared_generator(filters: int) -> nn.Module:
    """G_s, the generator's layers 1 and 2: latents (B, 2 · filters, h, w) to (B, 4 · filters, h, w)."""
    return init_xavier(nn.Sequential(_up(2 * filters, 2 * filters, 3), _up(2 * filters, 4 * filters, 3)))


def own_generator(channels: int, filters: int, plan: Plan) -> nn.Module:
    """G_i*, layers 3 to 7: (B, 4 · filters, latent, latent) to (B, channels, side, side), unbounded.

    The table's tanh is left to the domain.
    """
    f, (one, two) = filters, plan.strides
    return init_xavier(
        nn.Sequential(
            _up(4 * f, 8 * f, 3, valid=plan.valid),
            _up(8 * f, 4 * f, 3, one),
            _up(4 * f, 2 * f, 5, two),
            _up(2 * f, f, 7),
            nn.ConvTranspose2d(f, channels, 1),
        )
    )


def image_discriminator(channels: int, filters: int, plan: Plan) -> nn.Module:
    """D_i: images (B, channels, side, side) to logits (B, 1), above 0 for real ones. The table's sigmoid is left out.

    The stride of the second pooling is that of the encoder's third layer.
    """
    f = filters
    return init_xavier(
        nn.Sequential(
            _judging(channels, f, 3, 1),
            _judging(f, 2 * f, 3, plan.strides[1]),
            _judging(2 * f, 4 * f, 5, 2),
            _judging(4 * f, 8 * f, 3, 2, plan.valid),
            nn.Flatten(),
            nn.Linear(8 * f * plan.judged**2, 1),
        )
    )


def latent_discriminator(filters: int, side: int) -> nn.Module:
    """D_l: latents (B, 2 · filters, side, side) to logits (B, 1), above 0 for latents of domain 1."""
    f = filters
    return init_xavier(
        nn.Sequential(
            _judging(2 * f, 4 * f, 3, 1),
            _judging(4 * f, 8 * f, 3, 2),
            _judging(8 * f, 4 * f, 3, 1),
            nn.Flatten(),
            nn.Linear(4 * f * ceil(side / 2) ** 2, 1),
        )
    )


class SharedTranslator(nn.Module):
    """Encoders E_i = E_s ∘ E_i* and generators G_i = G_i* ∘ G_s of two domains (Friedjungová et al. 2020, §2).

    The shared halves are called for each domain apart. In training they normalise each domain by statistics of its own,
    and at test time both by running ones of both domains; the paper does not say how that is.

    Args:
        shapes: Shapes (C, H, W) of the network inputs by domain.
        plans: The plan of each domain.
        network: Makes the networks by the names `encoder_x`, `generator_y`, `encoder_shared` and `generator_shared`.
        filters: Filters of the first convolution, 64 in the paper.

    Raises:
        ValueError: If a plan does not fit the side of its domain's images, or latents have different sides.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], plans: Mapping[str, Plan], network: Named, filters: int = 64
    ) -> None:
        super().__init__()
        for view, plan in plans.items():
            if {plan.side, plan.restored} != {*shapes[view][1:]}:
                raise ValueError(f"images of {view} have sides {shapes[view][1:]}: {plan} gives {plan.restored}")
        if len({plan.latent for plan in plans.values()}) > 1:
            raise ValueError(f"latents have different sides: {', '.join(f'{v} {p.latent}' for v, p in plans.items())}")
        self.own_encoders = nn.ModuleDict(
            {v: network(f"encoder_{v}", partial(own_encoder, shapes[v][0], filters, plan)) for v, plan in plans.items()}
        )
        self.shared_encoder = network("encoder_shared", partial(shared_encoder, filters))
        self.shared_generator = network("generator_shared", partial(shared_generator, filters))
        self.own_generators = nn.ModuleDict(
            {
                v: network(f"generator_{v}", partial(own_generator, shapes[v][0], filters, plan))
                for v, plan in plans.items()
            }
        )

    def encode(self, fed: Tensor, view: str) -> Tensor:
        """E_i: network inputs (B, C, H, W) of a domain to latents (B, 2 · filters, h, w)."""
        return cast(Tensor, self.shared_encoder(self.own_encoders[view](fed)))

    def generate(self, codes: Tensor, *views: str) -> list[Tensor]:
        """G_i: latents (B, 2 · filters, h, w) to network outputs of each named domain."""
        shared = self.shared_generator(codes)
        return [self.own_generators[view](shared) for view in views]

    def forward(self, fed: Tensor, source: str, target: str) -> Tensor:
        """G_target ∘ E_source: network inputs of the source to network outputs of the target."""
        return self.generate(self.encode(fed, source), target)[0]
