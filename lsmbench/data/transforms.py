"""Training-time augmentation of maps, by the words of `training.augment`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sized
from random import Random
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.pools import ViewSet
from lsmbench.domains import Category, Domain, Image, LabelColours, Mask
from lsmbench.errors import UserError
from lsmbench.palettes import IGNORED

if TYPE_CHECKING:
    from albumentations import Compose  # type: ignore[import-untyped]


class Augmentation(Protocol):
    """What is done to training views at every draw: a pure function of (seed, group of samples, number of the draw).

    Attributes:
        on_device: Whether it works on the device that the views are on; if not, they are kept on the processor's side.
    """

    on_device: ClassVar[bool]

    def __call__(self, views: dict[str, Tensor], shown: ViewSet, draws: NDArray[np.int64]) -> dict[str, Tensor]:
        """Augments the compact views of some samples of one group.

        Args:
            views: Images as uint8, or as float32 in [0, 1], shape (B, C, S, S); masks as uint8, shape (B, S, S).
            shown: The group: the views that its samples show.
            draws: Number of each sample's draw within the group's endless stream, shape (B,), not negative.

        Returns:
            Views of the same types, shapes and devices; float images stay in [0, 1]. What was given stays as it is.

        Raises:
            ValueError: If there is not one draw for each sample.
        """


class CropFlip:
    """`crop_flip`: enlarges, crops and flips training views.

    Shukla et al. (§3.5) re-scale images to 286×286 px, cut a random 256×256 crop and flip it horizontally with a
    probability of 0.5. Stored views already have the networks' side S, so they are enlarged from S to S·286/256, images
    bicubically and class maps by the nearest pixel. All views of a sample share the crop and the flip; samples, groups
    and draws are independent of each other.

    Args:
        domains: The domain of each view.
        seed: Seed of the augmentation, not negative.
        enlarge: Side before the crop, as a multiple of the networks' side; at least 1 (1: no crop).
        flip: Probability of a horizontal flip, in [0, 1].

    Raises:
        UserError: If a view cannot be augmented, views differ in size, or `enlarge` or `flip` is out of range.
    """

    on_device: ClassVar[bool] = False

    def __init__(self, domains: dict[str, Domain], seed: int, enlarge: float = 286 / 256, flip: float = 0.5) -> None:
        if not enlarge >= 1:
            raise UserError(f"Augmentation: expected enlarge of at least 1, found {enlarge:g}.")
        if not 0 <= flip <= 1:
            raise UserError(f"Augmentation: expected flip, a probability, in [0, 1]; found {flip:g}.")
        self.seed = seed
        self.enlarge = enlarge
        self.flip = flip
        self._nearest: dict[str, bool] = {}
        for view, domain in domains.items():
            if not isinstance(domain, Image | Mask):
                raise UserError(
                    f"Augmentation: view {view} ({domain.kind}) cannot be augmented, only images and masks can: a flip "
                    "would swap points of the left and the right, and a crop would lose points. "
                    "Set training.augment=none."
                )
            self._nearest[view] = domain.nearest
        sides = {view: domain.shape[-1] for view, domain in domains.items()}
        if len(set(sides.values())) > 1:
            found = ", ".join(f"{view} of {side} px" for view, side in sides.items())
            raise UserError(
                f"Augmentation: expected all views of the same size, since they share one crop; found {found}. "
                "Load the views at one size, or set training.augment=none."
            )
        self._side = next(iter(sides.values()))
        self._composed: dict[ViewSet, Compose] = {}

    def __call__(self, views: dict[str, Tensor], shown: ViewSet, draws: NDArray[np.int64]) -> dict[str, Tensor]:
        """As `Augmentation`, sample by sample."""
        _check_draws(views, draws)
        # Albumentations takes a sample's size from its slot `image`, which is the first: images come before masks.
        order = tuple(sorted(views, key=lambda view: self._nearest[view]))
        compose = self._compose(order)
        slots = dict(zip(order, _slots(len(order)), strict=True))
        given = {slot: _channels_last(views[view]) for view, slot in slots.items()}
        taken = {slot: np.empty_like(batch) for slot, batch in given.items()}
        for i, draw in enumerate(draws.tolist()):
            self._reseed(compose, shown, draw)
            made = compose(**{slot: batch[i] for slot, batch in given.items()})
            for slot, filled in taken.items():
                filled[i] = made[slot]
        return {view: _as_given(taken[slots[view]], batch) for view, batch in views.items()}

    def _reseed(self, compose: Compose, shown: ViewSet, draw: int) -> None:
        """Sets the random state of a draw.

        `Compose.set_random_seed` would be as pure and as quick (0.1 ms), but it starts every transform at the same
        random number: over 1,500 seeds the flip had a correlation of -0.86 with the crop's row. With `set_random_state`
        the transforms take their numbers one after the other from one stream.
        """
        stream = np.random.default_rng((self.seed, 17, crc32("\n".join(shown).encode()), draw))
        compose.set_random_state(stream, Random(int(stream.integers(2**63))))

    def _compose(self, order: ViewSet) -> Compose:
        """The transform of a set of views, built once, since building it takes as long as using it."""
        if order not in self._composed:
            # Imported here, since it takes seconds. By default it looks for updates on the internet.
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations as A  # noqa: N812
            import cv2

            # INTER_NEAREST rounds down, which moves maps by up to half a pixel against bicubic images.
            nearest, bicubic = cv2.INTER_NEAREST_EXACT, cv2.INTER_CUBIC
            large = round(self._side * self.enlarge)
            kinds = ["mask" if self._nearest[view] else "image" for view in order]
            self._composed[order] = A.Compose(
                [
                    A.Resize(
                        large,
                        large,
                        # The first slot is `image`. A class map takes that slot only if there is no image.
                        interpolation=nearest if kinds[0] == "mask" else bicubic,
                        mask_interpolation=nearest,
                    ),
                    A.RandomCrop(self._side, self._side),
                    A.HorizontalFlip(p=self.flip),
                ],
                additional_targets=dict(list(zip(_slots(len(order)), kinds, strict=True))[1:]),
            )
        return self._composed[order]


class Moves(NamedTuple):
    """How each of B samples is moved, float64 (B,) each: turned and scaled about its middle, then shifted.

    Attributes:
        angle: Radians, counter-clockwise.
        scale: Factor of lengths; above 1 enlarges.
        right: Shift to the right, in shares of the side.
        down: Shift downwards, in shares of the side.
    """

    angle: NDArray[np.float64]
    scale: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]


class Affine:
    """`affine`: turns, scales and shifts training views at random, a whole batch at once on the device it is on.

    LSTNet (§3) turns digits by up to 10°, scales them by .9 to 1.1 and shifts them by up to 2 px "in each direction";
    all four numbers are taken as uniform, the shift along each axis as one of its own. The paper's views have 28 and
    16 px. Up to 28 px the shift is 2 px at most; larger views are shifted by up to 2/28 of their side.

    All views of a sample are turned, scaled and shifted alike, the shift as a share of each view's side; where views
    of one group differ in size, the largest decides how far. Samples, groups and draws are independent of each other.
    Classes of whole samples pass unchanged.

    Images are interpolated bilinearly, maps of classes take the nearest pixel. What comes in from outside has, in each
    channel, the median of the image's border, which is the ground of a digit, be it black or white; in maps of classes
    it is void if there is void, else the background, or class 0 where there is none.

    Args:
        domains: The domain of each view.
        seed: Seed of the augmentation, not negative.

    Raises:
        UserError: If a view cannot be augmented.
    """

    on_device: ClassVar[bool] = True
    degrees: ClassVar[float] = 10.0
    stretch: ClassVar[float] = 0.1
    pixels: ClassVar[float] = 2.0
    paper_side: ClassVar[int] = 28

    def __init__(self, domains: dict[str, Domain], seed: int) -> None:
        for view, domain in domains.items():
            if not isinstance(domain, Image | Mask | Category):
                raise UserError(
                    f"Augmentation: view {view} ({domain.kind}) cannot be augmented, only images, masks and categories "
                    "can: points could be moved out of the picture. Set training.augment=none."
                )
        self.seed = seed
        self._maps = {view: domain for view, domain in domains.items() if isinstance(domain, Image | Mask)}

    def __call__(self, views: dict[str, Tensor], shown: ViewSet, draws: NDArray[np.int64]) -> dict[str, Tensor]:
        """As `Augmentation`; the same bits in any batch and on any device."""
        _check_draws(views, draws)
        moves = self.moves(shown, draws)
        return {view: self._moved(view, kept, moves) if view in self._maps else kept for view, kept in views.items()}

    def moves(self, shown: ViewSet, draws: NDArray[np.int64]) -> Moves:
        """What is drawn for some samples of a group.

        The numbers of all draws from the batch's first to its last are made in one call: those of the other processes
        too.
        """
        first, last = (int(draws.min()), int(draws.max())) if len(draws) else (0, -1)
        bits = np.random.Philox(np.random.SeedSequence((self.seed, 19, crc32("\n".join(shown).encode()))))
        bits.advance(first)  # a step of Philox gives four numbers, those of one draw
        numbers = np.random.Generator(bits).uniform(-1, 1, (last - first + 1, 4))[draws - first]
        angle, scale, right, down = numbers.T.copy()
        side = max((self._maps[view].size for view in shown if view in self._maps), default=self.paper_side)
        share = self.pixels / min(side, self.paper_side)
        return Moves(np.deg2rad(self.degrees) * angle, 1 + self.stretch * scale, share * right, share * down)

    def _moved(self, view: str, kept: Tensor, moves: Moves) -> Tensor:
        domain = self._maps[view]
        return moved(kept, moves, _outside(domain, kept), domain.nearest)


def moved(views: Tensor, moves: Moves, outside: Tensor, nearest: bool) -> Tensor:
    """Moves maps.

    Sums and products are each rounded as the standard for floating-point numbers says, in an order of their own, so
    that all devices give the same bits; `grid_sample` leaves the order to the device. Without a move, and moved by
    whole pixels, pixels keep their values exactly.

    Args:
        views: uint8, or float32, shape (B, C, S, S) or (B, S, S).
        moves: Of each sample.
        outside: Values of what comes in, shape (B, C) or (1, C).
        nearest: Whether pixels take the nearest pixel's value; else bilinear interpolation.

    Returns:
        The same type and shape.
    """
    maps = views if views.ndim == 4 else views[:, None]
    count, channels, side = maps.shape[:3]
    numbers = [
        np.cos(moves.angle) / moves.scale,
        np.sin(moves.angle) / moves.scale,
        moves.right * side,
        moves.down * side,
    ]
    along, across, right, down = torch.from_numpy(np.stack(numbers)).float().to(views.device)[..., None]
    # Where each pixel comes from: the inverse of the move, about the middle, (B, S, S).
    middle = (side - 1) / 2
    steps = torch.arange(side, device=views.device, dtype=torch.float32) - middle
    u, v = steps - right, steps - down
    columns = (along * u + middle)[:, None, :] - (across * v)[:, :, None]
    rows = (along * v + middle)[:, :, None] + (across * u)[:, None, :]
    rows, columns = rows.clamp_(-1, side), columns.clamp_(-1, side)
    # A frame of what is outside: one pixel before, and two behind, so that every pixel has one after it.
    width = side + 3
    ground = outside[:, :, None, None].to(maps.dtype if nearest else torch.float32)
    frame = ground.expand(count, -1, -1, -1).repeat(1, 1, width, width)
    frame[:, :, 1 : side + 1, 1 : side + 1] = maps
    pixels = frame.flatten()
    planes = torch.arange(count * channels, device=views.device).view(count, channels, 1, 1) * width**2
    top, left = (rows.round(), columns.round()) if nearest else (rows.floor(), columns.floor())
    places = (top.long().mul_(width).add_(left.long())[:, None] + (planes + width + 1)).flatten()

    def at(further: int) -> Tensor:
        return pixels[further:].index_select(0, places).view(maps.shape)

    if nearest:
        return at(0).view(views.shape)
    beside, below = (columns - left)[:, None], (rows - top)[:, None]
    upper, lower = (_between(at(row), at(row + 1), beside) for row in (0, width))
    made = _between(upper, lower, below)
    return (made.round_().to(views.dtype) if views.dtype == torch.uint8 else made).view(views.shape)


AUGMENTATIONS: dict[str, Callable[[dict[str, Domain], int], Augmentation]] = {"crop_flip": CropFlip, "affine": Affine}
"""The augmentations by the words of `training.augment`; `none` is none of them."""


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation, which overwrites both: `lerp` rounds differently on different devices."""
    return first.add_(second.sub_(first).mul_(share))


