import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image as Picture
from rich.console import Console

from lsmbench.errors import UserError
from lsmbench.reports import figures
from lsmbench.reports.contents import doubts, read, read_chosen
from lsmbench.reports.report import console_table, write_report
from lsmbench.reports.table import tabulate
from lsmbench.runs.results import Failure, Result, Score
from tests.reports.test_table import manifest, result

VOID = {"meta", "input", "img", "br", "link", "path", "use", "rect", "circle"}
ENVIRONMENT = {"lsmbench": "0.1.0", "torch": "2.9.0", "gpu": None, "cpu": "Some CPU"}


class Benchmark:
    """A benchmark's folder with made-up results."""

    def __init__(self, folder, **more):
        self.folder = folder
        self.runs = []
        self.more = more
        (folder / "runs").mkdir(parents=True)

    def plan(self, run, method, paired, seed):
        self.runs.append({"id": run, "method": method, "paired": paired, "seed": seed})
        return self.folder / "runs" / run

    def config(self, method, paired, seed, kind=None):
        return {
            "method": {"name": method, "kind": kind},
            "supervision": {"paired": paired or 0.0},
            "training": {"init_seed": seed or 0},
        }

    def add(
        self,
        run,
        method,
        paired,
        seed,
        values,
        kind=None,
        panel=False,
        scores=(),
        name=None,
        metric="iou",
        rule=None,
        sheet=None,
        **more,
    ):
        home = self.plan(run, method, paired, seed)
        config = self.config(name or method, paired, seed, kind)
        if rule:
            config["supervision"]["selection"] = rule
        result = Result(
            id=run,
            protocol="1",
            config=config,
            dataset={"name": "sit", "fingerprint": "f00d", "train": 70, "val": 7, "test": len(values)},
            supervision={"pairs": int(paired or 0), "x": 10, "y": 10, "val_pairs": 7},
            selection={"rule": "best_validation", "stages": [{"stage": "main", "epoch": 4, "epochs": 9}]},
            scores=[Score(metric, "x", "y", "unit", metric == "iou", list(range(len(values))), list(values)), *scores],
            validation=0.5,
            cost={"wall_s": 30.0, "updates": 1200, "parameters": 10},
            environment=ENVIRONMENT,
        )
        for key, value in more.items():
            setattr(result, key, value)
        result.save(home)
        if panel:
            image = np.random.default_rng(seed).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
            np.savez(home / "panel.npz", index=np.array([0, 1]), x=image, y=image, prediction=image)
        if sheet:
            Picture.new("RGB", (40, 20), sheet).save(home / "chosen.png")

    def fail(self, run, method, paired, seed):
        home = self.plan(run, method, paired, seed)
        Failure(run, "diverged", "a loss | is not <finite>", "epoch 3", self.config(method, paired, seed)).save(home)

    def write(self):
        raw = {
            "schema": 1,
            "name": "quick",
            "title": "A title with 5 % & more",
            "description": "What it is.",
            "dataset": "sit",
            "methods": list(dict.fromkeys(run["method"] for run in self.runs)),
            "method_summaries": {"lsm": "Latent <b>Space</b> Mapping"},
            "paired": [100, 5],
            "seeds": [0, 1],
            "size": "small",
            "runs": self.runs,
            "skipped": [{"method": "gan", "reason": "needs landmarks & more"}],
            "primary_metric": "iou",
            "published": {
                "source": "A paper, Table 2",
                "metric": "iou",
                "values": {"lsm": {"100": 0.732, "60": 0.7}, "unrun": {"100": 0.5, "60": 0.4}},
                "note": "Larger images.",
            },
            "command": "make bench",
            **self.more,
        }
        (self.folder / "benchmark.json").write_text(json.dumps(raw))
        return write_report(self.folder)


