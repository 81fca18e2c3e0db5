"""The IoU of each class in reports, and the legend of classes below pictures of translations."""

import io
import math

import numpy as np
import pytest
from PIL import Image as Picture

from lsmbench.domains import Image, LabelColours, Mask, plain
from lsmbench.palettes import FACADES
from lsmbench.reports import classes, figures, markup, pictures
from lsmbench.reports.frame import read_benchmark
from lsmbench.runs.model import MODEL, Model
from tests.reports.made import Benchmark, Page, change, result, score, tables

NAMES = ["sky", "a | <tree>", "cat"]
# True classes in rows, predicted ones in columns; seed 0 neither has nor predicts a cat, seed 1 predicts one.
SEEDS = ([[6, 2, 0], [1, 3, 0], [0, 0, 0]], [[6, 1, 1], [0, 4, 0], [0, 0, 0]])
RUNS = [("a", "lsm", 5.0, 0), ("b", "lsm", 5.0, 1), ("c", "cyclegan", None, 0), ("f", "floor", None, None)]


def counted(*matrices, metric="miou", names=NAMES, **more):
    """A score with a confusion matrix per sample."""
    return score([0.5] * len(matrices), metric, higher=True, counts=np.array(matrices), classes=names, **more)


def planted(*scores, **more):
    """Results of the two seeds of `lsm`, of which each score is one; others have none."""
    return [result(run, "lsm", [], scores=[one], **more) for run, one in zip("ab", scores, strict=False)]


def shown_of(results, paired=(100, 5), **more):
    return classes.of(tables(RUNS, results, paired=paired, primary_metric="miou", **more))


def values(shown, method, n=5.0):
    place = [column.paired for column in shown.columns].index(n)
    return next(line for row, line in shown.lines if row.label == method)[place].values


def test_the_iou_of_a_class_is_that_of_all_samples_of_a_seed_then_the_mean_over_seeds():
    # Of seed 0 the pixels lie in two samples, whose own IoU would give other means.
    first, second = np.array([[5, 0, 0], [1, 0, 0], [0, 0, 0]]), np.array([[1, 2, 0], [0, 3, 0], [0, 0, 0]])
    floor = result("f", "floor", [], kind="constant", scores=[counted([[8, 0, 0], [4, 0, 0], [0, 0, 0]])])
    (shown,) = shown_of([*planted(counted(first, second), counted(SEEDS[1])), floor])
    assert values(shown, "lsm") == pytest.approx(((6 / 9 + 6 / 8) / 2, (3 / 6 + 4 / 5) / 2, 0))
    for n in (100.0, 5.0):
        assert values(shown, "floor (constant)", n) == pytest.approx((8 / 12, 0, math.nan), nan_ok=True)
    assert values(shown, "lsm", 100.0) == values(shown, "cyclegan") == ()
    assert (shown.title, shown.names) == ("IoU per class, x → y", tuple(NAMES))
    assert shown.shares == pytest.approx((8 / 12, 4 / 12, 0))
    assert shown.parts == ("66.7 %", "33.3 %", "0 %")


def test_classes_are_shown_once_for_all_metrics_and_apart_by_direction_and_test_set():
    other = np.array(SEEDS[0]).T
    scores = [
        counted(SEEDS[0], metric="accuracy"),
        counted(SEEDS[0]),
        counted(other, source="y", target="x", names=None),
        counted(other, test_set="night"),
        counted([[5, 1], [1, 5]], source="z", names=["background", "foreground"]),
        score([0.5], "psnr"),
    ]
    found = shown_of([result("a", "lsm", [], scores=scores)])
    assert [(one.title, one.table.key.metric) for one in found] == [
        ("IoU per class, x → y, test set test", "miou"),
        ("IoU per class, y → x, test set test", "miou"),
        ("IoU per class, x → y, test set night", "miou"),
    ]
    assert found[1].names == ("class 0", "class 1", "class 2")
    assert values(found[2], "lsm") == pytest.approx((6 / 9, 3 / 6, math.nan), nan_ok=True)


@pytest.mark.parametrize(
    "results",
    [[], planted(score([0.5], "miou", higher=True)), planted(counted([[5, 1], [1, 5]], names=None))],
    ids=["none", "without counts", "two classes"],
)
def test_of_other_scores_nothing_is_shown(results):
    assert shown_of(results) == []


def test_runs_of_other_classes_and_those_without_counts_do_not_count():
    small = counted([[1, 0], [0, 1]], names=None)
    (shown,) = shown_of(planted(counted(SEEDS[0]), small))
    assert values(shown, "lsm") == pytest.approx((6 / 9, 3 / 6, math.nan), nan_ok=True)


