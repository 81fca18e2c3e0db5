import csv
import io
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from lsmbench.benchmarks.plan import Span
from lsmbench.errors import UserError
from lsmbench.reports import figures, markup, pictures
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.report import console_table, write_report
from lsmbench.reports.statistics import Crossed
from lsmbench.reports.table import tabulate
from tests.reports.made import ENVIRONMENT, Benchmark, Page, change, fill, result, score, tables


@pytest.fixture
def made(tmp_path):
    return fill(tmp_path / "bench")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("report") / "bench").write()  # for tests that only read


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_html_holds_everything_and_refers_to_nothing_outside(files):
    text = files["report.html"].read_text()
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    for tag, key, value in page.links:
        if tag in ("img", "script", "link"):
            assert value.startswith("data:"), (tag, key, value[:60])
        else:
            assert not re.match(r"[a-z]+:|//", value), (tag, key, value)
            target = value.rstrip("/")
            assert target.startswith(("#", "runs/")) or (files["report.html"].parent / target).exists()
    assert not re.search(r"https?:|@import", text)
    assert text.count("<svg") == 2, "curves and epochs"
    assert text.count("data:image/png;base64,") == 2
    assert "A title with 5 % &amp; more" in text
    assert "Latent &lt;b&gt;Space&lt;/b&gt; Mapping" in text
    assert "a loss | is not &lt;finite&gt;" in text
    tip = "seed 0: 0.770, seed 1: 0.780; standard deviation over seeds 0.007, median 0.775"
    assert f'<span class="best" title="{tip}"><b>0.775</b>' in text
    assert 'role="note"' not in text  # nothing to warn about


def test_latex_table(files):
    text = files["table.tex"].read_text()
    body = [line.strip() for line in text.splitlines() if not line.startswith("%")]
    assert {"\\toprule", "\\midrule", "\\bottomrule"} <= set(body)
    assert "\\caption{A title with 5 \\% \\& more: iou, x $\\rightarrow$ y (higher is better).}" in body
    assert "lsm & $\\mathbf{0.775}\\,{\\scriptstyle\\pm\\,0.064}$ & $0.500$ (1/2) & 30 s & 1,200 \\\\" in body
    assert "\\quad\\emph{published} & \\emph{0.732} & -- & & \\\\" in body
    assert any(line.startswith("base\\_line & ") and "^\\ddagger" in line for line in body)
    assert "cyclegan$^\\dagger$ & $0.350$ & $0.350$ & 30 s & 1,200 \\\\" in body
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    assert len(set(re.findall(r"\\label{([^}]*)}", text))) == 2
    rows = [line for line in body if line.endswith("\\\\") and " & " in line]
    assert {line.count("&") - line.count("\\&") + 1 for line in rows if "multicolumn" not in line} == {5}
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50 % of {x_1} & $y$ #2", "50 \\% of \\{x\\_1\\} \\& \\$y\\$ \\#2"),
        ("a\\b^c~d", "a\\textbackslash{}b\\textasciicircum{}c\\textasciitilde{}d"),
        ("λ4 ≤ 3 × Δ → Α", "$\\lambda$4 $\\leq$ 3 $\\times$ $\\Delta$ $\\rightarrow$ A"),
        ("Müller – “x” 漢\nnew", "Müller -- ``x'' ? new"),
    ],
)
def test_latex_escapes(text, escaped):
    assert markup.latex(text) == escaped


@pytest.mark.parametrize(
    ("value", "text"), [(1e-5, "1e-5"), (0.00123, "0.00123"), (2e-12, "2e-12"), (150.0, "150"), (1234.5, "1234.5")]
)
def test_parameters_are_short(value, text):
    assert markup.number(value) == text