def fill(folder):
    made = Benchmark(folder)
    back = [Score("mse", "y", "x", "squares", False, [0, 1], [0.02, 0.04])]
    made.add("l100-0", "lsm", 100.0, 0, [0.7, 0.8], panel=True, scores=back)
    made.add("l100-1", "lsm", 100.0, 1, [0.8, 0.8], panel=True, scores=back)
    made.add("l5-0", "lsm", 5.0, 0, [0.5, float("nan")], panel=True)
    made.plan("l5-1", "lsm", 5.0, 1)
    made.add("b100-0", "base_line", 100.0, 0, [0.4, 0.4], panel=True)
    made.add("b100-1", "base_line", 100.0, 1, [0.4, 0.4])
    made.add("b5-0", "base_line", 5.0, 0, [0.2, 0.2])
    made.fail("b5-1", "base_line", 5.0, 1)
    made.add("c-0", "cyclegan", None, 0, [0.35, 0.35])
    made.add("f", "floor", None, None, [0.3, 0.3], kind="constant")
    return made


@pytest.fixture
def benchmark(tmp_path):
    return fill(tmp_path / "bench")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("report") / "bench").write()  # for tests that only read


class Page(HTMLParser):
    """Collects what a page refers to, and whether its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [(tag, key, values[key]) for key in ("src", "href", "xlink:href") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_html_holds_everything_and_refers_to_nothing_outside(paths):
    text = paths.html.read_text()
    page = Page(text)
    assert page.wrong == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for tag, key, value in page.links:
        if tag in ("img", "script", "link"):
            assert value.startswith("data:"), (tag, key, value[:60])
        else:
            assert not re.match(r"[a-z]+:|//", value), (tag, key, value)
            target = value.rstrip("/")
            assert target.startswith(("#", "runs/")) or (paths.html.parent / target).exists()
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert text.count("<svg") == 1
    assert text.count("data:image/png;base64,") == 2


def test_html_says_what_there_is_to_say(paths):
    text = paths.html.read_text()
    assert "A title with 5 % &amp; more" in text
    assert "Latent &lt;b&gt;Space&lt;/b&gt; Mapping" in text
    assert "<b>0.775</b>" in text  # (0.75 + 0.8) / 2
    assert "± 0.035" in text  # 0.05 / √2
    assert "published 0.732" in text
    # Of a method without a row only what would stand in the table.
    assert "Also published: lsm 0.7 at 60 %; unrun 0.5 at 100 %." in text
    assert "Published values stem from another setting: Larger images." in text
    assert "Validation pairs: 7 per run. They count as supervision: at N = 5 % a run saw 5 training pairs" in text
    assert "Selection rule: best_validation." in text
    assert "8 of 10 runs finished, 1 failed, 1 to come" in text
    assert "a loss | is not &lt;finite&gt;" in text
    assert "needs landmarks &amp; more" in text
    assert "4 of 9" in text
    assert "fingerprint f00d" in text
    assert 'href="runs/l5-1/"' in text
    assert "not run: needs landmarks" in text
    assert "1/2 seeds, 1 failed" in text
    assert "prefers-color-scheme: dark" in text
    assert 'role="note"' not in text  # nothing to warn about


def test_markdown_table(paths):
    text = paths.markdown.read_text()
    lines = text.splitlines()
    assert "| method | 100 % | 5 % | time/run | updates |" in lines
    assert "| lsm | **0.775** ± 0.035 | **0.500** (1/2) | 30 s | 1,200 |" in lines
    assert "| *lsm, published* | *0.732* | – |  |  |" in lines
    assert "| base\\_line | 0.400 ± 0.000 | 0.200 ‡ (1/2) | 30 s | 1,200 |" in lines
    assert "| cyclegan † | 0.350 | 0.350 | 30 s | 1,200 |" in lines
    assert "| *floor (constant)* | 0.300 | 0.300 | 30 s | 1,200 |" in lines
    assert "| *training pairs* | 100 | 5 |  |  |" in lines
    assert "| gan | not run | not run | – | – |" in lines
    assert "### mse, y → x (lower is better)" in lines
    assert "| lsm | 0.0300 ± 0.0000 | to come (0/1) | 30 s | 1,200 |" in lines
    assert any("a loss \\| is not \\<finite\\>" in line for line in lines)
    assert "<summary>All runs</summary>" in lines


def test_latex_table(paths):
    text = paths.tex.read_text()
    body = [line.strip() for line in text.splitlines() if not line.startswith("%")]
    assert "\\usepackage{booktabs}" in text.splitlines()[1]
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert rule in body
    assert "\\caption{A title with 5 \\% \\& more: iou, x $\\rightarrow$ y (higher is better).}" in body
    assert "lsm & $\\mathbf{0.775}\\,{\\scriptstyle\\pm\\,0.035}$ & $\\mathbf{0.500}$ (1/2) & 30 s & 1,200 \\\\" in body
    assert "\\quad\\emph{published} & \\emph{0.732} & -- & & \\\\" in body
    assert any(line.startswith("base\\_line & ") and "^\\ddagger" in line for line in body)
    assert "cyclegan$^\\dagger$ & $0.350$ & $0.350$ & 30 s & 1,200 \\\\" in body
    assert "floor (constant) & $0.300$ & $0.300$ & 30 s & 1,200 \\\\" in body
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
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
def test_latex_escapes(tmp_path, text, escaped):
    made = Benchmark(tmp_path / "bench", title=text)
    made.add("a", "lsm", 5.0, 0, [0.5])
    assert f"\\caption{{{escaped}: iou" in made.write().tex.read_text()


def test_csv_holds_every_score(paths):
    with paths.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 2 + 2 * 2
    first = rows[0]
    assert list(first) == ["method", "paired", "seed", "run", "metric", "source", "target", "sample", "value"]
    assert list(first.values()) == ["lsm", "100", "0", "l100-0", "iou", "x", "y", "0", "0.7"]
    undefined = next(row for row in rows if row["run"] == "l5-0" and row["sample"] == "1")
    assert undefined["value"] == ""
    floor = next(row for row in rows if row["run"] == "f")
    assert (floor["method"], floor["paired"], floor["seed"]) == ("floor (constant)", "", "")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_same_runs_give_the_same_bytes_whatever_the_user_s_settings(benchmark):
    benchmark.write()
    before = contents(benchmark.folder)
    assert {"report.html", "report.md", "table.tex", "scores.csv", "curves.png", "curves.svg"} <= set(before)
    assert {"panel-N100.png", "panel-N5.png"} <= set(before)
    moved = benchmark.folder.rename(benchmark.folder.with_name("elsewhere"))
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9}):
        settings = dict(matplotlib.rcParams)
        write_report(moved)
        assert dict(matplotlib.rcParams) == settings
    assert contents(moved) == before


def test_pictures_that_are_no_longer_true_are_removed(benchmark):
    benchmark.write()
    for path in benchmark.folder.glob("runs/*/panel.npz"):
        path.unlink()
    paths = benchmark.write()
    assert paths.panels == ()
    assert not list(benchmark.folder.glob("panel-N*.png"))
    assert not list(benchmark.folder.glob(".*"))  # no temporary files


def test_damaged_files_are_named_and_skipped(benchmark):
    runs = benchmark.folder / "runs"
    (runs / "l100-1" / "result.json").write_text('{"schema": 1, "id": "l100')
    (runs / "b100-0" / "panel.npz").write_bytes(b"PK broken")
    (runs / "b5-1" / "failure.json").write_text("[]")
    other = json.loads((runs / "b100-1" / "result.json").read_text())
    (runs / "b100-1" / "result.json").write_text(json.dumps({**other, "scores": []}))
    (runs / "b5-0" / "result.json").write_text(json.dumps({**other, "id": "b5-0", "supervision": {"pairs": "many"}}))
    odd = {
        **json.loads((runs / "c-0" / "result.json").read_text()),
        "selection": {"stages": [{"value": 0.5, "last": "x"}]},
    }
    (runs / "c-0" / "result.json").write_text(json.dumps(odd))
    paths = benchmark.write()
    for text in (paths.html.read_text(), paths.markdown.read_text()):
        text = text.replace("\\", "")
        assert "runs/l100-1/result.json: cannot be read as JSON" in text
        assert "runs/b100-0/panel.npz" in text
        assert "runs/b5-1/failure.json" in text
        assert "runs/b100-1/result.json: holds no scores" in text
        assert "runs/b5-0/result.json: the supervision" in text
        assert "runs/c-0/result.json" in text
        assert str(benchmark.folder) not in text
    assert "4 of 10 runs finished, 5 damaged, 1 to come" in paths.markdown.read_text()


def test_a_result_in_another_run_s_folder_is_not_used(benchmark):
    runs = benchmark.folder / "runs"
    (runs / "l5-1").mkdir()
    (runs / "l5-1" / "result.json").write_text((runs / "l5-0" / "result.json").read_text())
    benchmark.write()
    assert [problem.message for problem in read(benchmark.folder).problems] == [
        "runs/l5-1/result.json: belongs to run l5-0."
    ]


def test_panels_of_other_samples_are_left_out(benchmark):
    home = benchmark.folder / "runs" / "b100-0"
    with np.load(home / "panel.npz") as file:
        arrays = dict(file)
    np.savez(home / "panel.npz", **{**arrays, "index": np.array([3, 4])})
    assert "shows other test samples" in benchmark.write().markdown.read_text()


def test_folders_outside_the_benchmark_are_counted_only(benchmark):
    (benchmark.folder / "runs" / "stranger").mkdir()
    (benchmark.folder / "runs" / "stranger" / "result.json").write_text("{}")
    (benchmark.folder / "runs" / ".lock").mkdir()
    text = benchmark.write().markdown.read_text()
    assert "1 run folder in `runs/` is not part of this benchmark and was ignored." in text
    assert "damaged" not in text


def test_incomparable_results_are_left_out_with_a_warning(benchmark):
    benchmark.add("x", "sop", 5.0, 0, [0.9, 0.9], protocol="2")
    paths = benchmark.write()
    text = paths.markdown.read_text()
    assert "> **Warning:** 1 run left out" in text
    assert "protocol 2, fingerprint f00d" in text
    assert "0.900" not in text
    assert ",x,iou" not in paths.csv.read_text()
    assert paths.tex.read_text().count("% WARNING: 1 run left out") == 1


def test_differing_environments_pair_counts_and_test_samples_are_warned_about(benchmark):
    benchmark.add("x", "sop", 5.0, 0, [0.9, 0.9, 0.9], environment={**ENVIRONMENT, "torch": "2.8.0", "hostname": "a"})
    benchmark.add("y", "sop", 5.0, 1, [0.9, 0.9], supervision={"pairs": 6, "val_pairs": 9}, selection={"rule": "last"})
    text = benchmark.write().html.read_text()
    assert "environments differ in torch: 2.9.0 (9 runs), 2.8.0 (1 run)." in text
    assert "hostname" not in text
    assert "not all scored on the same test samples" in text
    assert "numbers of training pairs differ between runs: 5–6." in text
    assert "numbers of validation pairs differ between runs: 7–9." in text
    assert "different selection rules: best_validation (lsm, base_line, cyclegan, sop); last (sop)." in text


def test_a_method_without_pairs_has_its_mean_and_spread_in_every_column(benchmark):
    benchmark.add("c-1", "cyclegan", None, 1, [0.45, 0.45])
    paths = benchmark.write()
    lines = paths.markdown.read_text().splitlines()
    assert "| cyclegan † | 0.400 ± 0.071 | 0.400 ± 0.071 | 30 s | 1,200 |" in lines
    note, *_ = [line for line in lines if line.startswith("- †")]
    assert "does not depend on N: it is trained once per seed, and the same mean ± standard deviation" in note
    assert "Dash-dotted: methods that use no pairs (†)." in paths.html.read_text()


def test_a_value_published_for_any_n_stands_in_every_column(benchmark):
    values = {"lsm": {"100": 0.732}, "cyclegan": {"100": 0.303}, "base_line": {"100": 0.535}, "unrun": {"60": 0.4}}
    benchmark.more["published"] = {"source": "s", "metric": "iou", "values": values, "any_n": ["cyclegan", "unrun"]}
    paths = benchmark.write()
    lines = paths.markdown.read_text().splitlines()
    assert "| *cyclegan, published* | *0.303 (any N)* | *0.303 (any N)* |  |  |" in lines
    assert "| *base\\_line, published* | *0.535* | – |  |  |" in lines
    assert "- Also published: unrun 0.4 at any N." in lines  # cyclegan's one value stands in every column
    assert "- Published for any N: the paper prints one value of a method that uses no pairs." in lines
    assert paths.html.read_text().count("published 0.303 (any\u00a0N)") == 2
    assert "\\quad\\emph{published} & \\multicolumn{2}{c}{\\emph{0.303 (any N)}} & & \\\\" in paths.tex.read_text()


def test_published_values_beside_the_table_name_a_source_that_no_cell_has(benchmark):
    benchmark.more["published"] = [
        {"source": "One", "metric": "iou", "values": {"lsm": {"100": 0.7, "60": 0.6}}},
        {"source": "Two", "metric": "iou", "values": {"lsm": {"60": 0.1, "1": 0.3}, "unrun": {"60": 0.2}}},
        {"source": "Two", "metric": "mse", "values": {"unrun": {"100": 0.4}}},
    ]
    lines = benchmark.write().markdown.read_text().splitlines()
    assert "- Also published: lsm 0.6 at 60 %; lsm 0.3 at 1 % (Two); unrun 0.2 at 60 % (Two)." in lines
    assert "- Also published: unrun 0.4 at 100 % (Two)." in lines  # in the table of its metric
    assert "- Published values: One." in lines


def test_many_published_values_beside_the_table_are_a_list_to_unfold(benchmark):
    values = {method: {str(n): n / 100 for n in (60, 50, 40, 30, 20)} for method in ("lsm", "base_line")}
    benchmark.more["published"] = {"source": "s", "metric": "iou", "values": values}
    paths = benchmark.write()
    text = paths.html.read_text()
    assert "<summary>Also published: 10 values</summary>" in text
    assert Page(text).wrong == []
    lines = paths.markdown.read_text().splitlines()
    start = lines.index("- Also published:")
    assert lines[start + 1] == "  - lsm 0.6 at 60 %, 0.5 at 50 %, 0.4 at 40 %, 0.3 at 30 %, 0.2 at 20 % (s)"


CHOICES = [("", "random"), ("-k_medoids", "k_medoids")]


def fill_pairs(folder):
    """A benchmark whose N counts pairs, chosen by two rules."""
    published = {"source": "T", "metric": "accuracy", "values": {"pix2pix": {"20": 0.72, "2975": 0.878}}}
    made = Benchmark(
        folder, paired_unit="pairs", primary_metric="accuracy", published=published, title="Pairs", skipped=[]
    )
    for n in (20, 1):
        for seed in (0, 1):
            for suffix, rule in CHOICES:
                scores = [Score("accuracy", "x", "y", "share", True, [0, 1], [0.2, 0.4], pooled=0.5 + n / 100)]
                made.add(
                    f"p{suffix}-{n}-{seed}", f"pix2pix{suffix}", n, seed, [0], name="pix2pix", panel=True,
                    rule=rule, sheet=(n, 100 * seed, 200), scores=scores,
                )  # fmt: skip
                home = made.folder / "runs" / f"p{suffix}-{n}-{seed}"
                raw = json.loads((home / "result.json").read_text())
                (home / "result.json").write_text(json.dumps({**raw, "scores": raw["scores"][1:]}))
    made.more["paired"] = [20, 1]
    return made


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    return fill_pairs(tmp_path_factory.mktemp("pairs") / "bench").write()  # for tests that only read


@pytest.fixture
def pairs(counted, tmp_path):
    """A copy of the benchmark's folder, to change."""
    return shutil.copytree(counted.html.parent, tmp_path / "bench")


