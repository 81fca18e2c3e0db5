"""Training-time augmentation of maps: enlarge, crop at random, flip at random."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.pools import ViewSet
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError

if TYPE_CHECKING:
    from albumentations import Compose  # type: ignore[import-untyped]


class Augmentation:
    """Enlarges, crops and flips training views, as a pure function of (seed, group of samples, number of the draw).

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
        """Augments the compact views of some samples of one group.

        Args:
            views: Images as uint8, or as float32 in [0, 1], shape (B, C, S, S); masks as uint8, shape (B, S, S).
            shown: The group: the views that its samples show.
            draws: Number of each sample's draw within the group's endless stream, shape (B,), not negative.

        Returns:
            New views of the same types, shapes and devices; float images stay in [0, 1].

        Raises:
            ValueError: If there is not one draw for each sample.
        """
        for view, batch in views.items():
            if len(batch) != len(draws):
                raise ValueError(f"view {view}: {len(batch)} samples but {len(draws)} draws")
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
