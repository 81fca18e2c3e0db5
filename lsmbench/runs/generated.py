"""What a generator draws: samples while it is trained, less and less typical ones, and ways between two codes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.module import DataModule
from lsmbench.data.pools import TEST
from lsmbench.methods.base import Method
from lsmbench.runs.context import Run
from lsmbench.runs.results import GENERATED, write_bytes

TIMES, SAMPLES, SEED = 10, 8, 0
TRUNCATIONS = (0.0, 0.5, 0.7, 1.0)
"""Shares ψ of the way from the mean code to a sample's (Karras et al. 2019, §B)."""


class Samples(Callback):
    """Draws samples at every tenth of a generator's training into `generated.npz`; a checkpoint holds those so far.

    Args:
        run: The run.
        number: Of the stage, from 0.
    """

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.epochs = run, run.budgets[number]
        self.drawn: dict[int, NDArray[np.uint8]] = {}

    def state_dict(self) -> dict[str, Any]:
        """The samples, by the tenth of the training."""
        return {"drawn": {tenth: torch.from_numpy(one) for tenth, one in self.drawn.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the samples back."""
        self.drawn = {tenth: one.numpy() for tenth, one in state_dict["drawn"].items()}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws in the epoch that ends a tenth; of several tenths that end in it, for the last."""
        done = trainer.current_epoch + 1
        tenth = TIMES * done // self.epochs
        if trainer.is_global_zero and tenth > TIMES * (done - 1) // self.epochs:
            training = self.run.method.training
            self.run.method.eval()
            self.drawn[tenth] = drawn(self.run.method, self.run.method.sample(SAMPLES, SEED))
            self.run.method.train(training)
            _write(self.run.folder.path, self._arrays())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"tenths": np.array(list(self.drawn)), "training": np.stack(list(self.drawn.values()))}


def save_generated(method: Method, data: DataModule, folder: Path) -> None:
    """Adds to `generated.npz` what the trained generator draws; does nothing for methods without a generator.

    The arrays, of pictures uint8 (H, W, 3): `training` (tenths, 2, n, …), images and masks of the same codes at the
    `tenths` of the training; `truncated` (ψ, 2, n, …) of the same codes, with the shares `psi`; `ways` (w, 2, n, …),
    on straight lines between the codes of two test samples, and `ends` (w, 2), whose test sets are named.
    """
    if method.generator_stage is None:
        return
    method.eval()
    truncated = [drawn(method, method.sample(SAMPLES, SEED, psi)) for psi in TRUNCATIONS]
    ends = _ends(method, data)
    ways = [drawn(method, method.between(views, SAMPLES, SEED)) for _, views in ends]
    arrays: dict[str, NDArray[Any]] = {}
    if (folder / GENERATED).exists():
        with np.load(folder / GENERATED) as held:
            arrays = {name: held[name] for name in ("tenths", "training")}
    arrays |= {"psi": np.array(TRUNCATIONS), "truncated": np.stack(truncated)}
    if ways:
        arrays |= {"ends": np.array([names for names, _ in ends]), "ways": np.stack(ways)}
    _write(folder, arrays)


def _ends(method: Method, data: DataModule) -> list[tuple[tuple[str, str], Tensor]]:
    """Pairs of test samples: two of the first test set, and the first of it with one of each other test set."""
    first: dict[str, Tensor] = {}
    domain = data.domains[method.source]
    for name, numbers in data.test_sets.items():
        if len(numbers := numbers[data.pools.has(method.source, numbers)]) > 1:
            some = numbers[[0, len(numbers) // 2]]
            views = domain.unpack(data.compact(method.source, some)).to(method.device)
            first[name] = views.to(method.dtype)
    if not first:
        return []
    home = TEST if TEST in first else next(iter(first))
    ends = [((home, home), first[home])]
    for name, views in first.items():
        if name != home:
            ends.append(((home, name), torch.stack([first[home][0], views[0]])))
    return ends


def drawn(method: Method, views: dict[str, Tensor]) -> NDArray[np.uint8]:
    """Views of source and target of the same samples, drawn: (2, n, H, W, 3)."""
    return np.stack([method.domains[view].draw(views[view]) for view in (method.source, method.target)])


def _write(folder: Path, arrays: dict[str, NDArray[Any]]) -> None:
    kept = io.BytesIO()
    np.savez_compressed(kept, **arrays)  # type: ignore[arg-type]
    write_bytes(folder / GENERATED, kept.getvalue())