def test_n_in_pairs_is_said_everywhere(counted):
    html, markdown, tex = (path.read_text() for path in (counted.html, counted.markdown, counted.tex))
    lines = markdown.splitlines()
    assert "| method | 20 pairs | 1 pair | time/run | updates |" in lines
    assert "| pix2pix | **0.700** ± 0.000 | **0.510** ± 0.000 | 30 s | 1,200 |" in lines
    assert "| 20 pairs | 20 | 10 | 10 | 7 |" in lines
    assert "### N = 1 pair" in lines
    assert "| pix2pix | 1 pair | 0 |" in markdown
    assert "- Also published: pix2pix 0.878 at 2975 pairs." in lines
    assert "- Validation pairs: 7 per run. They count as supervision, besides the N pairs." in lines
    assert "- **N** is the number of training samples whose pair the methods may see" in markdown
    assert "    Method & 20\\,pairs & 1\\,pair & Time & Updates \\\\" in tex.splitlines()
    assert "Pairs &" not in tex
    assert "training pairs*" not in markdown
    assert '<button type="button">20 pairs</button><small></small>' in html
    assert 'data-sort="20.0">20 pairs</td>' in html
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_table(counted.html.parent)[0])
    assert "20 pairs" in console.export_text()
    said = html + markdown + tex.partition("\\begin")[2]
    said = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", said, flags=re.DOTALL)
    assert not re.search(r"\d (%|\\%)|\\,\\%|percentage", said)
    assert {path.name for path in counted.panels} == {"panel-20pairs.png", "panel-1pairs.png"}
    with counted.csv.open(newline="") as file:
        assert {row["paired"] for row in csv.DictReader(file)} == {"20", "1"}