def _outside(domain: Image | Mask, maps: Tensor) -> Tensor:
    """What comes into maps from outside, (B, C) or (1, C)."""
    if isinstance(domain, Mask):
        return torch.tensor([[IGNORED if domain.void else domain.background or 0]], device=maps.device)
    if isinstance(domain, LabelColours):
        return torch.tensor([(domain.palette.void or domain.palette.colours)[0]], device=maps.device)
    edges = [maps[:, :, 0], maps[:, :, -1], maps[:, :, :, 0], maps[:, :, :, -1]]
    border = torch.cat(edges, 2).sort(2).values  # `median` is not deterministic on all devices
    return border[:, :, border.shape[2] // 2]


def _check_draws(views: dict[str, Tensor], draws: Sized) -> None:
    for view, batch in views.items():
        if len(batch) != len(draws):
            raise ValueError(f"view {view}: {len(batch)} samples but {len(draws)} draws")


def _slots(number: int) -> list[str]:
    """Names for albumentations in place of the views' names, some of which could have a meaning there."""
    return ["image", *(f"view{i}" for i in range(1, number))]


def _channels_last(batch: Tensor) -> NDArray[np.generic]:
    """Views of shape (B, C, H, W) or (B, H, W) as (B, H, W, C)."""
    maps = batch if batch.ndim == 4 else batch[:, None]
    array: NDArray[np.generic] = maps.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def _as_given(made: NDArray[np.generic], batch: Tensor) -> Tensor:
    """Augmented maps of shape (B, H, W, C) in the form of the views they were made from."""
    if made.dtype == np.float32:
        made = np.clip(made, 0.0, 1.0)  # bicubic interpolation overshoots at edges
    maps = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
    return (maps if batch.ndim == 4 else maps[:, 0]).to(batch.device)
