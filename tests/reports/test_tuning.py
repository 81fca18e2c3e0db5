import io
import json
import random
import re
import shutil
from html import unescape

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED, Best, Candidate, Trial, Use
from lsmbench.errors import UserError
from lsmbench.reports import figures, markup, tuning
from lsmbench.reports.contents import doubts, read
from lsmbench.reports.report import console_table, write_report
from lsmbench.reports.table import tabulate
from tests.reports.test_report import Page, fill
from tests.reports.test_table import manifest, result


def best(amount=100.0, scores=None, states=None, **more):
    """An invented outcome: by default 20 trials, of which the last but one is the best on new seeds."""
    draw = random.Random(str(amount))
    scores = scores or [0.5, *(0.4 + 0.3 * draw.random() for _ in range(17)), 0.75, 0.74]
    states = states or {}
    names = ("learning_rate", "w_xy")
    trials = [
        Trial(i, states.get(i, FINISHED), value, 60.0, {"learning_rate": 1e-4 * (i + 1), "w_xy": 0.3 + draw.random()})
        for i, value in enumerate(scores)
    ]
    fields = {
        "study": "quick-small/lsm/N5",
        "benchmark": "quick-small",
        "row": "lsm",
        "method": "lsm",
        "amount": amount,
        "unit": "%",
        "metric": "iou",
        "higher_is_better": True,
        "floor": 0.3,
        "trial": len(scores) - 2,
        "seed": 7,
        "seeds": [11, 12, 13],
        "candidates": [
            Candidate(len(scores) - 2, [0.70, 0.72, 0.74]),
            Candidate(len(scores) - 1, [0.69, 0.70, 0.71]),
            Candidate(0, [0.48, 0.50, 0.55]),
        ],
        "sampler": "GPSampler",
        "pruner": "none",
        "space": {"learning_rate": [1e-5, 1e-2], "w_xy": [0.1, 1000.0]},
        "importance": {"learning_rate": 0.82, "w_xy": 0.18},
        "seconds": 5760.0,
        "trials": trials,
        "setting": {"training": {"epochs": 30}},
        "fingerprint": "f00d",
        "protocol": "1",
        "environment": {"torch": "2.9.0"},
        **more,
    }
    fields.setdefault("parameters", {name: trials[fields["trial"]].parameters[name] for name in names})
    return Best(**fields)


def use(amounts=(100.0,), row="lsm", differs=(), **more):
    return Use(row, list(amounts), list(differs), best(row=row, **more))


def tune(folder, *uses):
    """A benchmark that was run with these outcomes."""
    made = fill(folder)
    made.more["tuned"] = [one.to_dict() for one in uses]
    return made


def texts(paths):
    """Every rendering without Markdown's and LaTeX's escapes."""
    console = Console(width=400, record=True, file=io.StringIO())
    for table in console_table(paths.html.parent):
        console.print(table)
    html = re.sub(r"<svg.*?</svg>", "", paths.html.read_text(), flags=re.DOTALL)
    return {
        "html": unescape(html),
        "markdown": paths.markdown.read_text().replace("\\", ""),
        "tex": paths.tex.read_text().replace("\\_", "_").replace("\\%", "%").replace("\\S{}", "§"),
        "console": " ".join(console.export_text().split()),  # notes are as wide as their table
    }


SHARED = "§ not tuned: the benchmark's own parameters. Do not compare with tuned rows."
UNTUNED = "No row was tuned: parameters are those of the benchmark."


