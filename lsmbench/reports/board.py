"""Every result on disk as boards of comparable runs: benchmarks and single runs alike."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lsmbench.benchmarks.plan import BENCHMARK, FLOORS, Manifest, PlannedRun, Published, Span, Unit, is_floor
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.reports import contents
from lsmbench.reports.contents import DAMAGE, RUNS, Contents, load_result
from lsmbench.reports.table import Cell, Column, ScoreKey, Table, tabulate
from lsmbench.runs.config import flat, setting_of
from lsmbench.runs.results import RESULT, Failure, Result

_PRUNED = {"checkpoints"}
_TIE = 1e-9  # relative; smaller differences are those of rounding

Seeds = tuple[Any, Any]
Place = tuple[Unit, float] | None
"""Where a run stands in a table: at an N, or (`None`) at every N because its method uses no pairs."""


@dataclass(frozen=True)
class Source:
    """Where runs come from.

    Attributes:
        name: The benchmark's word, or the folder of runs that were trained on their own.
        folder: The benchmark's folder, or that folder of runs.
        manifest: The benchmark's plan; `None` for runs that are part of no benchmark's plan.
    """

    name: str
    folder: Path
    manifest: Manifest | None = None


@dataclass(frozen=True)
class Run:
    """A finished run on disk.

    Attributes:
        result: What it left.
        folder: Its folder.
        source: Where it comes from.
        copies: Other folders that hold the same run.
    """

    result: Result
    folder: Path
    source: Source
    copies: tuple[Path, ...] = ()


@dataclass(frozen=True)
class BoardRow:
    """One method in one setting: its runs differ in N and seeds only.

    Attributes:
        key: Unique within the board, and the same in every reading of the same results.
        label: The word that its benchmark calls it by, the method's name, or which floor it is.
        method: The method's word.
        summary: One line about the method; may be empty.
        sources: Where its runs come from.
        differs: What tells it from rows of the same label, e.g. `learning_rate 0.001`; empty if the label does.
        size: The benchmark's size or, without one, the networks'.
        protocol: How samples are supervised, e.g. `bank`.
        floor: Whether it is a trivial predictor, which does not compete.
        tuned: Whether a sweep found its parameters; `None` if its benchmark did not ask for that.
        cells: One per column of the board.
        ranks: One per column, 1 for the best mean; `None` for floors and without a mean.
        wall_s: Mean wall time of its runs.
        parameters: Numbers of trained parameters.
    """

    key: str
    label: str
    method: str
    summary: str
    sources: tuple[Source, ...]
    differs: tuple[str, ...]
    size: str
    protocol: str
    floor: bool
    tuned: bool | None
    cells: tuple[Cell, ...]
    ranks: tuple[int | None, ...]
    wall_s: float | None
    parameters: Span | None

    @property
    def independent(self) -> bool:
        """Whether its runs use no pairs, so that the same ones stand at every N."""
        return all(cell.independent for cell in self.cells)


@dataclass(frozen=True)
class Board:
    """Results that compare: same protocol version, data, test samples and metric.

    Attributes:
        key: Unique among the boards, and the same in every reading of the same results.
        label: What to call it, long enough to tell it from the other boards of its dataset.
        dataset: The dataset's word.
        fingerprint: The data's.
        protocol: The protocol's version.
        score: Metric and direction of translation that methods are compared by.
        unit: What the score means.
        higher_is_better: Direction of the metric.
        pooled: Whether a run's score is one value over all test samples together, not a mean over samples.
        samples: Numbers of `train`, `val` and `test` samples, as far as they are known.
        views: The views, as the dataset words them.
        columns: The values of N, percentages first, the greatest first.
        rows: Methods and floors, in order of the benchmarks.
        runs: Every run of the board by its identity.
        published: Papers' values that stand in a row.
    """

    key: str
    label: str
    dataset: str
    fingerprint: str
    protocol: str
    score: ScoreKey
    unit: str
    higher_is_better: bool
    pooled: bool
    samples: dict[str, int]
    views: dict[str, str]
    columns: tuple[Column, ...]
    rows: tuple[BoardRow, ...]
    runs: dict[str, Run]
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Survey:
    """What folders hold.

    Attributes:
        boards: By dataset, the newest protocol first, then by number of runs.
        problems: Sentences about files that could not be used.
        untested: Number of runs without a test, such as trials of sweeps.
    """

    boards: tuple[Board, ...]
    problems: tuple[str, ...]
    untested: int


def boards(folders: Iterable[Path]) -> list[Board]:
    """Reads every result below some folders; see `survey`, which also tells what could not be read."""
    return list(survey(folders).boards)


def survey(folders: Iterable[Path]) -> Survey:
    """Reads every result below some folders.

    A run that lies in several folders counts once in a mean. Runs are averaged only if they differ in nothing but their
    seeds, whichever folder they lie in.

    Args:
        folders: Where to look, at any depth.

    Returns:
        The boards, and what could not be used. Damaged files are named there, not raised.

    Raises:
        UserError: If a folder is missing.
    """
    benchmarks, homes = _find(folders)
    found: list[Run] = []
    problems: list[str] = []
    plans: list[tuple[Source, Contents]] = []
    for folder in benchmarks:
        try:
            read = contents.read(folder)
        except UserError as error:
            problems.append(str(error))
            continue
        source = Source(read.manifest.name, folder, read.manifest)
        plans.append((source, read))
        problems += [f"{folder}/{problem.message}" for problem in read.problems]
        found += [Run(result, folder / RUNS / result.id, source) for result in (*read.results, *read.left_out)]
    planned = {
        folder / RUNS / run.id for source, read in plans for run in read.manifest.runs for folder in [source.folder]
    }
    untested = 0
    for home in homes:
        if home in planned:
            continue
        try:
            if not Result.load(home).scores:
                untested += 1
                continue
            result = load_result(home)
            _own_place(result)  # raises what cannot be placed
            found.append(Run(result, home, _folder_of(home, plans)))
        except DAMAGE as error:
            problems.append(str(error) if isinstance(error, UserError) else f"{home / RESULT}: {error}.")
    groups: defaultdict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in found:
        groups[_comparable(run.result)].append(run)
    made = [_board(key, runs, plans) for key, runs in groups.items()]
    made.sort(
        key=lambda board: (board.dataset, _newest(board.protocol), -len(board.runs), board.fingerprint, board.key)
    )
    return Survey(tuple(_named(made)), tuple(dict.fromkeys(problems)), untested)


# --- files --------------------------------------------------------------------------------------------------------


def _find(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The folders of benchmarks and of runs below some folders, each once."""
    benchmarks: dict[Path, Path] = {}
    homes: dict[Path, Path] = {}
    for top in folders:
        if not top.is_dir():
            raise UserError(f"{top}: no such folder. Name folders that hold results, such as results and runs.")
        for place, inside, files in os.walk(top):
            inside[:] = sorted(name for name in inside if not name.startswith(".") and name not in _PRUNED)
            path = Path(place)
            if BENCHMARK in files:
                benchmarks.setdefault(path.resolve(), path)
            if RESULT in files:
                homes.setdefault(path.resolve(), path)
    return list(benchmarks.values()), list(homes.values())


