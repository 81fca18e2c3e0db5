import numpy as np
import pytest

from lsmbench.reports import confusion, figures
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.table import tabulate
from tests.reports.made import Benchmark, Page, change, score

COUNTS = [[8, 2, 0], [1, 4, 5], [0, 0, 0]]
NAMES = ["cat", "dog", "owl"]


def fill(folder, counts=COUNTS, names=NAMES, **more):
    made = Benchmark(folder, primary_metric="accuracy", paired=[5], **more)

    def told(values, metric="accuracy", **keys):
        return score(values, metric, higher=True, confusion=counts, classes=names, **keys)

    for seed in (0, 1):
        night = told([1.0, 1.0], test_set="night")
        made.add(f"l{seed}", "lsm", 5.0, seed, [], scores=[told([0.5, 0.6]), night])
    made.add("old", "sop", 5.0, 0, [0.4, 0.4], metric="accuracy")  # of before matrices were kept
    made.add("f", "floor", None, None, [], kind="constant", scores=[told([0.1, 0.1])])
    return made


def matrices(folder, monkeypatch):
    seen = []
    draw = confusion.figure
    monkeypatch.setattr(confusion, "figure", lambda *given: seen.append(given) or draw(*given))
    read = read_benchmark(folder)
    return confusion.of(tabulate(read.plan, read.runs)), seen


def test_each_row_has_a_matrix_summed_over_its_seeds(tmp_path, monkeypatch):
    made = fill(tmp_path / "bench")
    files = made.write()
    assert {"confusion-N5.png", "confusion-N5-night-x-y.png"} <= set(files)
    shown, seen = matrices(made.folder, monkeypatch)
    assert [one.title for one in shown] == [
        "Confusion matrices, x → y, test set test", "Confusion matrices, x → y, test set night",
    ]  # fmt: skip
    (drawn, names, _), (at_night, *_) = seen
    assert [one.row.label for one in drawn] == ["lsm", "floor (constant)"]
    assert [one.row.label for one in at_night] == ["lsm"]
    assert names == NAMES
    assert drawn[0].counts.tolist() == (2 * np.array(COUNTS)).tolist()
    np.testing.assert_allclose(drawn[0].shares, [[0.8, 0.2, 0], [0.1, 0.4, 0.5], [np.nan] * 3])
    text = files["report.html"].read_text()
    assert not Page(text).wrong
    assert text.count("data:image/png") == 2
    markdown = files["report.md"].read_text()
    assert "](confusion-N5.png)" in markdown
    assert "- Rows: the true class; columns: the class that is said. Colours" in markdown
    before = files["confusion-N5.png"].read_bytes()
    assert made.write()["confusion-N5.png"].read_bytes() == before
    for home in (made.folder / "runs").iterdir():
        change(home, lambda raw: [one.pop("confusion", None) for one in raw["scores"]])
    assert not [name for name in made.write() if name.startswith("confusion")]
    assert not list(made.folder.glob("confusion-*"))


def test_texts_of_a_matrix_are_its_classes_shares_and_accuracy(tmp_path, monkeypatch):
    _, seen = matrices(saved(tmp_path / "bench"), monkeypatch)
    axes = confusion.figure(*seen[0]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    told = [text.get_text() for text in axes.texts]
    assert told == ["lsm", "60.0 % of 40 right, 2 seeds", "80", "20", "10", "40", "50"]


@pytest.mark.parametrize("count", [2, 30])
def test_few_and_many_classes_and_long_names_in_any_letters(tmp_path, count, monkeypatch):
    names = [f"a very long name 猫 {k}" for k in range(count)] if count < 20 else None
    folder = saved(tmp_path / "bench", np.eye(count, dtype=int).tolist(), names)
    _, seen = matrices(folder, monkeypatch)
    (_, called, _), *_ = seen
    assert len(called) == count
    axes = confusion.figure(*seen[0]).axes[0]
    assert len(axes.texts) == 2 + (count if count < 20 else 0)
    assert figures.png(confusion.figure(*seen[0]), 30)[:4] == b"\x89PNG"


def test_a_matrix_that_is_none_makes_a_damaged_result(tmp_path, monkeypatch):
    folder = saved(tmp_path / "bench")
    change(folder / "runs" / "l1", lambda raw: raw["scores"][0].update(confusion=[[1, 2], [3]]))
    ((run, said),) = read_benchmark(folder).problems
    assert run == "l1"
    assert "not square" in said
    change(folder / "runs" / "l1", lambda raw: raw["scores"][0].update(confusion=[[1]]))
    _, seen = matrices(folder, monkeypatch)
    assert [one.row.label for one in seen[0][0]] == ["floor (constant)"]  # seeds of other classes have no sum


def saved(folder, *more):
    fill(folder, *more).save()
    return folder