def test_csv_holds_every_score(files):
    with files["scores.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 2 + 2 * 2
    assert rows[0] == {
        "method": "lsm", "paired": "100", "seed": "0", "run": "l100-0", "metric": "iou", "source": "x", "target": "y",
        "sample": "0", "value": "0.77", "test_set": "test", "unit": "", "name": "",
    }  # fmt: skip
    assert next(row for row in rows if row["run"] == "l5-0" and row["sample"] == "1")["value"] == ""
    floor = next(row for row in rows if row["run"] == "f")
    assert (floor["method"], floor["paired"], floor["seed"]) == ("floor (constant)", "", "")


def test_the_same_runs_give_the_same_bytes_whatever_the_user_s_settings(made):
    made.write()
    before = contents(made.folder)
    assert {"report.html", "report.md", "table.tex", "scores.csv", "curves.png", "curves.svg"} <= set(before)
    assert {"panel-N100.png", "panel-N5.png"} <= set(before)
    moved = made.folder.rename(made.folder.with_name("elsewhere"))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9}):
        settings = dict(matplotlib.rcParams)
        write_report(moved)
        assert dict(matplotlib.rcParams) == settings
    assert contents(moved) == before


def test_pictures_that_are_no_longer_true_are_removed(made):
    made.write()
    for path in made.folder.glob("runs/*/panel.npz"):
        path.unlink()
    assert not [name for name in made.write() if name.startswith("panel")]
    assert not list(made.folder.glob("panel-N*.png"))
    assert not list(made.folder.glob(".*"))  # no temporary files


def test_damaged_pictures_and_those_of_other_samples_are_named_and_left_out(made):
    runs = made.folder / "runs"
    (runs / "l5-0" / "panel.npz").write_bytes(b"PK broken")
    with np.load(runs / "b100-0" / "panel.npz") as file:
        arrays = dict(file)
    np.savez(runs / "b100-0" / "panel.npz", **{**arrays, "index": np.array([3, 4])})
    found = made.read()
    shown, problems = pictures.translations(found, tabulate(found.plan, found.runs)[0])
    assert [picture.name for picture in shown] == ["panel-N100.png"]
    assert [run for run, _ in problems] == ["b100-0", "l5-0"]
    assert problems[0][1] == "runs/b100-0/panel.npz: shows other test samples; left out."
    assert "runs/l5-0/panel.npz: " in (made.folder / "report.md").read_text()


def test_translations_back_stand_beside_the_translations(made, monkeypatch):
    home = made.folder / "runs" / "l100-0"
    with np.load(home / "panel.npz") as file:
        arrays = dict(file)
    np.savez(home / "panel.npz", **arrays, back=arrays["x"][::-1])
    drawn = []
    draw = figures.panel
    monkeypatch.setattr(figures, "panel", lambda columns, *more: drawn.append(columns) or draw(columns, *more))
    text = made.write()["report.md"].read_text()
    titles = [[column.title for column in columns] for columns in drawn]
    assert titles == [["input", "truth", "lsm", "back to x", "base_line"], ["input", "truth", "lsm"]]
    assert np.array_equal(drawn[0][3].images, arrays["x"][::-1])
    assert (drawn[0][3].colour, drawn[0][3].scores) == (drawn[0][2].colour, ())
    assert "translated back to x." in text
    np.savez(home / "panel.npz", **arrays, back=arrays["x"][:1])
    assert "runs/l100-0/panel.npz: back is uint8 (1, 8, 8, 3)" in made.write()["report.md"].read_text()


def test_what_makes_numbers_hard_to_compare_is_found(made):
    back = [score([0.1], "mse", "y", "x", higher=True, pooled=0.2)]
    more = {"environment": {**ENVIRONMENT, "torch": "2.8.0", "hostname": "a"}}
    made.add("x", "sop", 5.0, 0, [0.9, 0.9, 0.9], scores=back, **more)
    made.add("y", "sop", 5.0, 1, [0.9, 0.9], supervision={"pairs": 6, "val_pairs": 9}, selection={"rule": "last"})
    made.add("z", "sop", 100.0, 1, [0.9, 0.9], protocol="2")
    made.write()
    told, said = made.told(), made.doubts()
    assert told["environments"]["torch"] == Counter({"2.9.0": 9, "2.8.0": 1})
    assert "hostname" not in told["environments"]
    assert [one.id for one in told["left_out"]] == ["z"]
    assert (told["other_samples"], told["pooled_or_not"], told["disagreeing"]) == (True, ["mse, y → x"], ["mse, y → x"])
    assert len(said) == 8
    text = (made.folder / "scores.csv").read_text()
    assert ",x,iou" in text
    assert ",z,iou" not in text
    assert (made.folder / "table.tex").read_text().count("% WARNING: 1 run left out") == 1


