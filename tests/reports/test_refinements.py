import numpy as np
import pandas as pd
import pytest

from lsmbench.reports import figures, refinements
from lsmbench.reports.board import boards
from lsmbench.reports.choice import choose
from lsmbench.reports.frame import read, read_benchmark
from lsmbench.reports.table import tabulate
from lsmbench.runs.results import Result
from tests.reports.made import Benchmark, Page, score


def kept(steps=(0, 50, 60), sets=("test", "far"), **changed):
    rng = np.random.default_rng(0)
    s, m = len(steps), 2 * len(sets)
    arrays = {
        "sets": np.array(sets),
        "loss": rng.uniform(size=(len(sets), steps[-1] + 1)),
        "steps": np.array(steps),
        "score": rng.uniform(size=(len(sets), s)),
        "index": np.arange(m),
        "of": np.arange(m) // 2,
        "source": rng.integers(0, 255, (m, 8, 8, 3), dtype=np.uint8),
        "target": rng.integers(0, 255, (m, 16, 16, 3), dtype=np.uint8),
        "reconstruction": rng.integers(0, 255, (s, m, 8, 8, 3), dtype=np.uint8),
        "prediction": rng.integers(0, 255, (s, m, 16, 16, 3), dtype=np.uint8),
        "losses": rng.uniform(size=(s, m)),
        "scores": rng.uniform(size=(s, m)),
    }
    return arrays | changed


def refine(made, run, steps, values, arrays=None, **more):
    """Writes an evaluation of a run as `lsmbench test` does, which the plan knows nothing of."""
    home = made.folder / "runs" / run
    result = Result.load(home)
    result.id = f"{run}-refine-{steps}" + "".join(more)
    result.scores = [score(values)]
    result.config["evaluation"] = {"name": "refine", "refine_steps": steps, **more}
    result.cost["evaluation_s"] = 3.0
    result.save(home / "evaluations" / result.id)
    if arrays:
        np.savez(home / "evaluations" / result.id / "refinement.npz", **arrays)
    return home / "evaluations" / result.id


def fill(folder, arrays=None, **more):
    made = Benchmark(folder, **more)
    made.add("b", "baseline", 5.0, 0, [0.5, 0.6])
    for seed in (0, 1):
        made.add(f"l-{seed}", "lsm", 5.0, seed, [0.5, 0.6], warnings=["odd"])
        refine(made, f"l-{seed}", 100, [0.7, 0.9])
        refine(made, f"l-{seed}", 60, [0.6, 0.6], arrays or kept())
    made.add("s", "sop", 5.0, 0, [0.5, 0.6])
    made.save()
    return made


def test_evaluations_with_refined_codes_are_rows_below_their_runs(tmp_path):
    made = fill(tmp_path / "bench")
    refine(made, "l-0", 60, [0.1, 0.1], refine_rate=0.5)
    refine(made, "l-0", 0, [0.5, 0.6])
    (table,) = made.tables()
    rows = {row.label: row for row in table.rows if not row.skipped}
    assert list(rows) == ["baseline", "lsm", "lsm, 60 steps", "lsm, 100 steps", "lsm, 60 steps, rate 0.5", "sop"]
    cell = rows["lsm, 100 steps"].cells[1]
    assert (cell.mean, cell.finished, cell.rank) == (pytest.approx(0.8), 2, 1)
    assert (rows["lsm"].wall_s, rows["lsm, 100 steps"].wall_s) == (30.0, 3.0)
    assert (rows["lsm"].updates, rows["lsm, 100 steps"].updates) == (1200, None)
    told = made.told()
    assert told["status"] == "4 of 4 runs finished"
    assert told["warnings"] == {"odd": ["l-0", "l-1"]}
    looks = figures.styles(table.rows)
    alike = [looks[label] for label in rows if label.startswith("lsm")]
    assert len({look.colour for look in alike}) == 1
    assert len({look.marker for look in alike}) == 4
    assert [look.refined for look in alike] == [False, True, True, True]
    assert "All 4 runs" in made.write()["report.html"].read_text()


