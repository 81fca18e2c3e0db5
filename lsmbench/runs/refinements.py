"""What is kept of a refinement: losses and scores over its steps, and pictures of a few test samples on the way."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.module import INDEX, DataModule, Views, scored_by
from lsmbench.evaluations import Refine
from lsmbench.methods.base import Method
from lsmbench.methods.refinement import Code
from lsmbench.metrics import SampleMetric
from lsmbench.runs.pictures import spread
from lsmbench.runs.results import REFINEMENT, write_bytes

SHOWN = (0, 10, 20, 50, 100, 200, 400)
"""The steps that are scored and drawn, as far as a refinement goes, beside its last one."""

SAMPLES = 3
"""Samples of each test set that are drawn."""


class Trace(L.Callback):
    """Follows the codes of test samples: the loss at every step, scores and pictures at a few.

    Scores and pictures are those of the codes of a step, and what an evaluation scores are each sample's best codes.
    Where a refinement ends early (`Refinement.patience`), later values are those of the samples that went on.

    Args:
        method: Whose codes are refined.
        data: Its test sets.
        evaluation: What refines them; it is given `watch`.
        trainer: What it tests by: as its callback, the trace knows which samples a batch holds.
        tell: Called after every step, with how many samples × steps are done, and how many there are.
    """

    def __init__(
        self,
        method: Method,
        data: DataModule,
        evaluation: Refine,
        trainer: L.Trainer,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.method, self.data, self.tell = method, data, tell
        self.steps = evaluation.config.refine_steps
        self.shown = [*(step for step in SHOWN if step < self.steps), self.steps]
        self.sets = {name: _Set(self, name) for name in evaluation.test_sets(data)}
        self.total = sum(len(one.numbers) for one in self.sets.values()) * max(1, self.steps)
        self._batch: Any = None
        self._done = self._now = 0
        evaluation.watch = self.watch
        trainer.callbacks.append(self)  # type: ignore[attr-defined]

    def on_test_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, _: int = 0) -> None:
        """Takes note of the samples that are refined next."""
        self._batch = batch

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, _: int = 0
    ) -> None:
        """Counts the samples, which may have needed fewer steps."""
        self._done, self._now = self._done + self._now * max(1, self.steps), 0
        self.tell(self._done, self.total)

    def watch(self, step: int, losses: Tensor, code: Code) -> None:
        """Is told of each step, as `Refinement.watch`."""
        self._now = len(losses)
        self.tell(self._done + self._now * step, self.total)
        if self.steps:
            with torch.no_grad():
                self.sets[self.data.test_set].add(step, losses, code, self._batch)

    def save(self, folder: Path) -> None:
        """Writes `refinement.npz`, unless nothing was refined.

        The arrays, for T test sets, S shown steps and M drawn samples: `sets` (T,), the test sets' names; `loss`
        (T, steps + 1), the mean over samples at every step; `steps` (S,); `score` (T, S), by the primary metric;
        `index` (M,), the samples' numbers, `name` (M,) if they have names, and `of` (M,), their test sets' numbers;
        `source` (M, H, W, 3) and, if there is a truth to draw, `target`, uint8; `reconstruction` and `prediction`
        (S, M, H, W, 3), uint8; and `losses` and `scores` (S, M), each sample's own.
        """
        sets = [one for one in self.sets.values() if one.pictures]
        if not self.steps or not sets:
            return
        index = np.concatenate([sorted(one.pictures) for one in sets])
        drawn = [one.pictures[number] for one in sets for number in sorted(one.pictures)]
        names = self.data.pools.names(index)
        each = [[picture.at(step) for picture in drawn] for step in self.shown]
        arrays: dict[str, Any] = {
            "sets": np.array([one.name for one in sets]),
            "loss": np.stack([one.loss for one in sets]),
            "steps": np.array(self.shown),
            "score": np.array([[one.score(step) for step in self.shown] for one in sets]),
            "index": index,
            "of": np.repeat(np.arange(len(sets)), [len(one.pictures) for one in sets]),
            "source": np.stack([picture.source for picture in drawn]),
        }
        arrays |= {name: np.array([[one[name] for one in step] for step in each]) for name in each[0][0]}
        arrays |= {} if names is None else {"name": np.array(names)}
        arrays |= {} if drawn[0].target is None else {"target": np.array([picture.target for picture in drawn])}
        kept = io.BytesIO()
        np.savez_compressed(kept, **arrays)
        write_bytes(folder / REFINEMENT, kept.getvalue())


class _Picture:
    """A drawn sample: its views, and at each shown step what it has become."""

    def __init__(self, source: NDArray[np.uint8], target: NDArray[np.uint8] | None) -> None:
        self.source, self.target = source, target
        self.steps: dict[int, dict[str, Any]] = {}

    def at(self, step: int) -> dict[str, Any]:
        """At a step, or at the last shown one before it."""
        return self.steps[max(shown for shown in self.steps if shown <= step)]


class _Set:
    """One test set."""

    def __init__(self, trace: Trace, name: str) -> None:
        data, method = trace.data, trace.method
        self.name, self.trace = name, trace
        self.numbers = data.scored(data.test_sets[name])
        units = data.pools.units(self.numbers) or self.numbers.tolist()
        self.drawn = set(self.numbers[spread(units, SAMPLES)].tolist())
        self.metrics: list[SampleMetric] = [method.domains[method.target].metrics()[0] for _ in trace.shown]
        self.pictures: dict[int, _Picture] = {}
        self._sums = torch.zeros(trace.steps + 1, dtype=torch.float64)
        self._counts = np.zeros(trace.steps + 1)

    @property
    def loss(self) -> NDArray[np.float64]:
        """The mean loss at every step."""
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = self._sums.cpu().numpy() / self._counts
        return mean

    def score(self, step: int) -> float:
        """The primary score at a shown step; NaN if no sample came so far."""
        metric = self.metrics[self.trace.shown.index(step)]
        return float(metric.compute()) if metric.update_count else math.nan

    def add(self, step: int, losses: Tensor, code: Code, batch: Views) -> None:
        """Adds a step of a batch."""
        self._sums = self._sums.to(losses.device)
        self._sums[step] += losses.double().sum()
        self._counts[step] += len(losses)
        if step not in self.trace.shown:
            return
        method = self.trace.method
        source, target, numbers = method.source, method.target, batch[INDEX].tolist()
        decided = method.decided(code.decode(target), target)
        compared = method.domains[target].comparable(decided, batch[method.truths.get(target, target)])
        metric = self.metrics[self.trace.shown.index(step)].to(losses.device)
        metric.update(*compared, scored_by(metric, batch))
        rows = [row for row, number in enumerate(numbers) if number in self.drawn]
        if not rows:
            return
        given = method.domains[source].draw(batch[source][rows].cpu())
        made = method.domains[source].draw(method.decided(code.decode(source)[rows], source).cpu())
        truth = batch[target][rows].cpu() if target in batch else None
        said = method.domains[target].overlay(decided[rows].cpu(), given, truth)
        for i, row in enumerate(rows):
            number = numbers[row]
            if number not in self.pictures:
                true = None if truth is None else method.domains[target].overlay(truth, given)[i]
                self.pictures[number] = _Picture(given[i], true)
            self.pictures[number].steps[step] = {
                "reconstruction": made[i],
                "prediction": said[i],
                "losses": float(losses[row]),
                "scores": float(metric.values[-1][row]),
            }