def _folder_of(home: Path, plans: Sequence[tuple[Source, Contents]]) -> Source:
    """Where a run lies that is part of no benchmark's plan; it may be of an earlier one, which then names it."""
    for source, _ in plans:
        if home.parent == source.folder / RUNS:
            return Source(f"{source.name}, earlier", home.parent)
    # The plan of a benchmark may be damaged.
    of_benchmark = home.parent.name == RUNS and (home.parent.parent / BENCHMARK).exists()
    return Source(f"{home.parent.parent.name}/{RUNS}" if of_benchmark else home.parent.name, home.parent)


# --- boards -------------------------------------------------------------------------------------------------------


def _comparable(result: Result) -> tuple[Any, ...]:
    """What results of one board share."""
    score = result.primary
    samples = hashlib.sha256(repr(score.indices).encode()).hexdigest()
    return (
        result.protocol,
        str(result.dataset.get("name", _section(result.config, "dataset").get("name", "unknown"))),
        str(result.dataset.get("fingerprint", "unknown")),
        samples,
        ScoreKey(score.metric, score.source, score.target),
        score.higher_is_better,
    )


def _board(key: tuple[Any, ...], found: Sequence[Run], plans: Sequence[tuple[Source, Contents]]) -> Board:
    protocol, dataset, fingerprint, samples, score, higher = key
    runs: dict[str, Run] = {}
    for run in found:
        one = runs.setdefault(run.result.id, run)
        if one is not run:
            runs[run.result.id] = replace(one, copies=(*one.copies, run.folder))
    lanes = _lanes(found, plans)
    failed = {i: failure for lane in lanes for i, failure in lane.failures.items() if i not in runs}
    tables = [_table(unit, amounts, dataset, score, lanes, runs, failed) for unit, amounts in _units(lanes).items()]
    columns = tuple(column for table in tables for column in table.columns)
    first = found[0].result
    rows = _rows(lanes, tables)
    seen = [cell.published_by for row in rows for cell in row.cells if cell.published_by]
    return Board(
        key="-".join((dataset, fingerprint[:8], f"p{protocol}", *score, samples[:4])),
        label=dataset,
        dataset=dataset,
        fingerprint=fingerprint,
        protocol=protocol,
        score=score,
        unit=first.primary.unit,
        higher_is_better=higher,
        pooled=first.primary.pooled is not None,
        samples={part: n for part in ("train", "val", "test") if isinstance(n := first.dataset.get(part), int)},
        views={str(view): str(words) for view, words in first.dataset.get("views", {}).items()},
        columns=columns,
        rows=tuple(rows),
        runs=runs,
        published=tuple({(block.source, block.note): block for block in seen}.values()),
    )


