"""The latent space of a run's method before and after training, in two dimensions, for pictures in the report."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import DataModule
from lsmbench.data.pools import Numbers
from lsmbench.domains import Category
from lsmbench.methods.base import Method
from lsmbench.runs.pictures import aside, some_with
from lsmbench.runs.results import LATENTS, write_bytes

SAMPLES = 250
"""Most samples of each view."""

_FEWEST = 10
_BATCH, _SIDE = 50, 8
_COMPONENTS, _PERPLEXITY, _STEPS = 50, 30, 500


def save_latents(method: Method, fresh: Callable[[], Method], data: DataModule, folder: Path) -> None:
    """Keeps where latents of some samples lie before and after training in `latents.npz`, for pictures in the report.

    Samples are those of the first part that has the view: a test set, if there is one. Classes are for drawing alone:
    the truth of evaluations, the class beside a view, or what the judge says of real targets. Nothing is kept of
    methods without a shared latent space, of fewer than 10 samples, and of latents that are not all finite.

    The arrays: `before` and `after`, float32 (n, 2), by t-SNE of at most 50 principal components, each by itself;
    `domain` (n,), 0 for the source and 1 for the target, and `domains`, what these are called; `label` (n,), the
    class, -1 where none is known, and `labels`, what the classes are called, (0,) without classes.

    Args:
        method: With the weights that were tested.
        fresh: Makes the method again, with its initial weights.
        data: Where samples are taken from.
        folder: The run's.
    """
    views = (method.source, method.target)
    numbers = [some_with(view, data, SAMPLES) for view in views]
    if sum(map(len, numbers)) < _FEWEST or not all(map(len, numbers)):
        return
    with torch.random.fork_rng([method.device] if method.device.type == "cuda" else []):
        after = _codes(method, data, numbers)
        if after is None:
            return
        first = fresh()
        first.learnt.update(method.learnt)
        before = _codes(first.to(method.device, method.dtype), data, numbers)
        labels = np.concatenate([_classes(data, v, n, method.device) for v, n in zip(views, numbers, strict=True)])
    if before is None or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return
    kept = io.BytesIO()
    np.savez_compressed(
        kept,
        before=_in_the_plane(before),
        after=_in_the_plane(after),
        domain=np.repeat(np.arange(2, dtype=np.int8), list(map(len, numbers))),
        domains=np.array(views),
        label=labels.astype(np.int16),
        labels=np.array(data.domains[method.target].categories if (labels >= 0).any() else (), np.str_),
    )
    write_bytes(folder / LATENTS, kept.getvalue())


@torch.no_grad()
def _codes(method: Method, data: DataModule, numbers: list[Numbers]) -> NDArray[np.float32] | None:
    """Latents of source and target samples, (n, d), maps of more than 8 × 8 averaged to that; `None` without any."""
    method.eval()
    codes = []
    with aside(method), method.averages_in_use():
        for view, some in zip((method.source, method.target), numbers, strict=True):
            for at in range(0, len(some), _BATCH):
                given = data.domains[view].unpack(data.compact(view, some[at : at + _BATCH])).to(method.device)
                code = method.latents(given.to(method.dtype) if given.is_floating_point() else given, view)
                if code is None:
                    return None
                if code.ndim == 4 and max(code.shape[2:]) > _SIDE:
                    code = F.adaptive_avg_pool2d(code, _SIDE)
                codes.append(code.flatten(1).float().cpu())
    found: NDArray[np.float32] = torch.cat(codes).numpy()
    return found


def _classes(data: DataModule, view: str, numbers: Numbers, device: torch.device) -> NDArray[np.int64]:
    """The class of each sample, (n,); -1 where none is known."""
    dataset, pools, target = data.dataset, data.pools, data.domains[data.dataset.target]
    unknown = np.full(len(numbers), -1, np.int64)
    if not target.categories:
        return unknown
    for beside, holder in dataset.beside.items():
        named = data.domains[beside]
        if holder == view and isinstance(named, Category) and named.names == target.categories:
            known = pools.has(beside, numbers)
            unknown[known] = data.compact(beside, numbers[known]).numpy()
            return unknown
    truth = dataset.target if view == dataset.target else dataset.truths.get(dataset.target, dataset.target)
    known = pools.has(truth, numbers)
    if known.any():
        if truth in data.domains:
            views = data.domains[truth].unpack(data.compact(truth, numbers[known]))
        else:
            views = torch.from_numpy(np.asarray(pools.take(truth, numbers[known])))
        unknown[known] = target.comparable(views.to(device), views.to(device))[1].cpu().numpy()
    return unknown


def _in_the_plane(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Codes (n, d) in two dimensions, (n, 2); on one machine always the same, whatever the number of threads."""
    # Loading them takes a second, and not every run has latents.
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, import-untyped, unused-ignore]

    count, size = codes.shape
    spread = float(codes.std(0).max())
    if spread == 0:
        return np.zeros((count, 2), np.float32)
    with threadpool_limits(limits=1):
        components = min(_COMPONENTS, count, size)
        parts = PCA(components, svd_solver="randomized", random_state=0).fit_transform(codes / spread)
        start = np.zeros((count, 2), np.float32)
        start[:, : min(2, components)] = parts[:, :2] / max(float(parts[:, 0].std()), 1e-12) * 1e-4
        near = min(_PERPLEXITY, (count - 1) / 3)
        tsne = TSNE(2, perplexity=near, max_iter=_STEPS, init=start, random_state=0)
        placed: NDArray[np.float32] = tsne.fit_transform(parts).astype(np.float32)
    return placed
