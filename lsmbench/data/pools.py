"""Pools: the samples of a dataset, in sets whose samples all have the same views.

Every sample, in training and in test, is a row of a pool. The samples of all pools are numbered through, in the order
of the pools, and everything after the dataset (supervision, batches, scores) knows a sample by its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsmbench.domains import Domain
from lsmbench.errors import UserError

TRAIN, VAL = "train", "val"
TEST = "test"
"""The usual name of a test set; each part that is neither `train` nor `val` is a test set of its own."""

Numbers = NDArray[np.int64]
ViewSet = tuple[str, ...]
"""Names of views in alphabetical order, e.g. `("x", "y")` for a pair and `("x",)` for an x-only sample."""


class Stored(Protocol):
    """The stored views of some samples: a numpy array, or something that reads the rows it is asked for."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, rows: Any, /) -> Any:
        """The rows of these numbers, (n, …)."""


@dataclass(frozen=True)
class Computed:
    """Stored views that are read or computed when they are asked for, such as labels at full resolution.

    Attributes:
        count: Number of rows.
        read: Gives the rows of some numbers, (n, …).
    """

    count: int
    read: Callable[[Numbers], NDArray[np.generic]]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Numbers, /) -> NDArray[np.generic]:
        return self.read(rows)


@dataclass(frozen=True)
class Pool:
    """Samples that all have the same views.

    Attributes:
        name: The pool's word, unique in its dataset.
        views: Stored views by name, all of one length.
        parts: Rows of each part: `train`, `val`, and test sets by name. A row without a part is not used.
        unit: The patient, person or scene of each row, (n,); `None` if every sample is a unit of its own.
        names: What people call each row, e.g. its file below the dataset's folder, (n,); `None` if rows have no names.
    """

    name: str
    views: Mapping[str, Stored]
    parts: Mapping[str, Numbers] = field(default_factory=dict)
    unit: NDArray[np.generic] | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Checks that lengths agree and that no row is in two parts.

        Raises:
            UserError: If they do not, or it is.
        """
        lengths = {view: len(stored) for view, stored in self.views.items()}
        if self.unit is not None:
            lengths["unit"] = len(self.unit)
        if self.names is not None:
            lengths["names"] = len(self.names)
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{count} of {view}" for view, count in lengths.items()) or "no view"
            raise UserError(f"pool {self.name}: expected as many rows of each view, found {found}.")
        rows = np.concatenate([np.zeros(0, np.int64), *self.parts.values()])
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise UserError(f"pool {self.name}: a part names row {rows.max()}, and there are {len(self)} rows.")
        if len(np.unique(rows)) < len(rows):
            raise UserError(f"pool {self.name}: some rows are in several of the parts {', '.join(self.parts)}.")

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))


class Pools:
    """All pools of a dataset, with their samples numbered through.

    Args:
        pools: In order; at least one.
        origin: Who gives them, for messages, e.g. `dataset sit`.
        hidden: Views that only evaluations read; no sample counts as showing them.
        beside: Views that are shown wherever another one is, as `Dataset.beside`; no sample counts as showing them.

    Raises:
        UserError: If names are given twice, or a unit lies in several parts.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        origin: str = "dataset",
        hidden: Iterable[str] = (),
        beside: Mapping[str, str] | None = None,
    ) -> None:
        self.pools = tuple(pools)
        self.origin = origin
        self.hidden = frozenset(hidden)
        self.beside = dict(beside or {})
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise UserError(f"{origin}: expected pools of different names, found {', '.join(names)}.")
        self.starts = np.concatenate([[0], np.cumsum([len(pool) for pool in self.pools])]).astype(np.int64)
        self._check_units()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _check_units(self) -> None:
        part_of: dict[Any, str] = {}
        torn: dict[Any, set[str]] = {}
        for pool in self.pools:
            if pool.unit is None:
                continue
            for part, rows in pool.parts.items():
                for unit in np.unique(pool.unit[rows]).tolist():
                    if part_of.setdefault(unit, part) != part:
                        torn.setdefault(unit, {part_of[unit]}).add(part)
        if torn:
            shown = [f"{unit} ({', '.join(sorted(parts))})" for unit, parts in list(torn.items())[:8]]
            more = f" and {len(torn) - 8} more" if len(torn) > 8 else ""
            raise UserError(
                f"{self.origin}: these units (patients, persons, scenes) lie in several parts of the split, so that a "
                f"test would be on what was trained with: {', '.join(shown)}{more}. Move all samples of a unit to "
                "one part."
            )

    def extended(self, more: Sequence[Pool]) -> Pools:
        """These pools and more, whose samples are numbered after those of these."""
        return self.of((*self.pools, *more)) if more else self

    def of(self, pools: Sequence[Pool]) -> Pools:
        """Other pools, of whose views the same is known."""
        return Pools(pools, self.origin, self.hidden, self.beside)

    # What there is ----------------------------------------------------------------------------------------------------

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """The numbers of each pool's samples: the first, and one beyond the last."""
        return {pool.name: (start, start + len(pool)) for pool, start in self._with_starts()}

    @property
    def views(self) -> tuple[str, ...]:
        """All views that samples can show, in alphabetical order."""
        return tuple(sorted({view for pool in self.pools for view in self.shown_by(pool)}))

    @property
    def test_sets(self) -> tuple[str, ...]:
        """Names of the test sets, in order of first appearance."""
        return tuple(dict.fromkeys(part for pool in self.pools for part in pool.parts if part not in (TRAIN, VAL)))

    def shown_by(self, pool: Pool) -> ViewSet:
        """The views that a pool's samples can show to a method, without those beside them."""
        return tuple(sorted(set(pool.views) - self.hidden - self.beside.keys()))

    def _told_by(self, pool: Pool) -> ViewSet:
        """The views that a method can be told of a pool's samples."""
        return tuple(sorted(set(pool.views) - self.hidden))

    def part(self, name: str) -> Numbers:
        """The samples of a part, in the order of the pools and of the rows in their parts."""
        found = [pool.parts[name] + start for pool, start in self._with_starts() if name in pool.parts]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def train_by_views(self) -> dict[ViewSet, Numbers]:
        """The training samples by the views that they have, in the order of the pools."""
        found: dict[ViewSet, list[Numbers]] = {}
        for pool, start in self._with_starts():
            if len(pool.parts.get(TRAIN, ())):
                found.setdefault(self.shown_by(pool), []).append(pool.parts[TRAIN] + start)
        return {shown: np.concatenate(numbers) for shown, numbers in found.items()}

    # What samples hold ------------------------------------------------------------------------------------------------

    def has(self, view: str, numbers: Numbers) -> NDArray[np.bool_]:
        """Which samples have a view, (n,)."""
        there = np.array([view in pool.views for pool in self.pools], np.bool_)
        return there[self._pool_of(numbers)]

    def take(self, view: str, numbers: Numbers) -> NDArray[np.generic]:
        """The stored views of some samples, all of which have the view: (n, …)."""
        owners = self._pool_of(numbers)
        found: NDArray[np.generic] | None = None
        for k in np.unique(owners).tolist() if len(numbers) else [self._first_with(view)]:
            at = owners == k
            rows: NDArray[np.generic] = np.asarray(self.pools[k].views[view][numbers[at] - self.starts[k]])
            if at.all():
                return rows
            if found is None:
                found = np.empty((len(numbers), *rows.shape[1:]), rows.dtype)
            found[at] = rows
        assert found is not None
        return found

    def units(self, numbers: Numbers) -> list[str] | None:
        """The unit of each sample; `None` if no pool has units."""
        if all(pool.unit is None for pool in self.pools):
            return None
        owners = self._pool_of(numbers)
        named = []
        for number, k in zip(numbers.tolist(), owners.tolist(), strict=True):
            unit = self.pools[k].unit
            named.append(f"sample {number}" if unit is None else str(unit[number - self.starts[k]]))
        return named

    def names(self, numbers: Numbers) -> list[str] | None:
        """What people call each sample; `None` if no pool has names."""
        if all(pool.names is None for pool in self.pools):
            return None
        called = []
        for number, k in zip(numbers.tolist(), self._pool_of(numbers).tolist(), strict=True):
            names = self.pools[k].names
            called.append(f"sample {number}" if names is None else str(names[number - self.starts[k]]))
        # A file's name may hold bytes that are no UTF-8, and no file of results could hold those.
        return [name.encode(errors="backslashreplace").decode() for name in called]

    def by_pool(self, numbers: Numbers) -> list[Numbers]:
        """The samples of each pool apart, in their order; pools without any are left out."""
        owners = self._pool_of(numbers)
        return [numbers[owners == k] for k in range(len(self.pools)) if (owners == k).any()]

    def with_beside(self, shown: ViewSet, numbers: Numbers, wanted: Iterable[str]) -> dict[ViewSet, Numbers]:
        """Samples by the views that are shown of them and the wanted views beside these.

        Args:
            shown: What is shown of all of the samples.
            numbers: The samples.
            wanted: Names of views.
        """
        found = {shown: numbers}
        for view in wanted:
            if self.beside.get(view) in shown:
                parts = {views: self.has(view, some) for views, some in found.items()}
                found = {
                    key: found[views][has == there]
                    for views, has in parts.items()
                    for there, key in ((True, tuple(sorted((*views, view)))), (False, views))
                }
        return {views: some for views, some in found.items() if len(some)}

    def views_at(self, number: int) -> tuple[str, ...]:
        """All views that a sample has, those included that only evaluations read."""
        return tuple(self.pools[int(self._pool_of(np.array([number]))[0])].views)

    def check(self, domains: Mapping[str, Domain]) -> None:
        """Checks the stored views against their domains.

        Raises:
            UserError: As `Domain.check`, naming the pool; or if a view is of no domain.
        """
        for pool in self.pools:
            place = f"{self.origin}, " if len(self.pools) == 1 else f"{self.origin}, pool {pool.name}, "
            for view in self._told_by(pool):
                if view not in domains:
                    raise UserError(f"{place}view {view}: expected one of {', '.join(domains)}.")
                domains[view].check(np.asarray(pool.views[view]), f"{place}view {view}")

    def fingerprint(self, domains: Mapping[str, Domain]) -> str:
        """SHA-256 (first 16 hex digits) over the views' domains and values, parts and units.

        Parts belong to it: moving a file from `train/` to `val/` may leave all values as they are.
        """
        digest = hashlib.sha256()
        for pool in self.pools:
            if len(self.pools) > 1 or pool.unit is not None or set(pool.parts) - {TRAIN, VAL, TEST}:
                units = [] if pool.unit is None else [str(unit) for unit in pool.unit.tolist()]
                digest.update(f"{pool.name}:{list(pool.parts)}:{units}".encode())
            for part in pool.parts.values():
                digest.update(f"{len(part)}:".encode())
                digest.update(np.ascontiguousarray(part, dtype=np.int64).data)
            for view in self._told_by(pool):
                array = np.ascontiguousarray(pool.views[view])
                digest.update(f"{view}:{domains[view]!r}:{array.dtype}:{array.shape}".encode())
                digest.update(array.data)
        return digest.hexdigest()[:16]

    def _with_starts(self) -> Iterable[tuple[Pool, int]]:
        return zip(self.pools, self.starts[:-1].tolist(), strict=True)

    def _pool_of(self, numbers: Numbers) -> NDArray[np.intp]:
        return np.searchsorted(self.starts, numbers, side="right") - 1

    def _first_with(self, view: str) -> int:
        return next(k for k, pool in enumerate(self.pools) if view in pool.views)