def _named(made: Sequence[Board]) -> list[Board]:
    """Gives boards labels and keys that tell them apart, in as few words as the other boards of a dataset allow."""
    facets = [_facets(board) for board in made]
    named: list[Board] = []
    for board, mine in zip(made, facets, strict=True):
        told = [board.dataset]
        left = [other for one, other in zip(made, facets, strict=True) if one.dataset == board.dataset]
        for i, facet in enumerate(mine):
            # Size and version are always said, the rest where boards would look alike.
            if facet and (i < 2 or len({other[i] for other in left}) > 1):
                told.append(facet)
            left = [other for other in left if other[i] == facet]
        named.append(replace(board, label=", ".join(told)))
    for attribute in ("label", "key"):
        number: Counter[str] = Counter()
        for i, board in enumerate(named):
            word = getattr(board, attribute)
            number[word] += 1
            if number[word] > 1:
                named[i] = replace(board, **{attribute: f"{word} ({number[word]})"})  # type: ignore[arg-type]
    return named


def _facets(board: Board) -> list[str]:
    """What can tell boards of a dataset apart, the plainest first."""
    sizes = sorted(
        {word.partition("size=")[2].split(",")[0].rstrip(")") for word in board.views.values() if "size=" in word}
    )
    return [
        f"{' and '.join(sizes)} px" if sizes else "",
        f"protocol {board.protocol}",
        f"{sum(board.samples.values())} samples" if board.samples else "",
        f"{board.score.metric} {board.score.source} → {board.score.target}",
        "; ".join(f"{view}: {words}" for view, words in board.views.items()),
        f"data {board.fingerprint[:6]}",
        f"{board.samples.get('test', 0)} test samples",
    ]


def _newest(protocol: str) -> tuple[float, str]:
    """Sorts versions that are numbers with the greatest first."""
    return (-float(protocol), protocol) if protocol.replace(".", "", 1).isdigit() else (math.inf, protocol)


# --- rows ---------------------------------------------------------------------------------------------------------


