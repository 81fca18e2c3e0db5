"""Every result on disk as boards of comparable runs: benchmarks and single runs alike."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lsmbench.benchmarks.plan import Published, Unit
from lsmbench.reports import markup
from lsmbench.reports.frame import FAILED, FINISHED, KEY, Found, read
from lsmbench.reports.table import Origin, Row, ScoreKey, Table, table
from lsmbench.reports.verdict import ranked
from lsmbench.runs.nested import flat

_SHARED = ["protocol", "dataset", "fingerprint", "samples", *KEY, "higher_is_better"]
"""What runs of one board have in common, by the score that methods are compared by."""


@dataclass(eq=False)
class Board:
    """Results that compare: same protocol version, data, test samples and metric.

    Attributes:
        key: Unique among the boards, and the same in every reading of the same results.
        label: What to call it, long enough to tell it from the other boards of its dataset.
        dataset: The dataset's word.
        fingerprint: The data's.
        protocol: The protocol's version.
        samples: Numbers of `train`, `val` and `test` samples, as far as they are known.
        views: The views, as the dataset words them.
        table: Methods and floors × N.
        rows: All of the table's rows, in order of the benchmarks.
        runs: A row per run and folder that it lies in.
    """

    key: str
    label: str
    dataset: str
    fingerprint: str
    protocol: str
    samples: dict[str, int]
    views: dict[str, str]
    table: Table
    rows: tuple[Row, ...]
    runs: pd.DataFrame

    @property
    def trained(self) -> list[str]:
        """The runs, without evaluations of them."""
        return list(dict.fromkeys(self.runs.loc[self.runs["of"].isna(), "run"]))

    @property
    def published(self) -> list[Published]:
        """Papers' values that stand in a row."""
        seen = [cell.published_by for row in self.rows for cell in row.cells if cell.published_by]
        return list({(block.source, block.note): block for block in seen}.values())


def boards(found: Found | Iterable[Path]) -> list[Board]:
    """Sorts runs into boards: by dataset, the newest protocol first, then by number of runs.

    A run that lies in several folders counts once in a mean. Runs are averaged only if they differ in nothing but their
    seeds, whichever folder they lie in.

    Args:
        found: What `frame.read` returned, or the folders to read.
    """
    runs = found.runs if isinstance(found, Found) else read(found).runs
    if runs.empty:
        return []
    primary = runs[runs["primary"] == True].drop_duplicates("folder")  # noqa: E712
    keys = primary.groupby(_SHARED, sort=False).ngroup()
    of_folder = dict(zip(primary["folder"], keys, strict=True))
    board = runs["folder"].map(of_folder)
    # What has not ended is counted where most of the benchmark's runs are.
    most = board.groupby(runs["home"]).agg(lambda numbers: numbers.mode().min())
    board = board.fillna(runs["home"].map(most))
    made = [one for _, group in runs[board.notna()].groupby(board) for one in _boards(group)]
    made.sort(key=lambda b: (b.dataset, _newest(b.protocol), -b.runs["run"].nunique(), b.fingerprint, b.key))
    return _distinguished(made)


def _boards(runs: pd.DataFrame) -> list[Board]:
    """The board of the score that methods are compared by, and those of the same metric on further test sets."""
    done = runs[runs["state"] == FINISHED]
    first = ScoreKey(*done[done["primary"] == True].iloc[0][KEY])  # noqa: E712
    alike = done[(done[KEY[1:]] == list(first[1:])).all(axis=1)]
    others = [first._replace(test_set=name) for name in dict.fromkeys(alike["test_set"]) if name != first.test_set]
    return [_board(runs, key, bool(others)) for key in (first, *others)]