@pytest.mark.parametrize(("mean", "zero"), [((6 / 9 + 3 / 6) / 3, True), ((6 / 9 + 3 / 6) / 2, False)])
def test_it_is_said_how_the_mean_counts_a_class_that_is_absent(mean, zero):
    (shown,) = shown_of(planted(counted(SEEDS[0], pooled=mean)))
    said = " ".join(markup.sentences(shown, "classes"))
    assert "A class with – neither occurs nor is predicted." in said
    assert ("The mean IoU counts it as 0." in said) is zero
    (whole,) = shown_of(planted(counted([[6, 2, 0], [1, 3, 0], [0, 0, 1]])))
    assert "–" not in " ".join(markup.sentences(whole, "classes"))


@pytest.fixture
def made(tmp_path):
    return Benchmark(tmp_path / "bench", primary_metric="miou", published=None)


def add(made, run, method, n, seed, *matrices, **more):
    made.add(run, method, n, seed, [], scores=[counted(*matrices, **more.pop("of", {}))], **more)


def test_the_report_tells_classes_shares_and_what_is_missing(made):
    for seed in (0, 1):
        add(made, f"l-{seed}", "lsm", 5.0, seed, SEEDS[seed])
    add(made, "s-0", "sop", 5.0, 0, SEEDS[0])
    made.plan("s-1", "sop", 5.0, 1)
    made.fail("p-0", "pix2pix", 5.0, 0)
    add(made, "f", "floor", None, None, SEEDS[0], kind="constant")
    files = made.write()
    text = files["report.md"].read_text()
    section = text.partition("### IoU per class, x → y\n")[2].partition("\n### ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][-6:]
    assert table == [
        r"| method | sky (66.7 %) | a \| \<tree\> (33.3 %) | cat (0 %) |",
        "|:--|--:|--:|--:|",
        "| lsm | 0.708 | 0.650 | 0.000 |",
        "| sop (1/2) | 0.667 | 0.500 | – |",
        "| pix2pix | failed | failed | failed |",
        "| *floor (constant)* | 0.667 | 0.500 | – |",
    ]
    html = files["report.html"].read_text()
    page = Page(html)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert {"classes-1-1", "classes-1-shown-1"} <= set(page.ids)
    assert '<button type="button">a | &lt;tree&gt;</button><small>33.3 %</small>' in html
    assert '<td data-sort="">–</td>' in html


def test_published_ious_of_classes_stand_beside_ours(made):
    made.more["published"] = {
        "source": "A | paper", "metric": "miou", "values": {"lsm": {"5": 0.6}, "sop": {"5": 0.5}},
        "classes": {"lsm": {"5": {"sky": 0.75, "cat": 0.25}, "7": {"sky": 0.1}}, "unrun": {"5": {"sky": 0.5}}},
    }  # fmt: skip
    add(made, "l-0", "lsm", 5.0, 0, SEEDS[0])
    add(made, "s-0", "sop", 5.0, 0, SEEDS[0])
    files = made.write()
    lines = files["report.md"].read_text().splitlines()
    assert lines[lines.index("| lsm | 0.667 | 0.500 | – |") + 1] == "| *lsm, published* | *0.750* | – | *0.250* |"
    assert sum("published* |" in line and "0.750" in line for line in lines) == 1
    assert "- Published values of single classes: A | paper." in [line.replace("\\", "") for line in lines]
    html = files["report.html"].read_text()
    assert Page(html).wrong == []
    assert '<td data-sort="0.5">0.500</td>' in html
    assert '>0.667<span class="under">published 0.750</span></td>' in html
    assert "7" not in [column.amount for column in classes.of(made.tables())[0].columns]


def test_folds_are_joined_before_the_iou_is_computed(made):
    parts = [[[5, 0, 0], [1, 0, 0], [0, 0, 0]], [[1, 2, 0], [0, 3, 0], [0, 0, 2]]]
    for fold, matrix in enumerate(parts):
        one = counted(matrix)
        one.indices = [fold]
        config = {
            "method": {"name": "lsm"},
            "supervision": {"paired": 5.0, "folds": 2, "fold": fold},
            "training": {"init_seed": 0},
        }
        dataset = {"name": "few", "fingerprint": "f00d", "train": 4, "val": 1, "test": 1, "fold": fold, "folds": 2}
        made.add(f"l-{fold}", "lsm", 5.0, 0, [], scores=[one], config=config, dataset=dataset)
    made.more["folds"] = 2
    made.write()
    (shown,) = classes.of(made.tables())
    assert values(shown, "lsm") == pytest.approx((6 / 9, 3 / 6, 1))
    assert shown.shares == pytest.approx((8 / 14, 4 / 14, 2 / 14))
    assert "all test samples together, those of all folds" in " ".join(markup.sentences(shown, "classes"))


def test_many_classes_and_many_n(made):
    confusion = np.random.default_rng(0).integers(0, 9, (40, 40))
    names = [f"class of things number {number}" for number in range(40)]
    made.more["paired"] = paired = [100.0, 50.0, 20.0, 10.0, 5.0]
    for n in paired:
        add(made, f"l-{n:g}", "lsm", n, 0, confusion, of={"names": names})
    files = made.write()
    (shown,) = classes.of(made.tables())
    assert [column.paired for column in shown.columns] == [100, 20, 5]
    assert markup.sentences(shown, "classes")[-1].endswith("the first, middle and last of 5 values of N.")
    hit, either = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    assert values(shown, "lsm") == pytest.approx(tuple(hit / either))
    html = files["report.html"].read_text()
    assert Page(html).wrong == []
    assert html.count("class of things number 39</button>") == 3


# The legend of pictures.

PHOTO = Image(1, 8)
MASK = Mask(4, 8, void=True, names=("background", "lung", "heart", "Schlüsselbein und alles drumherum, links"))


def picture_of(made, source=PHOTO, target=MASK, keep=True, damage=None):
    """The one picture of translations of a benchmark with a run of these domains, and what is wrong."""
    views = {"x": repr(source), "y": repr(target)}
    dataset = {"name": "few", "fingerprint": "f00d", "train": 4, "val": 1, "test": 1, "views": views}
    add(made, "l-0", "lsm", 5.0, 0, SEEDS[0], panel=True, dataset=dataset)
    home = made.folder / "runs" / "l-0"
    if keep:
        domains = {"x": plain(source), "y": plain(target)}
        Model(
            id="l-0", protocol="1", dataset="few", method={"name": "lsm"}, domains=domains, source="x", target="y",
            truths={"x": "x", "y": "y"}, init_seed=0, precision="32", stage=None, checkpoint=None, learnt=False,
            inputs=None, deep=False,
        ).save(home)  # fmt: skip
    if damage:
        change(home, damage, MODEL)
    made.write()
    found = read_benchmark(made.folder)
    (shown,), problems = pictures.translations(found, made.tables()[0])
    with Picture.open(io.BytesIO(shown.data)) as opened:
        return np.asarray(opened.convert("RGB")), problems


def colours_below(pixels, height):
    """Colours with a patch of their own below the samples."""
    found, count = np.unique(pixels[height:].reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(colour.tolist()) for colour in found[count > 100]} - {(255, 255, 255)}


@pytest.mark.parametrize(
    ("source", "target", "legend"),
    [
        (PHOTO, MASK, MASK.legend()),
        (LabelColours(3, 8, palette=FACADES), Image(3, 8), LabelColours(3, 8, palette=FACADES).legend()),
        (MASK, MASK, MASK.legend()),
    ],
    ids=["mask", "label colours", "the same on both sides"],
)
def test_a_legend_tells_the_colours_of_more_than_two_classes(made, tmp_path, source, target, legend):
    plain_height = len(picture_of(Benchmark(tmp_path / "plain"), target=Mask(2, 8))[0])
    pixels, problems = picture_of(made, source, target)
    assert problems == []
    assert len(pixels) > plain_height
    assert {colour for _, colour in legend} <= colours_below(pixels, plain_height - 10)


def test_without_the_facts_and_of_two_classes_there_is_no_legend(made, tmp_path):
    old, problems = picture_of(made, keep=False)
    two, _ = picture_of(Benchmark(tmp_path / "two"), target=Mask(2, 8))
    assert problems == []
    assert old.shape == two.shape


def test_damaged_facts_are_named_and_the_picture_stays(made):
    pixels, problems = picture_of(made, damage=lambda raw: raw["domains"]["y"].update(domain="Voxels"))
    assert len(pixels)
    ((run, message),) = problems
    assert run == "l-0"
    assert message.startswith("runs/l-0/model.json: a view is described in a form that this version")
    assert "runs/l-0/model.json: a view is" in (made.folder / "report.md").read_text().replace("\\", "")


def test_different_classes_on_both_sides_are_told_apart(monkeypatch, made):
    seen = {}
    drawn = figures.panel
    monkeypatch.setattr(figures, "panel", lambda *given: drawn(*given[:2], seen.setdefault("legend", given[2])))
    picture_of(made, Mask(3, 8), MASK)
    assert [name for name, _ in seen["legend"]][:4] == ["x: class 0", "x: class 1", "x: class 2", "y: background"]


def test_many_long_names_stay_inside_the_picture():
    tiles = [figures.Translations(title, np.zeros((2, 8, 8, 3), np.uint8)) for title in ("input", "truth", "lsm")]
    entries = [(f"number {i} of classes with long names 張", (i, 0, 0)) for i in range(40)]
    drawing = figures.panel(tiles, ["0", "1"], entries)
    drawing.draw_without_rendering()
    width, height = drawing.get_size_inches() * drawing.dpi
    boxes = [text.get_window_extent() for text in drawing.texts if text.get_text().startswith("number")]
    assert len(boxes) == 40
    assert all(0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    lowest = min(axes.get_tightbbox().y0 for axes in drawing.axes)
    assert max(box.y1 for box in boxes) < lowest