def test_test_samples_that_training_has_too_are_named_once_for_all_runs(tmp_path):
    made = Benchmark(tmp_path / "bench")
    for fold, (known, names) in enumerate([([0], ["a.png", "b.png"]), ([2, 3], ["c.png", "d.png"])]):
        indices = [2 * fold, 2 * fold + 1]
        dataset = {"name": "mine", "fingerprint": "f00d", "test": 2, "in_training": {"test": known}}
        for method in ("lsm", "sop"):
            one = score([0.5, 0.5], names=names).model_copy(update={"indices": indices})
            made.add(f"{method}{fold}", method, 5.0, fold, [], scores=[one], dataset=dataset)
    made.write()
    assert [said for said in made.doubts() if "same x" in said] == [
        "3 of 4 test samples have the same x as a training sample, value for value, so that their scores tell how well "
        "they are remembered: a.png, c.png, d.png."
    ]


def test_nothing_is_said_where_all_is_well(made):
    made.write()
    told, said = made.told(), made.doubts()
    assert said == []
    assert (told["other_samples"], told["pooled_or_not"], told["disagreeing"], told["damaged"]) == (False, [], [], 0)
    assert told["status"] == "8 of 10 runs finished, 1 failed, 1 to come"


def test_folders_outside_the_benchmark_are_counted_only(made):
    (made.folder / "runs" / "stranger").mkdir()
    (made.folder / "runs" / "stranger" / "result.json").write_text("{}")
    (made.folder / "runs" / ".lock").mkdir()
    found = made.read()
    assert (found.strangers, found.problems) == (1, ())


def elsewhere(made, **published):
    made.more["published"] = published
    return made.write()["report.md"].read_text().splitlines()


def test_a_value_published_for_any_n_stands_in_every_column_and_is_not_told_again(made):
    values = {"lsm": {"100": 0.732}, "cyclegan": {"100": 0.303}, "base_line": {"100": 0.535}, "unrun": {"60": 0.4}}
    lines = elsewhere(made, source="s", metric="iou", values=values, any_n=["cyclegan", "unrun"])
    assert "| *cyclegan, published* | *0.303 (any N)* | *0.303 (any N)* |  |  |" in lines
    assert "- Also published: unrun 0.4 at any N." in lines
    tex = (made.folder / "table.tex").read_text()
    assert "\\quad\\emph{published} & \\multicolumn{2}{c}{\\emph{0.303 (any N)}} & & \\\\" in tex


def test_published_values_beside_the_table_name_a_source_that_no_cell_has(made):
    made.more["published"] = [
        {"source": "One", "metric": "iou", "values": {"lsm": {"100": 0.7, "60": 0.6}}},
        {"source": "Two", "metric": "iou", "values": {"lsm": {"60": 0.1, "40": 0.5}, "unrun": {"7": 0.2}}},
    ]
    lines = made.write()["report.md"].read_text().splitlines()
    assert "- Also published: lsm 0.6 at 60 %; lsm 0.5 at 40 % (Two); unrun 0.2 at 7 % (Two)." in lines
    assert "- Published values: One." in lines


def test_many_published_values_beside_the_table_are_a_list_to_unfold(made):
    values = {method: {str(n): n / 100 for n in (60, 50, 40, 30, 20)} for method in ("lsm", "base_line")}
    lines = elsewhere(made, source="s", metric="iou", values=values)
    start = lines.index("- Also published:")
    assert lines[start + 1] == "  - lsm 0.6 at 60 %, 0.5 at 50 %, 0.4 at 40 %, 0.3 at 30 %, 0.2 at 20 % (s)"
    text = (made.folder / "report.html").read_text()
    assert "<summary>Also published: 10 values</summary>" in text
    assert Page(text).wrong == []


def test_a_benchmark_without_results_has_a_report_that_says_so(tmp_path):
    made = Benchmark(tmp_path / "bench")
    made.plan("a", "lsm", 5.0, 0)
    files = made.write()
    assert set(files) == {"report.html", "report.md", "table.tex", "scores.csv"}
    for name in ("report.html", "report.md"):
        assert "No run has finished with a score yet" in files[name].read_text()
    assert len(console_table(made.folder)) == 1