@dataclass
class _Lane:
    """A row in the making.

    Attributes:
        label: What its benchmark calls it.
        sources: Where its runs come from.
        floor: Kind of a floor; empty for other methods.
        runs: Its runs, finished or not, by identity.
        places: Where each stands.
        settings: The setting at each place.
        taken: The run of each place and seeds.
        results: Its finished runs.
        failures: Its failed ones.
    """

    label: str
    sources: list[Source]
    floor: str = ""
    runs: dict[str, PlannedRun] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    settings: dict[Place, dict[str, Any]] = field(default_factory=dict)
    taken: dict[tuple[Place, Seeds], str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def takes(self, place: Place, one: Result | Failure) -> bool:
        """Whether a run may stand here: nothing but seeds differs from those that stand there already."""
        own = setting_of(one.config)
        # Floors depend on no seed: each number stands once.
        same = not self.floor and self.settings.get(place, own) == own
        return same and self.taken.get((place, _seeds(one.config)), one.id) == one.id

    def add(self, planned: PlannedRun, place: Place, one: Result | Failure) -> None:
        """Puts a run, for which `takes` holds, at its place."""
        self.runs[one.id], self.places[one.id] = planned, place
        self.settings.setdefault(place, setting_of(one.config))
        self.taken[place, _seeds(one.config)] = one.id
        if isinstance(one, Result):
            self.results[one.id] = one
        else:
            self.failures[one.id] = one

    def continues(self, other: _Lane) -> bool:
        """Whether this lane and another are one row: one setting at every N that both have."""
        if self.floor or other.floor:
            return self.floor == other.floor and self._value() == other._value()
        if any(self.taken.get(key, run) != run for key, run in other.taken.items()):
            return False
        shared = self.settings.keys() & other.settings.keys()
        if shared:
            return all(self.settings[place] == other.settings[place] for place in shared)
        first, *more = (*self.settings.values(), *other.settings.values())
        # At different N: only if neither has parameters of its own for some N.
        return (None in self.settings) == (None in other.settings) and all(one == first for one in more)

    def join(self, other: _Lane) -> None:
        """Takes over what another lane holds, for which `continues` holds."""
        self.sources += [source for source in other.sources if source not in self.sources]
        if self.floor:
            return  # the same number once more, which depends on no seed
        for name in ("runs", "places", "settings", "taken", "results", "failures"):
            mine, theirs = getattr(self, name), getattr(other, name)
            mine.update({key: value for key, value in theirs.items() if key not in mine})

    def _value(self) -> float:
        return float(f"{next(iter(self.results.values())).primary.value:.9g}")


def _lanes(found: Sequence[Run], plans: Sequence[tuple[Source, Contents]]) -> list[_Lane]:
    """The rows of a board: those of benchmarks in their order, then those of runs of their own."""
    lanes: list[_Lane] = []
    for source, read in plans:
        mine = {run.result.id: run.result for run in found if run.source is source}
        # What has not ended is counted where most of the benchmark's runs are.
        main = not mine.keys().isdisjoint(result.id for result in read.results)
        failures = {failure.id: failure for failure in read.failures} if main else {}
        to_come: list[tuple[PlannedRun, Place]] = []
        rows: dict[str, list[_Lane]] = {}
        elsewhere = {result.id for result in (*read.results, *read.left_out)} - mine.keys()
        for run in read.manifest.runs:
            place = None if run.paired is None else (read.manifest.unit, run.paired)
            if one := mine.get(run.id) or failures.get(run.id):
                row = rows.setdefault(run.method, [])
                _add(row, row, source, run, place, one)
            elif main and run.id not in elsewhere:
                to_come.append((run, place))
        for run, place in to_come:
            for lane in rows.get(run.method, [])[:1]:
                if not lane.floor:
                    lane.runs[run.id], lane.places[run.id] = run, place
        _merge(lanes, [lane for label in read.manifest.methods for lane in rows.get(label, [])])
    alone: dict[str, list[_Lane]] = {}
    for own_run in (run for run in found if run.source.manifest is None):
        result, place = own_run.result, _own_place(own_run.result)
        planned = PlannedRun(result.id, result.method, place and place[1], _seed(result.config))
        own = setting_of(result.config)
        rows_of = alone.setdefault(result.method, [])
        _add(
            rows_of, [lane for lane in rows_of if own in lane.settings.values()], own_run.source, planned, place, result
        )
    _merge(lanes, [lane for name in sorted(alone) for lane in alone[name]])
    return [lane for lane in lanes if lane.results or lane.failures]


def _add(
    rows: list[_Lane],
    allowed: Sequence[_Lane],
    source: Source,
    planned: PlannedRun,
    place: Place,
    one: Result | Failure,
) -> None:
    """Puts a run into the first of the allowed rows that takes it, or into a new one."""
    lane = next((lane for lane in allowed if lane.takes(place, one)), None)
    if lane is None:
        kind = str(_section(one.config, "method").get("kind") or "constant") if is_floor(one.config) else ""
        if kind and isinstance(one, Failure):
            return  # a floor without a value is none
        rows.append(lane := _Lane(planned.method, [], kind))
    lane.add(planned, place, one)
    if source not in lane.sources:
        lane.sources.append(source)


def _merge(lanes: list[_Lane], more: Sequence[_Lane]) -> None:
    """Adds rows to a board's, joined with those that they continue."""
    for lane in more:
        before = next((one for one in lanes if one.continues(lane)), None)
        if before is None:
            lanes.append(lane)
        else:
            before.join(lane)


def _units(lanes: Sequence[_Lane]) -> dict[Unit, list[float]]:
    """The values of N of a board, the greatest first, by what they count."""
    places: set[tuple[Unit, float]] = {
        p for lane in lanes for i in (*lane.results, *lane.failures) if (p := lane.places[i])
    }
    if not places:  # methods alone that use no pairs
        manifests = [source.manifest for lane in lanes for source in lane.sources if source.manifest]
        places = {(manifest.unit, n) for manifest in manifests for n in manifest.paired}
        places = places or {_amount(result.config) for lane in lanes for result in lane.results.values()}
    units = [unit for unit in Unit if any(place[0] is unit for place in places)]
    return {unit: sorted((n for one, n in places if one is unit), reverse=True) for unit in units}


def _table(
    unit: Unit,
    amounts: Sequence[float],
    dataset: str,
    score: ScoreKey,
    lanes: Sequence[_Lane],
    runs: dict[str, Run],
    failed: dict[str, Failure],
) -> Table:
    """The table of the values of N that count one thing, made as if the board were a benchmark."""
    planned = [
        replace(run, method=str(number))
        for number, lane in enumerate(lanes)
        for run in lane.runs.values()
        if (place := lane.places[run.id]) is None or place[0] is unit
    ]
    manifest = Manifest(
        name="board",
        title="",
        description="",
        dataset=dataset,
        methods=tuple(str(number) for number in range(len(lanes))),
        summaries={},
        paired=tuple(amounts),
        unit=unit,
        seeds=(),
        size=None,
        runs=tuple(planned),
        skipped=(),
        primary_metric=score.metric,
        published=tuple(block for number, lane in enumerate(lanes) for block in _published(str(number), lane, unit)),
        command="",
    )
    return tabulate(manifest, [run.result for run in runs.values()], list(failed.values()))[0]


def _published(row: str, lane: _Lane, unit: Unit) -> list[Published]:
    """What papers report of a row, by its names in its benchmarks that count N so."""
    manifests = [source.manifest for source in lane.sources if source.manifest and source.manifest.unit is unit]
    return [
        replace(block, values={row: block.values[lane.label]}, any_n=(row,) if lane.label in block.any_n else ())
        for manifest in manifests
        for block in manifest.published
        if lane.label in block.values and not lane.floor
    ]


def _rows(lanes: Sequence[_Lane], tables: Sequence[Table]) -> list[BoardRow]:
    made = []
    found = [{row.method: row for row in (*table.rows, *table.floors)} for table in tables]
    differs = _differs(lanes)
    ranks = [
        _ranks([row.cells[i].mean for row in table.rows], table) for table in tables for i in range(len(table.columns))
    ]
    places = [{row.method: i for i, row in enumerate(table.rows)} for table in tables for _ in table.columns]
    for number, lane in enumerate(lanes):
        rows = [table[str(number)] for table in found if str(number) in table]
        ended: list[Result | Failure] = [*lane.results.values(), *lane.failures.values()]
        config = ended[0].config
        manifests = [source.manifest for source in lane.sources if source.manifest]
        network = _section(config, "method").get("network")
        tuned = next((manifest.tuned for manifest in manifests if manifest.tuned is not None), None)
        label = FLOORS.get(lane.floor, f"floor ({lane.floor})") if lane.floor else lane.label
        made.append(
            BoardRow(
                key="-".join((label, lane.sources[0].name, *differs[number])),
                label=label,
                method=str(_section(config, "method").get("name", lane.label)),
                summary=next((m.summaries[lane.label] for m in manifests if lane.label in m.summaries), ""),
                sources=tuple(lane.sources),
                differs=differs[number],
                size=next((m.size for m in manifests if m.size), "") or str(network or ""),
                protocol=str(_section(config, "supervision").get("protocol", "")),
                floor=bool(lane.floor),
                tuned=None if tuned is None or lane.floor else any(use.row == lane.label for use in tuned),
                cells=tuple(_renamed(cell, str(number), lane.label) for row in rows for cell in row.cells),
                ranks=tuple(
                    rank[place[str(number)]] if str(number) in place else None
                    for rank, place in zip(ranks, places, strict=True)
                ),
                wall_s=rows[0].wall_s,
                parameters=rows[0].parameters,
            )
        )
    return made


def _renamed(cell: Cell, row: str, label: str) -> Cell:
    """A cell whose runs and published value go by the label again, not by the row's number."""
    runs = tuple(replace(one, run=replace(one.run, method=label)) for one in cell.runs)
    by = cell.published_by
    if by is not None:
        by = replace(by, values={label: by.values[row]}, any_n=(label,) if by.any_n else ())
    return replace(cell, runs=runs, published_by=by)


def _differs(lanes: Sequence[_Lane]) -> list[tuple[str, ...]]:
    """What tells rows of one name apart, among those of the same benchmark and among those of none."""
    names = [(lane.label, lane.floor, next((s.name for s in lane.sources if s.manifest), "")) for lane in lanes]
    values = [dict(pair for inside in lane.settings.values() for pair in flat(inside)) for lane in lanes]
    told: list[tuple[str, ...]] = []
    for number, name in enumerate(names):
        alike = [values[i] for i, other in enumerate(names) if other == name]
        keys = dict.fromkeys(key for one in alike for key in one)
        varying = [key for key in keys if any(one.get(key) != alike[0].get(key) for one in alike)]
        said = [f"{key.rpartition('.')[2]} {values[number].get(key, 'unset')}" for key in varying]
        if len(alike) > 1 and not varying:
            said = [f"run {next(iter(lanes[number].runs))}"]
        told.append(() if lanes[number].floor else tuple(said))
    return told


def _ranks(means: Sequence[float | None], table: Table) -> list[int | None]:
    """Places in order of the mean, equal ones shared; none without a mean."""
    sign = -1 if table.higher_is_better else 1
    known = [sign * mean for mean in means if mean is not None]

    def rank(mean: float) -> int:
        return 1 + sum(one < mean and not math.isclose(one, mean, rel_tol=_TIE) for one in known)

    return [None if mean is None else rank(sign * mean) for mean in means]


# --- configurations -----------------------------------------------------------------------------------------------


def _own_place(result: Result) -> Place:
    """Where a run of its own stands, by the rule that benchmarks follow."""
    place = _amount(result.config)
    kind = METHODS.get(result.method)
    no_pairs = is_floor(result.config) or (kind is not None and not kind.uses_pairs and place[1] == 0)
    return None if no_pairs else place


def _amount(config: dict[str, Any]) -> tuple[Unit, float]:
    supervision = _section(config, "supervision")
    count = supervision.get("paired_count")
    return (Unit.PERCENT, float(supervision.get("paired", 100.0))) if count is None else (Unit.PAIRS, float(count))


def _seeds(config: dict[str, Any]) -> Seeds:
    return _section(config, "supervision").get("supervision_seed"), _section(config, "training").get("init_seed")


def _seed(config: dict[str, Any]) -> int | None:
    _, seed = _seeds(config)
    return seed if isinstance(seed, int) else None


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}