def test_runs_that_saw_another_number_of_pairs_are_told_of(pairs):
    for home in pairs.glob("runs/*-20-*"):
        raw = json.loads((home / "result.json").read_text())
        raw["supervision"]["pairs"] = 19
        (home / "result.json").write_text(json.dumps(raw))
    paths = write_report(pairs)
    assert "20 pairs</button><small>saw 19</small>" in paths.html.read_text()
    assert "| *training pairs* | 19 | 1 |  |  |" in paths.markdown.read_text().splitlines()
    assert "    Pairs & 19 & 1 & & \\\\" in paths.tex.read_text().splitlines()


def test_a_score_over_all_samples_together_is_shown_and_explained(counted):
    html, markdown = counted.html.read_text(), counted.markdown.read_text()
    for text in (html, markdown, counted.tex.read_text()):
        assert "accuracy is computed over all test pixels together (one confusion matrix), not as a mean" in text
        assert "mean score over the test samples" not in text
    assert "| pix2pix | 20 pairs | 0 | 0.7 |" in markdown  # of the run
    with counted.csv.open(newline="") as file:
        assert {row["value"] for row in csv.DictReader(file)} == {"0.2", "0.4"}  # of its samples
    assert counted.distributions == ()


def test_runs_of_which_only_some_have_a_score_over_all_samples_are_warned_about(pairs):
    path = next(pairs.glob("runs/*-20-1")) / "result.json"
    raw = json.loads(path.read_text())
    raw["scores"][0]["pooled"] = None
    path.write_text(json.dumps(raw))
    found = read(pairs)
    (said,) = doubts(found, found.tables[0])
    assert said.startswith("Of accuracy, x → y, some runs have the value over all test samples together")