@pytest.mark.parametrize("more", [{}, {"tuned": None}])
def test_a_benchmark_with_its_own_parameters_says_so_and_nothing_more(tmp_path, more):
    made = fill(tmp_path / "bench")
    made.more |= more
    paths = made.write()
    for name, text in texts(paths).items():
        assert text.count(UNTUNED) == 2, name  # once below each table
        assert "§" not in text
        assert "uning" not in text
    assert paths.tuning == ()
    assert not list(made.folder.glob("tuning.*"))
    assert read(made.folder).manifest.tuned is None


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Tuned rows beside one that is not; for tests that only read."""
    uses = (
        use([5.0], amount=5.0, differs=["training.epochs is 20, was 30 in the sweep"], trial=0, states={3: DIVERGED}),
        use([100.0], differs=["training.epochs is 20, was 30 in the sweep", "size is small, was tiny in the sweep"]),
        use([100.0, 5.0], row="cyclegan", amount=None, metric="mse", higher_is_better=False, states={2: PRUNED}),
    )
    return tune(tmp_path_factory.mktemp("tuned") / "bench", *uses).write()


def test_untuned_rows_are_marked_in_every_rendering(mixed):
    shown = texts(mixed)
    for name, text in shown.items():
        assert text.count(SHARED) == 2, name
        assert UNTUNED not in text
    rows = [line for line in shown["markdown"].splitlines() if line.startswith("| ")]
    assert sum(line.startswith("| base_line § |") for line in rows) == 2
    assert any(line.startswith("| lsm |") for line in rows)
    assert any(line.startswith("| cyclegan † |") for line in rows)
    assert any(line.startswith("| *floor (constant)* |") for line in rows)
    assert any(line.startswith("| gan | not run") for line in rows)
    assert "<span>base_line §</span>" in shown["html"]
    assert "base_line$^\\S$ & " in shown["tex"]
    assert "cyclegan$^\\dagger$ & " in shown["tex"]
    assert re.search(r"│ base_line § +│", shown["console"])
    assert not re.search(r"(lsm|floor \(constant\)|gan) §", "".join(shown.values()))


def test_both_marks_can_stand_at_one_row(tmp_path):
    paths = tune(tmp_path / "bench", use([100.0, 5.0])).write()
    assert "| cyclegan † § | 0.350 |" in paths.markdown.read_text()
    assert "cyclegan$^\\dagger$$^\\S$ & " in paths.tex.read_text()


def test_the_curves_name_an_untuned_row(mixed):
    drawn = figures.curves(read(mixed.html.parent).tables[0])
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels[:3] == ["lsm", "base_line (not tuned)", "cyclegan"]


def test_notes_tell_how_each_row_was_tuned_and_what_it_gained(mixed):
    shown = texts(mixed)
    for text in shown.values():
        assert (
            "lsm, tuned: learning_rate and w_xy by 20 trials each on validation pairs at N = 100 % and 5 %, "
            "3.2 h of search. Chosen by the mean iou of 3 new seeds among the best trials and the default: at N = "
            "100 %, 0.720 against the default's 0.510; at N = 5 %, no trial beat the default, which is used (0.510)."
        ) in text
        assert (
            "cyclegan, tuned: learning_rate and w_xy by 20 trials on validation pairs for any N, 1.6 h of search. "
            "Chosen by the mean mse of 3 new seeds among the best trials and the default: 0.720 against"
        ) in text
        assert "Tuned: lsm and cyclegan, as said below the first table." in text
        assert text.count("Tuned rows were given their parameters by validation pairs, too.") == 2


def test_tuned_beside_untuned_and_differing_settings_are_warned_about(mixed):
    found = read(mixed.html.parent)
    said = doubts(found, found.tables[0])
    assert said == [
        "Tuned and untuned rows stand in one table; do not compare base_line (§, not tuned) with lsm and cyclegan.",
        "lsm at N = 5 %; lsm at N = 100 %: training.epochs is 20, was 30 in the sweep.",
        "lsm at N = 100 %: size is small, was tiny in the sweep.",
    ]
    assert mixed.html.read_text().count('role="note"') == 3


def test_a_table_of_tuned_rows_alone_needs_no_warning_and_no_mark(tmp_path):
    made = tune(tmp_path / "bench", *(use([100.0, 5.0], row=row) for row in ("lsm", "base_line", "cyclegan")))
    paths = made.write()
    for text in texts(paths).values():
        assert "§" not in text
        assert UNTUNED not in text
    found = read(made.folder)
    assert doubts(found, found.tables[0]) == []


def test_without_any_outcome_every_row_is_marked(tmp_path):
    made = tune(tmp_path / "bench")
    paths = made.write()
    text = paths.markdown.read_text().replace("\\", "")
    for row in ("lsm §", "base_line §", "cyclegan † §"):
        assert f"| {row} |" in text
    assert paths.tuning == ()
    assert "## Tuning" not in text
    found = read(made.folder)
    assert doubts(found, found.tables[0]) == []


def test_a_row_with_another_row_s_parameters_says_so_and_its_search_is_shown_once(tmp_path):
    lsm = use([100.0, 5.0])
    made = tune(tmp_path / "bench", lsm, Use("lsm-k_medoids", [5.0], [], lsm.best))
    made.add("k5-0", "lsm-k_medoids", 5.0, 0, [0.5, 0.5])
    text = made.write().markdown.read_text().replace("\\", "")
    assert "- lsm-k_medoids, tuned: has the parameters that were found for lsm." in text
    assert text.count("h of search. Chosen by") == 1
    assert "### lsm, N = 100 %, used for N = 100 % and 5 %; lsm-k_medoids at N = 5 %" in text
    assert text.count("| parameter |") == 1
    assert "### lsm-k_medoids" not in text
    table = read(made.folder).tables[0]
    assert [axes.get_title("left") for axes in tuning.figure(table).axes] == ["lsm, N = 100 %"]


def test_the_section_shows_what_was_searched_and_found(mixed):
    text = mixed.markdown.read_text().replace("\\", "")
    section = text.partition("## Tuning")[2].partition("## Further scores")[0]
    assert "![Validation score of every trial, a plot per method and N](tuning.svg)" in section
    assert "The band: ± standard deviation of one configuration over seeds; differences within it are noise." in section
    headings = [line for line in section.splitlines() if line.startswith("### ")]
    assert headings == [
        "### lsm, N = 100 %, used for N = 100 %",
        "### lsm, N = 5 %, used for N = 5 %",
        "### cyclegan, any N, used for N = 100 % and 5 %",
    ]
    assert section.count("| parameter | searched (log scale) | default | best | importance |") == 3
    assert "| learning_rate | 1e-5 – 0.01 | 0.0001 | 0.0019 | 82 % |" in section
    assert "| learning_rate | 1e-5 – 0.01 | 0.0001 | 0.0001 | 82 % |" in section  # the default
    assert "| w_xy | 0.1 – 1000 | " in section
    assert "trial 18: 0.720 (0.700, 0.720, 0.740); default: 0.510 (0.480, 0.500, 0.550)." in section
    assert "no trial beat the default: 0.510 (0.480, 0.500, 0.550)." in section
    assert (
        "- 20 trials (19 finished, 1 diverged) with seed 7; 1.6 h of search; sampler GPSampler, pruner none." in section
    )
    assert "- 20 trials (19 finished, 1 pruned) with seed 7" in section
    assert "Validation mse (lower is better)" in section
    assert "uning" not in mixed.tex.read_text()
    html = mixed.html.read_text()
    assert html.index("<h2>Translations") < html.index("<h2>Tuning") < html.index("<h2>Further scores")
    assert html.count('style="width:82.0%"') == 3
    assert '<a href="tuning.svg">' in html
    page = Page(html)
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert html.count("<svg") == 2


def test_an_unknown_importance_is_not_invented(tmp_path):
    text = tune(tmp_path / "bench", use(importance={})).write().markdown.read_text()
    assert "| 0.0001 | 0.0019 | – |" in text


def test_the_figure_is_reproducible_and_removed_when_it_is_no_longer_true(mixed, tmp_path):
    folder = shutil.copytree(mixed.html.parent, tmp_path / "bench")
    files = [folder / "tuning.png", folder / "tuning.svg"]
    before = [path.read_bytes() for path in files]
    paths = write_report(folder)
    assert list(paths.tuning) == files
    assert [path.read_bytes() for path in files] == before
    raw = json.loads((folder / "benchmark.json").read_text())
    (folder / "benchmark.json").write_text(json.dumps({**raw, "tuned": None}))
    assert write_report(folder).tuning == ()
    assert not list(folder.glob("tuning.*"))


def drawn(*uses):
    """The plots of a benchmark with these outcomes for its row `lsm`."""
    runs = [("a", "lsm", 5.0, 0), ("b", "lsm", 100.0, 0)]
    table = tabulate(manifest(runs, tuned=[one.to_dict() for one in uses]), [result("a", "lsm", [0.5])])[0]
    return tuning.figure(table)


def points(axes, marker):
    return [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == marker]


def test_each_trial_is_drawn_as_what_became_of_it():
    states = {1: DIVERGED, 2: PRUNED}
    (axes,) = drawn(use(scores=[0.5, 0.43, 0.45, 0.6, 0.55], states=states, floor=0.43)).axes
    assert points(axes, "x") == [(1, 0.43)]
    dots = [line for line in axes.lines if line.get_marker() == "o" and line.get_markersize() < 5]
    assert [tuple(line.get_xydata()[0]) for line in dots] == [(0, 0.5), (2, 0.45), (3, 0.6), (4, 0.55)]
    assert [line.get_markerfacecolor() == figures.PAPER for line in dots] == [False, True, False, False]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_markersize() > 8] == [(3, 0.6)]  # the ring
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert steps.get_ydata().tolist() == [0.5, 0.5, 0.5, 0.6, 0.6, 0.6]
    levels = {line.get_linestyle(): line.get_ydata()[0] for line in axes.lines if len(set(line.get_xdata())) == 2}
    assert levels[":"] == 0.43
    assert levels["--"] == 0.5
    assert len(axes.collections) == 1  # the band


def test_one_seed_has_no_band():
    candidates = [Candidate(3, [0.7]), Candidate(0, [0.5])]
    one = use(scores=[0.5, 0.5, 0.4, 0.6, 0.55], states={2: PRUNED}, candidates=candidates)
    table = tabulate(manifest([("a", "lsm", 5.0, 0)], tuned=[one.to_dict()]), [result("a", "lsm", [0.5])])[0]
    (axes,) = tuning.figure(table).axes
    assert not axes.collections


def test_plots_stand_in_columns_of_their_n():
    names = ("lsm", "sop", "cyclegan")
    runs = [(name, name, 5.0, 0) for name in names]
    uses = [use(amount=n) for n in (5.0, 100.0)] + [use(row="sop", amount=5.0), use(row="cyclegan", amount=None)]
    table = tabulate(manifest(runs, tuned=[one.to_dict() for one in uses]), [result("lsm", "lsm", [0.5])])[0]
    plots = {axes.get_title("left"): axes.get_position() for axes in tuning.figure(table).axes}
    assert list(plots) == ["lsm, N = 100 %", "lsm, N = 5 %", "sop, N = 5 %", "cyclegan, any N"]
    first, second, other, free = plots.values()
    assert first.x1 < second.x0
    assert first.y0 == second.y0
    assert other.x0 == second.x0
    assert free.x0 == first.x0
    assert free.y1 < other.y0 < other.y1 < first.y0


def test_nothing_of_a_large_figure_overlaps_or_is_cut_off():
    names = [f"a_much_longer_name_{i}" for i in range(8)]
    uses = [
        use(row=name, amount=n, states={3: DIVERGED, 4: PRUNED}, floor=0.0)
        for name in names
        for n in (100.0, 20.0, 5.0)
    ]
    table = tabulate(
        manifest([(name, name, 5.0, 0) for name in names], tuned=[one.to_dict() for one in uses]),
        [result(names[0], names[0], [0.5])],
    )[0]
    figure = tuning.figure(table)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert len(boxes) == 24
    whole, legend = figure.bbox, figure.legends[0].get_window_extent(renderer)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= whole.x1
        assert box.y1 <= whole.y1
        assert box.y0 >= legend.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


QUIET = [Candidate(6, [0.7, 0.7]), Candidate(0, [0.5, 0.5])]


@pytest.mark.parametrize("higher", [True, False])
def test_a_trial_gone_astray_does_not_press_the_others_together(higher):
    scores = [0.60, 0.61, 0.65, 0.63, -4.0, 0.64, 0.70, 0.66]
    flip = (lambda v: v) if higher else (lambda v: 1.3 - v)  # the same trials as errors
    one = use(
        scores=[flip(v) for v in scores], floor=flip(-2.0), states={5: DIVERGED}, candidates=QUIET,
        higher_is_better=higher,
    )  # fmt: skip
    low, high = tuning.limits(one.best)
    shown = sorted(flip(v) for v in (0.60, 0.70))
    assert low < shown[0]
    assert high > shown[1]
    assert high - low < 0.2
    (axes,) = drawn(one).axes
    edge = low if higher else high
    assert points(axes, "v" if higher else "^") == [(4, pytest.approx(edge))]
    said = [text.get_text() for text in axes.texts]
    assert said == ["floor -2.000 ↓" if higher else "floor 3.300 ↑"]
    legend = [text.get_text() for text in drawn(one).legends[0].get_texts()]
    assert "beyond the scale" in legend


def test_a_near_floor_is_in_the_plot():
    one = use(scores=[0.60, 0.61, 0.65, 0.63, 0.62, 0.64, 0.70, 0.66], floor=0.57, candidates=QUIET)
    low, _ = tuning.limits(one.best)
    assert low < 0.57
    (axes,) = drawn(one).axes
    assert not axes.texts
    assert "beyond the scale" not in [text.get_text() for text in drawn(one).legends[0].get_texts()]


def test_a_poor_default_is_in_the_plot_but_not_a_diverged_one():
    scores = [0.2, 0.61, 0.65, 0.63, 0.62, 0.64, 0.70, 0.66]
    assert tuning.limits(use(scores=scores, candidates=QUIET).best)[0] < 0.2
    diverged = use(scores=scores, candidates=QUIET, states={0: DIVERGED}, floor=0.2)
    assert tuning.limits(diverged.best)[0] > 0.5
    assert [text.get_text() for text in drawn(diverged).axes[0].texts] == ["floor and default 0.200 ↓"]


@pytest.mark.parametrize("states", [{}, dict.fromkeys(range(4), DIVERGED)])
def test_trials_that_are_all_alike_can_be_drawn(states):
    candidates = [Candidate(2, [0.0, 0.0]), Candidate(0, [0.0, 0.0])]
    low, high = tuning.limits(use(scores=[0.0] * 4, floor=0.0, states=states, candidates=candidates).best)
    assert low < 0 < high


def test_the_noise_fits_the_plot():
    scores = [0.60, 0.61, 0.62, 0.61]
    noisy = [Candidate(2, [0.4, 0.8]), Candidate(0, [0.5, 0.7])]
    one = use(scores=scores, candidates=noisy).best
    low, high = tuning.limits(one)
    assert low < 0.62 - one.noise() < 0.62 + one.noise() < high


def broken(path, value):
    raw = use().to_dict()
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return [raw]


@pytest.mark.parametrize(
    "tuned",
    [
        5,
        ["lsm"],
        [{}],
        broken(["row"], "unknown"),
        broken(["amounts"], ["many"]),
        broken(["best"], {}),
        broken(["best", "more"], 1),
        broken(["best", "trial"], 3),  # not a candidate
        broken(["best", "trials"], []),
        broken(["best", "trials", 0, "number"], 1),
        broken(["best", "trials", 1, "state"], "lost"),
        broken(["best", "trials", 1, "validation"], None),
        broken(["best", "trials", 1, "validation"], "good"),
        broken(["best", "trials", 0, "parameters"], {"w_xy": 1.0}),
        broken(["best", "candidates", 2, "trial"], 4),  # no default
        broken(["best", "candidates", 1, "validations"], []),
        broken(["best", "space", "w_xy"], [1.0]),
        broken(["best", "parameters"], {"w_xy": 1.0}),
        broken(["best", "importance"], {"w_yx": 1.0}),
        broken(["best", "floor"], "low"),
        broken(["best", "amount"], "5 %"),
        broken(["best", "seconds"], None),
        broken(["best", "metric"], None),
    ],
)
def test_broken_outcomes_make_an_incomplete_benchmark(tmp_path, tuned):
    made = fill(tmp_path / "bench")
    made.more["tuned"] = tuned
    with pytest.raises(UserError, match=r"benchmark.json: is not a complete benchmark .* Start the benchmark again"):
        made.write()


def test_n_in_pairs_is_said_of_tuned_rows(tmp_path):
    made = tune(tmp_path / "bench", use([20.0, 1.0], amount=1, unit="pairs"))
    made.more |= {"paired_unit": "pairs", "paired": [20, 1]}
    text = made.write().markdown.read_text().replace("\\", "")
    assert "by 20 trials on validation pairs at N = 1 pair (the nearest N is used), 1.6 h" in text
    assert "### lsm, N = 1 pair, used for N = 20 pairs and 1 pair" in text


@pytest.mark.parametrize(
    ("value", "text"), [(1e-5, "1e-5"), (0.00123, "0.00123"), (2e-12, "2e-12"), (150.0, "150"), (1234.5, "1234.5")]
)
def test_parameters_are_short(value, text):
    assert markup.number(value) == text