def _board(runs: pd.DataFrame, key: ScoreKey, names_test_set: bool) -> Board:
    done = runs[runs["state"] == FINISHED]
    first = key.of(done).iloc[0]
    # A run that finished in one folder is not awaited in another, and a floor without a value is none.
    runs = runs[(runs["state"] == FINISHED) | ~(runs["run"].isin(done["run"]) | runs["floor"])]
    runs = runs.assign(key=_row_keys(runs, key)).dropna(subset="key")
    heads = runs.drop_duplicates(["key", "home", "origin", "label"]).groupby("key", sort=False)
    scores = runs.drop_duplicates(["key", "run", *KEY]).groupby("key", sort=False)
    rows = [_row(mine, group, key) for (_, mine), (_, group) in zip(heads, scores, strict=True)]
    for row, differs in zip(rows, _differs(rows), strict=True):
        row.method = str(row.config["method"]["name"])
        row.differs, row.key = ", ".join(differs), "-".join((row.label, row.origins[0].name, *differs))
    return Board(
        key="-".join(
            (
                first["dataset"],
                first["fingerprint"][:8],
                f"p{first['protocol']}",
                *(word for word in key if word != "test"),
                first["samples"][:4],
            )
        ),
        label=first["dataset"],
        dataset=first["dataset"],
        fingerprint=first["fingerprint"],
        protocol=first["protocol"],
        samples=first["record"].sizes,
        views={str(view): str(words) for view, words in first["facts"].views.items()},
        table=_table(key, rows, runs, names_test_set or key.test_set != "test"),
        rows=tuple(rows),
        runs=runs[runs["state"] == FINISHED].drop_duplicates("folder"),
    )


def _table(key: ScoreKey, rows: Sequence[Row], runs: pd.DataFrame, names_test_set: bool) -> Table:
    """The board's table, with the ranks that each row may have."""
    made = table(key, rows, _columns(runs), names_test_set=names_test_set)
    for at in range(len(made.columns)):
        cells = [row.cells[at] for row in made.rows]
        for cell, ranks in zip(cells, ranked(cells), strict=True):
            cell.ranks = ranks
    return made


def _row_keys(runs: pd.DataFrame, score: ScoreKey) -> pd.Series:
    """For each line of a board's frame the row that it belongs to; NaN if to none."""
    keys = pd.Series(index=runs.index, dtype=object)
    place = runs["counts"].astype(str) + runs["paired"].astype(str)
    known = runs[runs["setting"].notna() & ~runs["floor"]].assign(place=place)
    for (_, planned, _), group in known.groupby(["home", known["plan"].notna(), "label"], sort=False):
        settings = group["setting"] + group["paired"].isna().map({True: "any N", False: ""})
        at_each = settings.groupby(group["place"]).nunique()
        if planned and settings.nunique() > 1 and at_each.max() == 1:
            # A benchmark's row that has parameters of its own for some N.
            settings = pd.Series(json.dumps(sorted(set(group["place"] + settings))), index=group.index)
        keys.loc[group.index] = settings
    # A run to come belongs to the first row that its benchmark calls by the same word.
    word = runs["home"].astype(str) + "/" + runs["label"]
    keys = keys.fillna(word.map(keys.groupby(word).first()))
    # Equal floors are one number, which depends on no seed.
    mine = score.of(runs)
    values = mine.set_index("folder")["value"]
    for index, folder, label in runs.loc[runs["floor"], ["folder", "row"]].itertuples():
        keys[index] = f"{label} {values[folder]:.9g}"
    # Those of folds are one together.
    dealt = mine[mine["floor"] & mine["folds"].notna()]
    for (_, label, setting), folds in dealt.groupby(["home", "row", "setting"], sort=False):
        said = folds.sort_values("fold")["value"].map("{:.9g}".format)
        whole = (runs["home"] == folds["home"].iloc[0]) & (runs["row"] == label) & (runs["setting"] == setting)
        keys[runs["floor"] & whole] = f"{label} {' '.join(said)}"
    # Two runs of one seed at one N are not averaged.
    once = runs[runs["seeds"].notna() & ~runs["floor"]].drop_duplicates("run")
    fold = once["fold"].fillna(-1).astype(int)
    again = once.groupby([keys[once.index], place[once.index], once["seeds"], fold]).cumcount()
    number = runs["run"].map(dict(zip(once["run"], again, strict=True))).fillna(0).astype(int)
    return keys + number.map(" ({})".format)


def _columns(runs: pd.DataFrame) -> list[tuple[Unit, float]]:
    """The values of N, percentages first, the greatest first."""
    ended = runs[runs["state"].isin([FINISHED, FAILED]) & runs["paired"].notna()]
    places = set(zip(ended["counts"], ended["paired"], strict=True))
    if not places:  # methods alone that use no pairs
        places = {(plan.unit, n) for plan in runs["plan"].dropna() for n in plan.paired}
        places = places or {facts.amount for facts in runs["facts"].dropna()}
    return sorted(places, key=lambda place: (list(Unit).index(place[0]), -place[1]))


