import math
import re
import shutil

import numpy as np
import pytest

from lsmbench.reports import distributions, figures, markup, pictures
from lsmbench.reports.distributions import Distribution
from tests.reports.made import Benchmark, Page, change, result, score, tables

RUNS = [("a", "lsm", 5.0, 0), ("b", "lsm", 5.0, 1), ("c", "cyclegan", None, 0), ("f", "floor", None, None)]


def errors(values, **more):
    return {"scores": [score(values, "nrmse")], **more}


def shown_of(runs, results, paired=(100, 5), **more):
    return distributions.of(tables(runs, results, paired=paired, primary_metric="nrmse", **more)[0])


def test_share_median_and_area():
    one = Distribution(np.array([0.1, 0.1, 0.2, 0.6]))
    assert one.share(np.array([0.0, 0.1, 0.15, 0.2, 0.6])).tolist() == [0, 0.5, 0.5, 0.75, 1]
    assert one.median == pytest.approx(0.15)
    fine = np.linspace(0, 0.4, 400_001)
    assert one.area(0.4) == pytest.approx(np.trapezoid(one.share(fine), fine) / 0.4, abs=1e-5)
    assert Distribution(np.array([0.0])).area(0.4) == 1
    assert Distribution(np.array([0.5])).area(0.4) == 0


def test_seeds_are_pooled_and_undefined_scores_left_out():
    results = [
        result("a", "lsm", [], **errors([0.3, 0.1])),
        result("b", "lsm", [], **errors([0.2, math.nan])),
        result("c", "cyclegan", [], **errors([0.4, 0.4])),
        result("f", "floor", [], kind="constant", **errors([0.5, 0.5])),
    ]
    shown = shown_of(RUNS, results)
    lsm, cyclegan = shown.rows
    assert [column.paired for column in shown.columns] == [100, 5]
    assert lsm[1][0] is None
    assert lsm[1][1].errors.tolist() == [0.1, 0.2, 0.3]
    assert lsm[1][1].whole
    assert cyclegan[1][0].errors.tolist() == cyclegan[1][1].errors.tolist() == [0.4, 0.4]
    assert shown.floors[0][1][0].median == 0.5
    assert shown.undefined == 1


def test_a_method_gone_astray_does_not_press_the_others_together():
    fine, astray, floor = np.linspace(0.1, 0.2, 101), np.full(101, 7.0), np.linspace(0.0, 1.0, 101)
    results = [result("a", "lsm", [], **errors(fine)), result("b", "lsm", [], **errors(astray))]
    assert shown_of(RUNS, results).limit == pytest.approx(7.0)
    results.append(result("f", "floor", [], kind="constant", **errors(floor)))
    assert shown_of(RUNS, results).limit == pytest.approx(0.98)
    results[1] = result("b", "lsm", [], **errors(fine))
    results[2] = result("f", "floor", [], kind="constant", **errors(floor + 5))
    assert shown_of(RUNS, results, paired=[5]).limit == pytest.approx(6.0)  # 5.94, rounded up


def test_of_many_n_the_first_the_middle_and_the_last_are_shown():
    results = [result("c", "cyclegan", [], **errors([0.4]))]
    shown = shown_of(RUNS, results, paired=(100, 60, 10, 5, 2, 1))
    assert [column.paired for column in shown.columns] == [100, 5, 1]
    last = markup.sentences(shown, "distributions", distributions.PERCENTILE)[-1]
    assert last == "Shown are 100 %, 5 %, 1 %: the first, middle and last of 6 values of N."
    assert len(shown_of(RUNS, results, paired=(100, 10, 5, 1)).columns) == 4


def test_n_is_named_by_its_unit():
    results = [result("a", "lsm", [], pairs=5, **errors([0.2, 0.1])), result("b", "lsm", [], **errors([0.2, 0.1]))]
    shown = shown_of(RUNS, results, (100, 60, 5, 2, 1), paired_unit="pairs")
    titles = [axes.get_title(loc="left") for axes in distributions.figure(shown).axes]
    assert titles == ["100 pairs", "5 pairs", "1 pair"]


def test_there_is_nothing_to_show_of_scores_that_are_no_errors():
    assert shown_of(RUNS, []) is None
    assert shown_of(RUNS, [result("a", "lsm", [0.5])]) is None  # higher is better
    for values in ([0.0, 0.0], [-0.1, 0.2], [math.nan]):
        assert shown_of(RUNS, [result("a", "lsm", [], **errors(values))]) is None