def test_a_benchmark_without_rows_has_a_report(tmp_path):
    made = Benchmark(tmp_path / "bench", skipped=[], published=None)
    assert "report.html" in made.write()


def test_console_tables(files):
    console = Console(width=160, record=True, file=io.StringIO())
    for table in console_table(files["report.md"].parent):
        console.print(table)
    text = console.export_text()
    for said in ("0.775 ± 0.064", "0.200 ‡ (1/2)", "floor (constant)", "published 0.732", "mse, y → x"):
        assert said in text


@pytest.mark.parametrize("call", [write_report, console_table])
def test_what_only_the_user_can_mend_is_a_user_error(tmp_path, call):
    with pytest.raises(UserError, match="no such folder"):
        call(tmp_path / "nowhere")


def test_notes_that_tables_share_stand_once_on_the_console(files):
    console = Console(file=io.StringIO(), width=200)
    for shown in console_table(files["report.md"].parent):
        console.print(shown)
    text = console.file.getvalue()
    assert text.count("Time and updates are means") == 1
    assert text.index("Of several tables:") < text.index("Time and updates are means")


def test_a_report_needs_no_training_code(files):
    code = (
        "import sys, pathlib; from lsmbench.reports.report import write_report;"
        "write_report(pathlib.Path(sys.argv[1]));"
        "sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    folder = files["report.md"].parent
    assert subprocess.run([sys.executable, "-c", code, folder], timeout=100).returncode == 0


# --- numbers of pairs, and chosen ones ----------------------------------------------------------------------------

CHOICES = [("", "random"), ("-k_medoids", "k_medoids")]


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A benchmark whose N counts pairs, chosen by two rules; for tests that only read."""
    published = {"source": "T", "metric": "accuracy", "values": {"pix2pix": {"20": 0.72, "2975": 0.878}}}
    made = Benchmark(
        tmp_path_factory.mktemp("pairs") / "bench", paired_unit="pairs", primary_metric="accuracy", paired=[20, 1],
        published=published, title="Pairs", skipped=[],
    )  # fmt: skip
    for n in (20, 1):
        for seed in (0, 1):
            for suffix, rule in CHOICES:
                accuracy = score([0.2, 0.4], "accuracy", higher=True, pooled=0.5 + n / 100)
                made.add(
                    f"p{suffix}-{n}-{seed}", f"pix2pix{suffix}", n, seed, [], name="pix2pix", panel=True, rule=rule,
                    sheet=(n, 100 * seed, 200), scores=[accuracy],
                )  # fmt: skip
    return made.write()


@pytest.fixture
def pairs(counted, tmp_path):
    """A copy of the benchmark's folder, to change."""
    return shutil.copytree(counted["report.md"].parent, tmp_path / "bench")


def test_n_in_pairs_is_said_everywhere(counted):
    html, markdown, tex = (counted[name].read_text() for name in ("report.html", "report.md", "table.tex"))
    found = read_benchmark(counted["report.md"].parent)
    (table,) = tabulate(found.plan, found.runs)
    assert [column.amount for column in table.columns] == ["20 pairs", "1 pair"]
    assert [cell.mean for cell in table.rows[0].cells] == pytest.approx([0.7, 0.51])
    assert "- Validation pairs: 7 per run. They count as supervision, besides the N pairs." in markdown
    assert "Pairs &" not in tex
    assert "training pairs*" not in markdown
    assert 'data-sort="20.0">20 pairs</td>' in html
    said = html + markdown + tex.partition("\\begin")[2]
    said = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", said, flags=re.DOTALL)
    assert not re.search(r"\d (%|\\%)|\\,\\%|percentage", re.sub(r"95 \\?%|\d+ \\?% is from seeds", "", said))
    assert {"panel-20pairs.png", "panel-1pairs.png"} <= set(counted)
    with counted["scores.csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["paired"] for row in rows} == {"20", "1"}
    assert {row["value"] for row in rows} == {"0.2", "0.4"}  # of the samples, not of the runs
    assert "ced.png" not in counted


def test_runs_that_saw_another_number_of_pairs_are_told_of(pairs):
    for home in pairs.glob("runs/*-20-*"):
        change(home, lambda raw: raw["supervision"].update(pairs=19))
    write_report(pairs)
    found = read_benchmark(pairs)
    assert tabulate(found.plan, found.runs)[0].columns[0].pairs == Span(19, 19)
    assert "| *training pairs* | 19 | 1 |  |  |" in (pairs / "report.md").read_text()
    assert "    Pairs & 19 & 1 & & \\\\" in (pairs / "table.tex").read_text()


def test_chosen_pairs_are_shown_by_n_and_rule(counted):
    folder = counted["report.md"].parent
    shown, problems = pictures.chosen(read_benchmark(folder))
    assert problems == []
    assert [picture.name for picture in shown] == [
        f"chosen-{n}pairs-{rule}.png" for n in (20, 1) for rule in ("random", "k_medoids")
    ]
    assert [picture.about for picture in shown[:2]] == ["random, seed 0", "k_medoids, the same for every seed"]
    assert shown[0].data == (folder / "runs" / "p-20-0" / "chosen.png").read_bytes()
    assert shown[3].data == (folder / "runs" / "p-k_medoids-1-0" / "chosen.png").read_bytes()
    page = Page(counted["report.html"].read_text())
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    assert {"chosen-1", "chosen-shown-2", "panel-1", "panel-shown-2"} <= set(page.ids)
    assert {("a", "href", picture.name) for picture in shown} <= set(page.links)


def test_a_damaged_picture_of_chosen_pairs_is_named_and_the_next_seed_s_shown(monkeypatch, pairs):
    monkeypatch.setattr(pictures, "_EMBEDDED", 10)
    whole = (pairs / "runs" / "p-20-0" / "chosen.png").read_bytes()
    (pairs / "runs" / "p-20-0" / "chosen.png").write_bytes(whole[:-30])
    for seed in (0, 1):
        (pairs / "runs" / f"p-k_medoids-20-{seed}" / "chosen.png").write_bytes(b"no picture")
    write_report(pairs)
    shown, problems = pictures.chosen(read_benchmark(pairs))
    assert [picture.about for picture in shown if picture.label == "20 pairs"] == ["random, seed 1"]
    assert [run for run, _ in problems] == ["p-20-0", "p-k_medoids-20-0", "p-k_medoids-20-1"]
    assert problems[1][1] == "runs/p-k_medoids-20-0/chosen.png: is not a PNG picture."
    assert not (pairs / "chosen-20pairs-k_medoids.png").exists()  # of the earlier report
    text = (pairs / "report.html").read_text()
    assert "data:image/png" not in text
    assert text.count("data:image/jpeg") == 5


def test_pairs_in_per_cent_are_shown_only_if_a_rule_chose_some(pairs):
    change(pairs, lambda raw: raw.update(paired_unit="%"), "benchmark.json")
    write_report(pairs)
    names = {f"chosen-N{n}-{rule}.png" for n in (20, 1) for rule in ("random", "k_medoids")}
    assert {path.name for path in pairs.glob("*-*.png")} == names | {"panel-N20.png", "panel-N1.png"}
    for home in pairs.glob("runs/*/"):
        change(home, lambda raw: raw["config"]["supervision"].pop("selection"))
    assert pictures.chosen(read_benchmark(pairs)) == ([], [])


# --- pictures -----------------------------------------------------------------------------------------------------

MANY = [
    "pix2pix", "hybrid", *(f"a_much_longer_name_{i}" for i in range(6)), "pix2pix-k_medoids", "hybrid-k_medoids",
    "gan-k_medoids",
]  # fmt: skip


@pytest.fixture(scope="module")
def many():
    runs = [(f"r{i}", label, 5.0, 0) for i, label in enumerate(MANY)]
    return tables(runs, [result(run, label, [0.5]) for run, label, *_ in runs])[0]


def test_a_row_of_chosen_pairs_looks_like_the_row_it_belongs_to(many):
    looks = figures.styles(many.rows)
    for label in ("pix2pix", "hybrid"):
        plain, chosen = looks[label], looks[f"{label}-k_medoids"]
        assert plain.colour == chosen.colour
        assert plain.marker != chosen.marker
        assert plain.dash != chosen.dash
    assert looks["gan-k_medoids"].dash == "-"  # there is no row without
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(MANY)


def test_a_method_keeps_its_look_whatever_stands_beside_it():
    def looks(*labels):
        runs = [(f"r{i}", label, 5.0, 0) for i, label in enumerate(labels)]
        rows = tables(runs, [result(run, label, [0.5]) for run, label, *_ in runs])[0].rows
        return figures.styles(rows)

    assert list(looks(*reversed(figures.PLACES)).items()) == list(reversed(looks(*figures.PLACES).items()))
    few, more = looks("mine", "lsm"), looks("unet", "sop", "lsm", "mine")
    assert (few["lsm"], few["mine"]) == (more["lsm"], more["mine"])
    every = looks(*(f"new_{i}" for i in range(40)), *figures.PLACES)
    assert {label: every[label] for label in figures.PLACES} == looks(*figures.PLACES)
    assert len({(look.colour, look.marker) for look in every.values()}) == 40 + len(figures.PLACES)


def test_the_legend_of_many_rows_stays_inside_the_figure_and_below_the_axes(many):
    figure = figures.curves(many)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    (legend,) = figure.legends
    inside, axes = legend.get_window_extent(renderer), figure.axes[0].get_tightbbox(renderer)
    assert inside.x0 >= 0
    assert inside.x1 <= figure.bbox.width
    assert inside.y1 <= axes.y0
    assert axes.height > 0.5 * figure.bbox.height
    assert len(legend.get_texts()) == len(MANY)


def test_titles_of_many_columns_do_not_touch():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    titles = [
        "truth",
        "pix2pix-k_medoids",
        "hybrid-k_medoids (seed\u00a012)",
        "floor (copy of the input)",
        "a_word_of_25_letters_or_so",
    ]
    figure = figures.panel([figures.Translations(title, image) for title in titles], ["0"])
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [axes.title.get_window_extent(renderer) for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert all(box.y1 <= figure.bbox.height for box in boxes)
    assert figure.axes[2].get_title() == "hybrid-\nk_medoids\n(seed\u00a012)"


def test_a_run_whose_score_is_undefined_is_told(tmp_path):
    made = Benchmark(tmp_path / "bench")
    made.add("a", "lsm", 5.0, 0, [math.nan])
    assert "| undefined |" in made.write()["report.md"].read_text()


def test_the_ceiling_of_a_judge_stands_below_the_floors(tmp_path):
    bench = Benchmark(tmp_path / "judged")
    judge = {"kind": "classifier", "digest": "c0de", "metric": "iou", "value": 0.98765, "samples": 1234}
    for seed in (0, 1):
        bench.add(f"l{seed}", "lsm", 5.0, seed, [0.5, 0.6], judge=judge)
        bench.add(f"s{seed}", "sop", 5.0, seed, [0.5, 0.7], judge=judge)
    bench.add("f", "floor", None, None, [0.2, 0.3], kind="constant", judge=judge)
    bench.more["paired"] = [5]
    files = bench.write()
    read = read_benchmark(bench.folder)
    assert tabulate(read.plan, read.runs)[0].ceiling == ("classifier", 0.98765, 1234, "c0de", None)
    markdown = files["report.md"].read_text()
    assert "| *ceiling* | 0.988 |" in markdown
    assert "a classifier (c0de), on 1,234 real test samples of y." in markdown
    assert "<span>ceiling</span>" in files["report.html"].read_text()
    assert not Page(files["report.html"].read_text()).wrong
    assert "ceiling & $0.988$" in files["table.tex"].read_text()
    console = Console(file=io.StringIO(), width=100)
    for table in console_table(bench.folder):
        console.print(table)
    assert re.search(r"ceiling +│ +0\.988", console.file.getvalue())
    of_samples = {"unit": "share of samples, 0 to 1"}
    scores = [one if one is None else one.model_copy(update=of_samples) for one in read.runs["score"]]
    shares = tabulate(read.plan, read.runs.assign(score=scores))[0]
    right = np.repeat([1.0, 0.0], [1219, 15])  # of 1,234 samples
    half = Crossed.of(right[None], fixed=True).half_width()
    assert shares.ceiling.half_width == pytest.approx(half, rel=0.01)
    plain = Benchmark(tmp_path / "plain")
    plain.add("l", "lsm", 5.0, 0, [0.5, 0.6], judge={"kind": "segmenter", "digest": "c0de"})
    plain.more["paired"] = [5]
    assert "eiling" not in plain.write()["report.md"].read_text()
