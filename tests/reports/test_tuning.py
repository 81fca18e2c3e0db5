import json
import shutil

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lsmbench.benchmarks.tuning import DIVERGED, PRUNED, Use
from lsmbench.errors import UserError
from lsmbench.reports import figures, markup, tuning
from lsmbench.reports.report import write_report
from tests.reports.made import Page, candidate, dumped, fill, result, tables, use


def tune(folder, *uses):
    """A benchmark that was run with these outcomes."""
    made = fill(folder)
    made.more["tuned"] = dumped(*uses)
    return made


@pytest.mark.parametrize("more", [{}, {"tuned": None}])
def test_a_benchmark_with_its_own_parameters_says_so_and_nothing_more(tmp_path, more):
    made = fill(tmp_path / "bench")
    made.more |= more
    files = made.write()
    assert {row.tuned for table in made.tables() for row in table.rows} == {None}
    assert files["report.md"].read_text().count("No row was tuned: parameters are those of the benchmark.") == 2
    assert not list(made.folder.glob("tuning.*"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Tuned rows beside one that is not; for tests that only read."""
    uses = (
        use([5.0], amount=5.0, differs=["training.epochs is 20, was 30 in the sweep"], trial=0, states={3: DIVERGED}),
        use([100.0], differs=["training.epochs is 20, was 30 in the sweep", "size is small, was tiny in the sweep"]),
        use([100.0, 5.0], row="cyclegan", amount=None, metric="mse", higher_is_better=False, states={2: PRUNED}),
    )
    made = tune(tmp_path_factory.mktemp("tuned") / "bench", *uses)
    made.files = made.write()
    return made


def test_rows_know_their_outcomes_and_untuned_rows_are_marked_in_every_rendering(mixed):
    (first, second) = mixed.tables()
    told = {row.label: row.tuned and [one.best.amount for one in row.tuned] for row in first.every_row}
    assert told == {
        "lsm": [100.0, 5.0], "base_line": (), "cyclegan": [None], "gan": None, "floor (constant)": None,
    }  # fmt: skip
    assert [row.label for row in second.rows if row.untuned] == ["base_line"]
    assert {row.label: markup.marks(row) for row in first.every_row if markup.marks(row)} == {
        "base_line": ["§"], "cyclegan": ["†"],
    }  # fmt: skip
    html, markdown, tex = (mixed.files[name].read_text() for name in ("report.html", "report.md", "table.tex"))
    assert "| base\\_line § |" in markdown
    assert "<span>base_line §</span>" in html
    assert "base\\_line$^\\S$ & " in tex


def test_both_marks_can_stand_at_one_row(tmp_path):
    files = tune(tmp_path / "bench", use([100.0, 5.0])).write()
    assert "| cyclegan † § | 0.350 |" in files["report.md"].read_text()
    assert "cyclegan$^\\dagger$$^\\S$ & " in files["table.tex"].read_text()


def test_the_curves_name_an_untuned_row(mixed):
    drawn = figures.curves(mixed.tables()[0])
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels[:3] == ["lsm", "base_line (not tuned)", "cyclegan"]


def test_a_search_for_several_n_is_told_once(mixed):
    (said,) = [note for note in markup.sentences(mixed.tables()[0], "notes") if note.startswith("lsm, tuned")]
    assert said == (
        "lsm, tuned: learning_rate and w_xy by 20 trials each on validation pairs at N = 100 % and 5 %, "
        "3.2 h of search. Chosen by the mean iou of 3 new seeds among the best trials and the default: at N = "
        "100 %, 0.720 against the default's 0.510; at N = 5 %, no trial beat the default, which is used (0.510)."
    )


def test_tuned_beside_untuned_and_differing_settings_are_warned_about(mixed):
    assert mixed.doubts()[1:] == [
        "lsm at N = 5 %; lsm at N = 100 %: training.epochs is 20, was 30 in the sweep.",
        "lsm at N = 100 %: size is small, was tiny in the sweep.",
    ]
    assert mixed.files["report.html"].read_text().count('role="note"') == 3


@pytest.mark.parametrize(("tuned", "untuned"), [(("lsm", "base_line", "cyclegan"), ()), ((), ("lsm", "base_line"))])
def test_rows_that_are_all_tuned_or_all_not_need_no_warning(tmp_path, tuned, untuned):
    made = tune(tmp_path / "bench", *(use([100.0, 5.0], row=row) for row in tuned))
    made.write()
    assert made.doubts() == []
    assert set(untuned) <= {row.label for row in made.tables()[0].rows if row.untuned}
    assert (made.folder / "tuning.png").exists() == bool(tuned)


def test_a_row_with_another_row_s_parameters_says_so_and_its_search_is_shown_once(tmp_path):
    lsm = use([100.0, 5.0])
    made = tune(tmp_path / "bench", lsm, Use(row="lsm-k_medoids", amounts=[5.0], differs=[], best=lsm.best))
    made.add("k5-0", "lsm-k_medoids", 5.0, 0, [0.5, 0.5])
    text = made.write()["report.md"].read_text()
    table = made.tables()[0]
    assert [(row.label, len(uses)) for row, uses in tuning.outcomes(table)] == [("lsm", 1)]
    assert text.count("| parameter |") == 1
    assert [axes.get_title("left") for axes in tuning.figure(table).axes] == ["lsm, N = 100 %"]


def test_the_section_shows_what_was_searched_and_found(mixed):
    html = mixed.files["report.html"].read_text()
    assert html.index("<h2>Translations") < html.index("<h2>Tuning") < html.index("<h2>Further scores")
    assert html.count('style="width:82.0%"') == 3
    page = Page(html)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert html.count("<svg") == 3, "curves, epochs and trials"
    assert "uning" not in mixed.files["table.tex"].read_text()


def test_an_unknown_importance_is_not_invented(tmp_path):
    text = tune(tmp_path / "bench", use(importance={})).write()["report.md"].read_text()
    assert "| 0.0001 | 0.0019 | – |" in text


def test_the_figure_is_reproducible_and_removed_when_it_is_no_longer_true(mixed, tmp_path):
    folder = shutil.copytree(mixed.folder, tmp_path / "bench")
    files = [folder / "tuning.png", folder / "tuning.svg"]
    before = [path.read_bytes() for path in files]
    write_report(folder)
    assert [path.read_bytes() for path in files] == before
    raw = json.loads((folder / "benchmark.json").read_text())
    (folder / "benchmark.json").write_text(json.dumps({**raw, "tuned": None}))
    write_report(folder)
    assert not list(folder.glob("tuning.*"))


def drawn(*uses):
    """The plots of a benchmark with these outcomes for its row `lsm`."""
    runs = [("a", "lsm", 5.0, 0), ("b", "lsm", 100.0, 0)]
    table = tables(runs, [result("a", "lsm", [0.5])], tuned=dumped(*uses))[0]
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
    candidates = [candidate(3, [0.7]), candidate(0, [0.5])]
    one = use(scores=[0.5, 0.5, 0.4, 0.6, 0.55], states={2: PRUNED}, candidates=candidates)
    table = tables([("a", "lsm", 5.0, 0)], [result("a", "lsm", [0.5])], tuned=dumped(one))[0]
    (axes,) = tuning.figure(table).axes
    assert not axes.collections


def test_plots_stand_in_columns_of_their_n():
    names = ("lsm", "sop", "cyclegan")
    runs = [(name, name, 5.0, 0) for name in names]
    uses = [use(amount=n) for n in (5.0, 100.0)] + [use(row="sop", amount=5.0), use(row="cyclegan", amount=None)]
    table = tables(runs, [result("lsm", "lsm", [0.5])], tuned=dumped(*uses))[0]
    figure = tuning.figure(table)
    figure.draw_without_rendering()
    plots = {axes.get_title("left"): axes.get_position() for axes in figure.axes}
    assert list(plots) == ["lsm, N = 100 %", "lsm, N = 5 %", "sop, N = 5 %", "cyclegan, any N"]
    first, second, other, free = plots.values()
    assert first.x1 < second.x0
    assert first.y0 == pytest.approx(second.y0)
    assert other.x0 == pytest.approx(second.x0)
    assert free.x0 == pytest.approx(first.x0)
    assert free.y1 < other.y0 < other.y1 < first.y0


def test_nothing_of_a_large_figure_overlaps_or_is_cut_off():
    names = [f"a_much_longer_name_{i}" for i in range(8)]
    uses = [
        use(row=name, amount=n, states={3: DIVERGED, 4: PRUNED}, floor=0.0)
        for name in names
        for n in (100.0, 20.0, 5.0)
    ]
    runs = [(name, name, 5.0, 0) for name in names]
    figure = tuning.figure(tables(runs, [result(names[0], names[0], [0.5])], tuned=dumped(*uses))[0])
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    assert len(boxes) == 24
    whole, legend = figure.bbox, figure.legends[0].get_window_extent(renderer)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= whole.x1
        assert box.y1 <= whole.y1
        assert box.y0 >= legend.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


QUIET = [candidate(6, [0.7, 0.7]), candidate(0, [0.5, 0.5])]


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
    candidates = [candidate(2, [0.0, 0.0]), candidate(0, [0.0, 0.0])]
    low, high = tuning.limits(use(scores=[0.0] * 4, floor=0.0, states=states, candidates=candidates).best)
    assert low < 0 < high


def test_the_noise_fits_the_plot():
    scores = [0.60, 0.61, 0.62, 0.61]
    noisy = [candidate(2, [0.4, 0.8]), candidate(0, [0.5, 0.7])]
    one = use(scores=scores, candidates=noisy).best
    low, high = tuning.limits(one)
    assert low < 0.62 - one.noise() < 0.62 + one.noise() < high


def broken(path, value):
    raw = use().model_dump(mode="json")
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
    text = made.write()["report.md"].read_text()
    assert "by 20 trials on validation pairs at N = 1 pair (the nearest N is used), 1.6 h" in text
    assert "### lsm, N = 1 pair, used for N = 20 pairs and 1 pair" in text
