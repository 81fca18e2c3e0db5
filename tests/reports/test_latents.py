import numpy as np
import pytest

from lsmbench.reports import latents
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.table import tabulate
from tests.reports.made import Benchmark, Page


def kept(count=20, classes=("0", "1"), **changed):
    rng = np.random.default_rng(0)
    arrays = {
        "before": rng.normal(size=(count, 2)).astype(np.float32),
        "after": rng.normal(size=(count, 2)).astype(np.float32),
        "domain": np.arange(count) % 2,
        "domains": np.array(["x", "y"]),
        "label": np.arange(count) % len(classes) if classes else np.full(count, -1),
        "labels": np.array(classes, np.str_),
    }
    return arrays | changed


def fill(folder, arrays=None):
    made = Benchmark(folder)
    for n in (100.0, 5.0):
        for seed in (0, 1):
            made.add(f"l{n:g}-{seed}", "lsm", n, seed, [0.5, 0.6])
            np.savez(made.folder / "runs" / f"l{n:g}-{seed}" / "latents.npz", **(arrays or kept()))
    made.add("c", "cyclegan", None, 0, [0.5, 0.6])
    return made


def found(made):
    made.save()
    read = read_benchmark(made.folder)
    return latents.of(read, tabulate(read.plan, read.runs)[0])


def test_four_panels_for_each_method_that_kept_some(tmp_path):
    made = fill(tmp_path / "bench")
    files = made.write()
    assert {"latents-N100.png", "latents-N5.png"} <= set(files)
    text, markdown = (files[name].read_text() for name in ("report.html", "report.md"))
    page = Page(text)
    assert not page.wrong
    assert len(page.ids) == len(set(page.ids))
    assert {"latents-1", "latents-shown-2"} <= set(page.ids)
    assert "](latents-N100.png)" in markdown
    assert "of x (circles) and y (squares)" in markdown
    before = files["latents-N5.png"].read_bytes()
    assert made.write()["latents-N5.png"].read_bytes() == before
    for path in made.folder.glob("runs/*/latents.npz"):
        path.unlink()
    assert "Latent space" not in made.write()["report.md"].read_text()
    assert not list(made.folder.glob("latents-*"))


def test_panels_are_coloured_by_domain_and_by_class_if_there_are_some(tmp_path, monkeypatch):
    seen = []
    draw = latents.figure
    monkeypatch.setattr(latents, "figure", lambda *given: seen.append(draw(*given)) or seen[-1])
    found(fill(tmp_path / "bench"))
    assert [len(figure.axes) for figure in seen] == [4, 4]
    assert [axes.get_title() for axes in seen[0].axes] == ["before training"] * 2 + ["after training"] * 2
    told = [text.get_text() for text in seen[0].texts]
    assert told == ["lsm", "x (source)", "y (target)", "0", "1"]
    by_domain, by_class = (
        {tuple(colour) for dots in axes.collections for colour in dots.get_facecolor().tolist()}
        for axes in seen[0].axes[:2]
    )
    assert len(by_domain) == len(by_class) == 2
    assert by_domain != by_class
    seen.clear()
    found(fill(tmp_path / "bare", kept(classes=())))
    assert [len(figure.axes) for figure in seen] == [2, 2]
    seen.clear()
    found(fill(tmp_path / "many", kept(40, [f"a long name 犬 {k}" for k in range(40)], label=np.arange(-1, 39))))
    assert len(seen[0].texts) == 3 + 20  # more do not fit a legend


def test_the_next_seed_stands_for_one_that_is_damaged(tmp_path):
    made = fill(tmp_path / "bench")
    (made.folder / "runs" / "l5-0" / "latents.npz").write_bytes(b"PK broken")
    text = made.write()["report.md"].read_text()
    assert "- damaged: runs/l5-0/latents.npz: " in text
    assert "1 damaged file skipped" in text
    pictures, problems = found(made)
    assert [picture.name for picture in pictures] == ["latents-N100.png", "latents-N5.png"]
    assert [run for run, _ in problems] == ["l5-0"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"before": np.zeros((20, 3))}, "before has shape"),
        ({"after": np.full((20, 2), np.nan)}, "after has shape"),
        ({"after": np.zeros((19, 2))}, "different numbers"),
        ({"domain": np.full(20, 2)}, "two domains"),
        ({"label": np.full(20, 2)}, "class 2, and names 2"),
        ({"domains": np.array([object()])}, "pickle"),
    ],
)
def test_files_that_hold_something_else_are_named(tmp_path, changed, said):
    pictures, problems = found(fill(tmp_path / "bench", kept(**changed)))
    assert not pictures
    assert len(problems) == 4
    assert said in problems[0][1]