@pytest.mark.parametrize("paired", [(5,), (100, 5), (100, 10, 5), (100, 10, 5, 1)])
def test_every_number_of_plots_is_drawn_inside_the_figure(paired):
    results = [result("a", "lsm", [], **errors([0.2, 0.1])), result("c", "cyclegan", [], **errors([0.3, 0.4]))]
    drawing = distributions.figure(shown_of(RUNS, results, paired))
    assert len(drawing.axes) == len(paired)
    drawing.draw_without_rendering()
    boxes = [axes.get_position() for axes in drawing.axes]
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    (at_5,) = [axes for axes in drawing.axes if axes.get_title(loc="left").startswith("5 %")]
    lsm = next(line for line in at_5.lines if len(line.get_xdata()) > 1)
    assert lsm.get_ydata()[-1] == 1
    markers = [line for line in at_5.lines if len(line.get_xdata()) == 1]
    assert [(line.get_marker(), line.get_markerfacecolor()) for line in markers] == [
        ("D", figures.PAPER),  # one of two seeds is missing
        ("P", figures.PALETTE[5]),
    ]


FACE = {"views": {"x": "Image(channels=3)", "y": "Landmarks(points=68, eyes='outer')"}}


@pytest.fixture
def faces(tmp_path):
    made = Benchmark(tmp_path / "bench", primary_metric="nrmse", published=None)
    dataset = {"name": "faces", "fingerprint": "f00d", **FACE}
    for n in (100.0, 5.0):
        for seed in (0, 1):
            made.add(f"l{n:g}-{seed}", "lsm", n, seed, [0.1, 0.2], metric="nrmse", dataset=dataset, panel=True)
    made.add("c", "cyclegan", None, 0, [0.3, 0.4], metric="nrmse", dataset=dataset)
    made.add("f", "floor", None, None, [0.4, 0.5], kind="constant", metric="nrmse", dataset=dataset)
    return made


def overlay(home, side):
    """Makes a run's pictures of predictions photographs with much detail."""
    pictures = np.random.default_rng(0).integers(0, 255, (2, side, side, 3), dtype=np.uint8)
    with np.load(home / "panel.npz") as file:
        arrays = dict(file)
    np.savez(home / "panel.npz", **{**arrays, "y": pictures, "prediction": pictures})


def test_a_report_of_errors_shows_their_distribution(faces):
    files = faces.write()
    assert {"ced.png", "ced.svg"} <= set(files)
    text = files["report.html"].read_text()
    page = Page(text)
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    assert text.count("<svg") == 3
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert references
    assert references <= set(page.ids)
    shown = distributions.of(faces.tables()[0])
    assert shown.limit == 0.5
    told = {row.label: [(one.median, one.area(shown.limit)) for one in line] for row, line in shown.lines}
    assert told == {
        "lsm": [pytest.approx((0.15, 0.7))] * 2,
        "cyclegan": [pytest.approx((0.35, 0.3))] * 2,
        "floor (constant)": [pytest.approx((0.45, 0.1))] * 2,
    }


def test_without_errors_the_figure_goes(faces):
    faces.write()
    for home in faces.folder.glob("runs/*"):
        shutil.rmtree(home)
    files = faces.write()
    assert not list(faces.folder.glob("ced.*"))
    assert "How the errors" not in files["report.html"].read_text() + files["report.md"].read_text()


def test_large_pictures_get_larger_tiles_and_are_embedded_in_less_space(monkeypatch, faces):
    monkeypatch.setattr(pictures, "_EMBEDDED", 1000)
    files = faces.write()
    width = size_of(files["panel-N5.png"])[0]
    for home in faces.folder.glob("runs/l*"):
        overlay(home, 256)
    text = faces.write()["report.html"].read_text()
    assert size_of(files["panel-N5.png"])[0] > 1.2 * width
    assert 'class="card breakout"' in text
    assert "data:image/png" not in text
    assert text.count("data:image/jpeg;base64,/9j/") == 2


def size_of(path):
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def test_other_targets_need_no_legend(faces):
    assert "truth blue" in faces.write()["report.md"].read_text()
    for home in faces.folder.glob("runs/*"):
        change(home, lambda raw: raw["dataset"]["views"].update(y="Mask(classes=2)"))
    assert "truth blue" not in faces.write()["report.md"].read_text()