def test_chosen_pairs_are_shown_by_n_and_rule(counted):
    folder = counted.html.parent
    names = [f"chosen-{n}pairs-{rule}.png" for n in (20, 1) for rule in ("random", "k_medoids")]
    assert [path.name for path in counted.chosen] == names
    assert (folder / names[0]).read_bytes() == (folder / "runs" / "p-20-0" / "chosen.png").read_bytes()
    assert (folder / names[3]).read_bytes() == (folder / "runs" / "p-k_medoids-1-0" / "chosen.png").read_bytes()
    page = Page(counted.html.read_text())
    assert page.wrong == []
    assert len(page.ids) == len(set(page.ids))
    assert {"chosen-1", "chosen-shown-2", "panel-1", "panel-shown-2"} <= set(page.ids)
    assert {("a", "href", name) for name in names} <= set(page.links)
    text = counted.html.read_text()
    for label in ("20 pairs", "1 pair"):
        for about in ("random, seed 0", "k_medoids, the same for every seed"):
            assert f'alt="Pairs chosen at N = {label}: {about}"' in text
    lines = counted.markdown.read_text().splitlines()
    assert "## Chosen pairs" in lines
    assert "![Pairs chosen at N = 1 pair: random, seed 0](chosen-1pairs-random.png)" in lines