def test_a_plans_evaluations_that_are_to_come_or_failed_are_told(tmp_path):
    made = Benchmark(tmp_path / "bench")
    made.add("l-0", "lsm", 5.0, 0, [0.5, 0.6])
    made.fail("l-1", "lsm", 5.0, 1)
    planned = [
        {"id": f"l-{s}-refine", "of": f"l-{s}", "method": "lsm, 9 steps", "paired": 5.0, "seed": s} for s in (0, 1)
    ]
    runs = [{"id": f"l-{s}", "method": "lsm", "paired": 5.0, "seed": s} for s in (0, 1)]
    made.more = {"methods": ["lsm", "lsm, 9 steps"], "runs": [*runs, *planned]}
    made.save()
    every = read_benchmark(made.folder).every
    states = dict(zip(every["run"], every["state"], strict=True))
    assert states == {"l-0": "finished", "l-1": "failed", "l-0-refine": "to come", "l-1-refine": "failed"}
    assert made.told()["status"] == "1 of 2 runs finished, 1 failed"


def test_the_leaderboard_has_the_same_rows_and_counts_runs_once(tmp_path):
    made = fill(tmp_path / "bench")
    (board,) = boards(read([tmp_path]))
    assert [row.label for row in board.rows] == ["baseline", "lsm", "lsm, 60 steps", "lsm, 100 steps", "sop"]
    assert len(board.trained) == 4
    (made.folder / "benchmark.json").unlink()
    (alone,) = boards(read([tmp_path]))
    assert sorted(row.label for row in alone.rows) == sorted(row.label for row in board.rows)
    assert {row.label: row.cells[0].mean for row in alone.rows} == {row.label: row.cells[0].mean for row in board.rows}
    assert len(alone.trained) == 4


def test_predictions_are_made_by_a_run_not_by_its_evaluation(tmp_path):
    made = fill(tmp_path / "bench")
    for home in (made.folder / "runs").iterdir():
        (home / "checkpoints" / "0-train").mkdir(parents=True)
        (home / "checkpoints" / "0-train" / "best.ckpt").touch()
    assert choose(made.folder).text.startswith("baseline")


def test_the_most_steps_that_kept_pictures_are_drawn(tmp_path, monkeypatch):
    made = fill(tmp_path / "bench")
    files = made.write()
    names = {"refinement-N5-lsm.png", "refinement-N5-lsm-curves.png"}
    assert {name for name in files if name.startswith("refinement")} == names
    text, markdown = (files[name].read_text() for name in ("report.html", "report.md"))
    page = Page(text)
    assert not page.wrong
    assert len(page.ids) == len(set(page.ids))
    assert "refinement-shown-1" in page.ids
    assert all(f"]({name})" in markdown for name in names)
    trace = refinements.load_trace(made.folder / "runs" / "l-0" / "evaluations" / "l-0-refine-60")
    table = made.tables()[0]
    given, *steps = refinements.strip(trace, table)
    assert [column.title for column in steps] == ["0 steps", "50 steps", "60 steps"]
    assert given.images.shape == (8, 16, 16, 3)
    assert np.array_equal(given.images[1::2], trace.truth)
    assert steps[2].scores[:2] == (f"{trace.losses[2, 0]:.3f}", f"{trace.scores[2, 0]:.3f}")
    left, right = refinements.curves(trace, table).axes
    assert [line.get_ydata().tolist() for line in left.lines] == trace.loss.tolist()
    assert [line.get_ydata().tolist() for line in right.lines] == trace.score.tolist()
    for path in made.folder.glob("runs/*/evaluations/*/refinement.npz"):
        path.unlink()
    assert "Refined codes" not in made.write()["report.md"].read_text()
    assert not list(made.folder.glob("refinement-*"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": np.zeros((2, 3))}, "loss has shape"),
        ({"score": np.zeros((1, 3))}, "score has shape"),
        ({"of": np.full(4, 2)}, "not of its test sets"),
        ({"prediction": np.zeros((3, 4, 8, 8, 3))}, "prediction is float64"),
        ({"source": np.zeros((4, 8, 3), np.uint8)}, "source has shape"),
        ({"sets": np.array([object()] * 2)}, "pickle"),
    ],
)
def test_files_that_hold_something_else_are_named(tmp_path, changed, said):
    made = fill(tmp_path / "bench", kept(**changed))
    found = read_benchmark(made.folder)
    pictures, problems = refinements.of(found, tabulate(found.plan, found.runs)[0])
    assert not pictures
    assert [run for run, _ in problems] == ["l-0-refine-60", "l-1-refine-60"]
    assert said in problems[0][1]
    assert not pd.isna(found.runs["of"]).all()