def _row(heads: pd.DataFrame, scores: pd.DataFrame, score: ScoreKey) -> Row:
    """A row of a board.

    Args:
        heads: A line for each origin of its runs.
        scores: A line for each run and score.
        score: The board's.
    """
    floor, label = scores[["floor", "row"]].to_numpy()[0]
    origins = [Origin(*line) for line in heads[["origin", "home", "label", "plan"]].itertuples(index=False)]
    plans = [(origin.plan, origin.label) for origin in origins if origin.plan is not None]
    tuned = [plan.uses(word) for plan, word in plans if plan.tuned is not None]
    return Row(
        key="",
        label=label,
        method="",
        scores=scores[scores["run"].isin(_once(scores))] if floor else scores,
        summary=next((plan.summaries[word] for plan, word in plans if word in plan.summaries), ""),
        floor=floor,
        tuned=None if floor or not tuned else tuned[0],
        papers=[
            (plan.unit, word, block)
            for plan, word in plans
            for block in plan.published
            if block.metric == score.metric and not floor
        ],
        origins=origins,
        looks=next((plan.looks for plan, _ in plans if plan.looks is not None), None),
    )


def _once(floors: pd.DataFrame) -> list[str]:
    """Of equal floors the first run, or the first of each fold."""
    return list(floors.drop_duplicates("fold")["run"])


def _differs(rows: Sequence[Row]) -> list[list[str]]:
    """What tells rows of one name apart, among those of the same benchmark and among those of none."""
    names = [(row.label, next((o.name for o in row.origins if o.plan), "")) for row in rows]
    settings = [dict(flat(json.loads(row.scores["setting"].dropna().iloc[-1]))) for row in rows]
    told: list[list[str]] = []
    for row, name, mine in zip(rows, names, settings, strict=True):
        alike = [one for one, other in zip(settings, names, strict=True) if other == name]
        keys = dict.fromkeys(key for one in alike for key in one)
        varying = [key for key in keys if any(one.get(key) != alike[0].get(key) for one in alike)]
        said = [f"{key.rpartition('.')[2]} {mine.get(key, 'unset')}" for key in varying]
        if len(alike) > 1 and not varying:
            said = [f"run {row.scores['run'].iloc[0]}"]
        told.append([] if row.floor else said)
    return told


def _distinguished(made: list[Board]) -> list[Board]:
    """Gives boards labels and keys that tell them apart, in as few words as the other boards of a dataset allow."""
    facets = [_facets(board) for board in made]
    for board, mine in zip(made, facets, strict=True):
        told = [board.dataset]
        left = [other for one, other in zip(made, facets, strict=True) if one.dataset == board.dataset]
        for i, facet in enumerate(mine):
            # Size, version and folds are always said, the rest where boards would look alike.
            if facet and (i < 3 or len({other[i] for other in left}) > 1):
                told.append(facet)
            left = [other for other in left if other[i] == facet]
        board.label = ", ".join(told)
    for attribute in ("label", "key"):
        number: Counter[str] = Counter()
        for board in made:
            word = getattr(board, attribute)
            number[word] += 1
            if number[word] > 1:
                setattr(board, attribute, f"{word} ({number[word]})")
    return made


def _facets(board: Board) -> list[str]:
    """What can tell boards of a dataset apart, the plainest first."""
    sizes = {word.partition("size=")[2].split(",")[0].rstrip(")") for word in board.views.values() if "size=" in word}
    return [
        f"{' and '.join(sorted(sizes))} px" if sizes else "",
        f"protocol {board.protocol}",
        f"{markup.span(board.table.folds)} folds" if board.table.folds else "",
        f"{sum(board.samples.values())} samples" if board.samples else "",
        board.table.title.replace(",", ""),
        "; ".join(f"{view}: {words}" for view, words in board.views.items()),
        f"data {board.fingerprint[:6]}",
        f"{board.samples.get('test', 0)} test samples",
    ]


def _newest(protocol: str) -> tuple[float, str]:
    """Sorts versions that are numbers with the greatest first."""
    return (-float(protocol), protocol) if protocol.replace(".", "", 1).isdigit() else (math.inf, protocol)