def test_a_damaged_picture_of_chosen_pairs_is_named_and_the_next_seed_s_shown(monkeypatch, pairs):
    monkeypatch.setattr("lsmbench.reports.report._EMBEDDED", 10)
    whole = (pairs / "runs" / "p-20-0" / "chosen.png").read_bytes()
    (pairs / "runs" / "p-20-0" / "chosen.png").write_bytes(whole[:-30])
    for seed in (0, 1):
        (pairs / "runs" / f"p-k_medoids-20-{seed}" / "chosen.png").write_bytes(b"no picture")
    paths = write_report(pairs)
    text = paths.html.read_text()
    assert "N = 20 pairs: random, seed 1" in text
    assert "N = 20 pairs: k_medoids" not in text
    assert "runs/p-20-0/chosen.png: " in text
    assert "runs/p-k_medoids-20-1/chosen.png: is not a PNG picture." in text
    assert not (pairs / "chosen-20pairs-k_medoids.png").exists()  # of the earlier report
    assert "data:image/png" not in text
    assert text.count("data:image/jpeg") == 5


def test_pairs_in_per_cent_are_shown_only_if_a_rule_chose_some(tmp_path, pairs):
    raw = json.loads((pairs / "benchmark.json").read_text())
    (pairs / "benchmark.json").write_text(json.dumps({**raw, "paired_unit": "%"}))
    names = {path.name for path in write_report(pairs).chosen}
    assert names == {f"chosen-N{n}-{rule}.png" for n in (20, 1) for rule in ("random", "k_medoids")}
    assert {path.name for path in pairs.glob("*-*.png")} == names | {"panel-N20.png", "panel-N1.png"}
    for home in pairs.glob("runs/*/"):
        said = json.loads((home / "result.json").read_text())
        said["config"]["supervision"].pop("selection")
        (home / "result.json").write_text(json.dumps(said))
    paths = write_report(pairs)
    assert paths.chosen == ()
    assert not list(pairs.glob("chosen-*.png"))
    assert "Chosen pairs" not in paths.html.read_text() + paths.markdown.read_text()


def test_without_pictures_there_is_no_section_of_chosen_pairs(pairs):
    for path in pairs.glob("runs/*/chosen.png"):
        path.unlink()
    assert read_chosen(read(pairs)) == ([], [])


def test_a_rule_that_could_lead_out_of_the_folder_makes_a_result_damaged(pairs):
    path = pairs / "runs" / "p-20-0" / "result.json"
    raw = json.loads(path.read_text())
    raw["config"]["supervision"]["selection"] = "../up"
    path.write_text(json.dumps(raw))
    assert [problem.message for problem in read(pairs).problems] == [
        "runs/p-20-0/result.json: pairs are chosen by '../up', expected a word."
    ]


MANY = [
    "pix2pix",
    "hybrid",
    *(f"a_much_longer_name_{i}" for i in range(6)),
    "pix2pix-k_medoids",
    "hybrid-k_medoids",
    "gan-k_medoids",
]


def many():
    runs = [(f"r{i}", label, 5.0, 0) for i, label in enumerate(MANY)]
    return tabulate(manifest(runs), [result(run, label, [0.5]) for run, label, *_ in runs])[0]


def test_a_row_of_chosen_pairs_looks_like_the_row_it_belongs_to():
    looks = figures.styles(many().rows)
    for label in ("pix2pix", "hybrid"):
        plain, chosen = looks[label], looks[f"{label}-k_medoids"]
        assert plain.colour == chosen.colour
        assert plain.marker != chosen.marker
        assert plain.dash != chosen.dash
    assert looks["gan-k_medoids"].dash == "-"  # there is no row without
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(MANY)
    assert "Dashed in a method's colour" in figures.on_chosen(many().rows)
    assert figures.on_chosen(many().rows[:5]) == ""


def test_the_legend_of_many_rows_stays_inside_the_figure_and_below_the_axes():
    figure = figures.curves(many())
    renderer = FigureCanvasAgg(figure).get_renderer()
    (legend,) = figure.legends
    inside, axes = legend.get_window_extent(renderer), figure.axes[0].get_tightbbox(renderer)
    assert inside.x0 >= 0
    assert inside.x1 <= figure.bbox.width
    assert inside.y1 <= axes.y0
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
    figure = figures.panel([figures.Translations(title, image) for title in titles], [0])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts[: len(titles)]]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert all(box.y1 <= figure.bbox.height for box in boxes)
    assert figure.texts[2].get_text() == "hybrid-\nk_medoids\n(seed\u00a012)"


def stage(value, last, budget):
    said = {"stage": "main", "epoch": 4, "epochs": 9, "value": value, "last": last, "budget": budget}
    return {"rule": "best_validation", "stages": [{"stage": "first", "value": 1.0, "last": 2.0}, said]}


def test_validation_of_the_last_epoch_and_methods_that_use_their_whole_budget(benchmark):
    benchmark.add("p", "pix2pix", 5.0, 0, [0.6, 0.6], selection=stage(0.5, 0.25, "full"))
    benchmark.add("s", "sop", 5.0, 0, [0.6, 0.6], selection=stage(0.5, None, "early stopping"))
    benchmark.add("c-1", "cyclegan", None, 1, [0.45, 0.45], selection=stage(0.5, 0.4, "full"))
    text = benchmark.write().markdown.read_text()
    row = {line.split("|")[1].strip().partition("]")[0][1:]: line for line in text.splitlines() if "](runs/" in line}
    assert "| 0.5 / 0.25 | 4 of 9 |" in row["p"]
    assert "| 0.5 | 4 of 9 |" in row["s"]  # no value is known of the last epoch
    assert "| 0.5 | 4 of 9 |" in row["b5-0"]  # an older result
    assert (
        "- cyclegan and pix2pix: trained for the whole budget of epochs, without stopping early (LSM, App. C), and the "
        "epoch that validated best is tested."
    ) in text
    assert "- cyclegan: no pairs in training, but choosing the epoch by validation pairs is supervision." in text


def test_without_validation_pairs_or_selection_nothing_is_said_of_them(benchmark):
    shutil.rmtree(benchmark.folder / "runs" / "c-0")
    benchmark.add("c-1", "cyclegan", None, 1, [0.4, 0.4], selection={"rule": "last", "stages": [{"budget": "full"}]})
    text = benchmark.write().markdown.read_text()
    assert "- cyclegan: trained for the whole budget of epochs, without stopping early (LSM, App. C)." in text
    assert "choosing the epoch" not in text


def test_a_benchmark_without_results_has_a_report_that_says_so(tmp_path):
    made = Benchmark(tmp_path / "bench")
    made.plan("a", "lsm", 5.0, 0)
    paths = made.write()
    assert paths.curves == ()
    for path in (paths.html, paths.markdown):
        assert "No run has finished with a score yet" in path.read_text()
    assert "to come (0/1)" in paths.markdown.read_text()
    assert len(console_table(made.folder)) == 1


def test_console_tables(paths):
    folder = paths.html.parent
    console = Console(width=160, record=True, file=io.StringIO())
    for table in console_table(folder):
        console.print(table)
    text = console.export_text()
    assert "0.775 ± 0.035" in text
    assert "0.200 ‡ (1/2)" in text
    assert "floor (constant)" in text
    assert "published 0.732" in text
    assert "mse, y → x" in text
    (one,) = console_table(read(folder).tables[0])
    assert one.row_count == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no benchmark.json"),
        ("{", "cannot be read as JSON"),
        ('{"schema": 2}', "has benchmark layout 2"),
        ('{"schema": 1, "name": "x"}', "is not a complete benchmark"),
        (
            '{"schema": 1, "name": "x", "dataset": "d", "methods": [], "paired": [], "seeds": [], "runs": []}',
            "'paired'",
        ),
    ],
)
def test_what_only_the_user_can_mend_is_a_user_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "benchmark.json").write_text(text)
    for call in (write_report, console_table):
        with pytest.raises(UserError, match=message):
            call(tmp_path)


def test_a_missing_folder_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "nowhere")


def test_a_report_needs_no_training_code():
    code = "import sys, lsmbench.reports.report; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
