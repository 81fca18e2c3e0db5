import base64
import html
import io
import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image as Picture
from rich.console import Console

from lsmbench.commands import leaderboard as leaderboard_command
from lsmbench.errors import UserError
from lsmbench.reports import leaderboard as pages
from lsmbench.reports.leaderboard import read, write_leaderboard
from tests.reports.made import Disk, Page, fill_disk


@pytest.fixture
def disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Disk(tmp_path)
    fill_disk(made)
    return made


def command(*words):
    out, err = Console(file=io.StringIO(), width=500), Console(file=io.StringIO(), width=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard_command, "console", out)
        patch.setattr(leaderboard_command, "errors", err)
        assert leaderboard_command.run([*words]) == 0
    return out.file.getvalue(), err.file.getvalue()


def text_of(path="results/leaderboard.html"):
    with open(path) as file:
        return file.read()


def test_page_needs_nothing_else_and_is_well_formed(disk):
    out, err = command()
    assert "Leaderboard: results/leaderboard.html" in out
    assert err == ""
    text = text_of()
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?:|@import|<link|<iframe|src=\"(?!data:)|url\(", text)
    inside = {value[1:] for _, _, value in page.links if value.startswith("#")}
    assert inside <= set(page.ids)
    for _, _, value in page.links:
        if not value.startswith(("#", "data:")):
            assert (disk.root / "results" / value).exists(), value


def test_same_results_give_the_same_bytes(disk, tmp_path):
    first, _ = command(), text_of()
    before = (tmp_path / "results/leaderboard.html").read_bytes()
    assert command() == first
    assert (tmp_path / "results/leaderboard.html").read_bytes() == before


def test_default_folders_are_those_that_exist_and_others_can_be_named(disk):
    assert "11 runs" in command()[0]
    disk.run("ioda", 5, 0, [0.4, 0.4])
    assert "12 runs" in command()[0]
    out, _ = command("runs", "--output", "elsewhere/page.html")
    assert "1 run" in out
    # Links lead from the page to the runs, wherever it lies.
    assert 'href="../runs/' in text_of("elsewhere/page.html")


def test_without_results_it_says_how_to_get_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["results"]):
        with pytest.raises(UserError, match=r"(?s)results.*lsmbench bench.*lsmbench train"):
            command(*words)
        (tmp_path / "results").mkdir(exist_ok=True)
    disk = Disk(tmp_path)
    home = disk.run("lsm", 5, 0, [0.5])
    (home / "result.json").write_text("{")
    with pytest.raises(UserError, match=rf"runs: no finished run.*1 could not be read.*{home.name}"):
        command("runs")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        command("nowhere")
    assert not (tmp_path / "results/leaderboard.html").exists()


@pytest.mark.parametrize("output", ["results", "results/quick/benchmark.json/page.html"])
def test_page_that_cannot_be_written(disk, output):
    with pytest.raises(UserError, match=f"--output: {output} cannot be written"):
        command("--output", output)


def test_damaged_files_are_named_on_page_and_console(disk):
    runs = [disk.root / "results/quick/runs" / run for run, *_ in disk.plans["quick"]]
    (runs[0] / "result.json").write_text('{"id": ')
    (runs[1] / "log.csv").write_text("stage,epoch,updates,seconds,val/x->y/iou\ntrain,0,1,0.1,much\n")
    (runs[2] / "panel.npz").write_bytes(b"PK\3\4 half")
    _, err = command()
    listed = html.unescape(text_of().partition('id="problems"')[2].partition("</details>")[0])
    for run, name in zip(runs[:3], ("result.json", "log.csv", "panel.npz"), strict=True):
        path = f"results/quick/runs/{run.name}/{name}"
        assert path in err
        assert path in listed
    assert "3 files could not be read" in text_of()


def test_protocol_versions_are_kept_apart_and_said_to_be(disk):
    command()
    assert "They do not compare" not in text_of()
    disk.run("lsm", 5, 0, [0.4, 0.4], protocol="2")
    command()
    text = text_of()
    assert "Results of protocol versions 2, 1 are here. They do not compare" in text
    assert re.findall(
        r'<option value="[^"]+" data-version="(\d)" data-testset="test">sit, 32 px, protocol (\d)<', text
    ) == [
        ("2", "2"),
        ("1", "1"),
    ]


def test_a_cell_leads_to_its_runs_with_all_that_repeats_them(disk):
    command()
    text = text_of()
    (name,) = set(re.findall(r'href="#(sit-[^"]*-lsm-quick-n5)"', text))
    shown = text.partition(f'<dialog id="{name}"')[2].partition("</dialog>")[0]
    words = html.unescape(re.sub(r"<[^>]+>", " ", shown))
    mine = [run for run, label, n, _ in disk.plans["quick"] if label == "lsm" and n == 5]
    assert shown.count('<details class="run"') == 3
    for run in mine:
        config = f"results/quick/runs/{run}/config.yaml"
        assert f"lsmbench train --config {config} --output again" in words
        assert f'href="quick/runs/{run}/"' in shown
    assert "learning_rate: 0.001" in words
    assert "lsmbench bench quick" in words
    assert "0.35" in words  # the floor
    # One picture for the cell, curves for each run with the selected epoch (1 of 0 to 2) in the middle.
    assert shown.count("<img") == 1
    assert shown.count("<polyline") == 6
    assert shown.count('class="mark" x1="50.0"') == 3
    assert re.search(r'aria-label="train/xy over 3 epochs: 1 → 0.333, 0.333 to 1"', shown)


def polylines(text):
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline points="([^"]*)"', text)
    ]


def test_curves_keep_first_and_last_value_and_few_points_and_begin_where_their_stage_does(tmp_path):
    disk = Disk(tmp_path)
    home = disk.run("lsm", 5, 0, [0.5])
    head = "stage,epoch,updates,seconds,loss,late,never\n"
    rows = [f"{'ab'[e >= 500]},{e % 500},0,0,{e},{e if e >= 500 else ''}," for e in range(1000)]
    (home / "log.csv").write_text(head + "\n".join(rows))
    write_leaderboard(*read([tmp_path / "runs"]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    whole, late = polylines(text)
    assert len(whole) <= 82
    assert (whole[0], whole[-1]) == ((0, 38), (100, 2))
    assert (late[0], late[-1]) == ((50.1, 38), (100, 2))
    assert set(re.findall(r'class="border" x1="([^"]*)"', text)) == {"50.0"}
    assert "never over" not in text


@pytest.mark.parametrize("side", [8, 64, 300])
def test_pictures_show_input_truth_and_prediction_and_stay_small(tmp_path, side):
    noise = np.random.default_rng(0).integers(0, 255, (6, side, side, 3), dtype=np.uint8)
    home = Disk(tmp_path).run("lsm", 5, 0, [0.5])
    np.savez(home / "panel.npz", x=noise * 0, y=noise * 0 + 255, prediction=noise, index=np.arange(6))
    write_leaderboard(*read([tmp_path / "runs"]), tmp_path / "page.html")
    ((data, width),) = re.findall(r'base64,([^"]+)" width="(\d+)"', (tmp_path / "page.html").read_text())
    data = base64.b64decode(data)
    assert len(data) <= 200_000
    with Picture.open(io.BytesIO(data)) as opened:
        third = opened.height // 6
        means = [np.asarray(opened.convert("L"))[third * (2 * r + 1), : min(side, 60)].mean() for r in range(3)]
        assert int(width) >= opened.width
    assert means[0] < 30 < 80 < means[2] < 180 < 225 < means[1]


def test_pictures_beyond_the_page_s_room_are_counted(disk, monkeypatch):
    command()
    text = text_of()
    pictures = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)\"", text)]
    assert len(pictures) == 5  # one for each row and N with runs
    assert "further cells are not embedded" not in text
    monkeypatch.setattr(pages, "_PICTURES", len(pictures[0]) + len(pictures[1]))
    command()
    assert text_of().count("base64,") == 2
    assert "Pictures of 3 further cells are not embedded" in text_of()


def test_text_from_results_is_escaped(disk):
    disk.run("lsm", 5, 7, [0.4, 0.4], warnings=["<img src=x onerror=alert(1)>"], **{"method.note": "</script><b>"})
    command()
    assert "<img src=x" not in text_of()
    assert text_of().count("</script>") == 1


def test_a_run_that_tells_no_cost_is_shown(disk):
    disk.run("ioda", 5, 7, [0.4, 0.4], cost={})
    command()
    assert "<dt>cost</dt><dd>–</dd>" in text_of()


def test_without_a_configuration_there_is_no_command(disk):
    home = disk.root / "results/quick/runs" / disk.plans["quick"][0][0]
    (home / "config.yaml").unlink()
    command()
    assert shlex.join(["--config", f"results/quick/runs/{home.name}/config.yaml"]) not in text_of()
    assert "no command repeats it" in text_of()


# --- in a browser -------------------------------------------------------------------------------------------------

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000", "--dump-dom"),
)

# Before the page's own script: whatever goes wrong is kept.
WATCH = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message || event.target.tagName)), true);
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective));
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(words.join(" "));
</script>"""

# Behind it: a reader's clicks, and what the page then shows.
READER = """<script>
const pause = () => new Promise((done) => setTimeout(done, 50));
const all = (what, where = document) => [...where.querySelectorAll(what)];
const seen = (one) => one.getClientRects().length > 0;
const table = () => all(".ranking table").find(seen);
const names = () => all("tbody tr", table()).filter(seen).map((row) => row.dataset.text.split(" ")[0]);
const sorted = () => all("th[aria-sort]", table()).map((head) => [head.dataset.key, head.ariaSort]);
const fits = () => document.documentElement.scrollWidth <= document.documentElement.clientWidth;
const pick = async (name, value) => {
  const field = document.querySelector(`[name=${name}]`);
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  await pause();
};
const sort = async (key) => { table().querySelector(`[data-key="${key}"] button`).click(); await pause(); };
const opened = () => all("dialog").filter((one) => one.open).map((one) => one.id);
const small = (what) => all(what).filter(seen).filter((one) => one.getBoundingClientRect().height < 39.5);
const read = async () => {
  const got = { width: innerWidth, fits: [fits()] };
  got.boards = all(".board").filter(seen).length;
  got.newest = [names(), sorted(), all("[name=n] option").map((one) => one.value)];
  const board = all("[name=board] option").find((one) => one.dataset.version === "1").value;
  await pick("board", board);
  got.first = [names(), sorted(), all("[name=n] option").map((one) => one.value)];
  await pick("n", "N100");
  got.n = [names(), sorted(), location.hash];
  await sort("mean");
  got.again = [names(), sorted()];
  await sort("name");
  got.name = [names(), sorted(), location.hash];
  await sort("seeds");
  got.seeds = [names()[0], sorted()];
  got.fits.push(fits());
  got.small = small("select, input, th button, .open, summary").map((one) => one.outerHTML.slice(0, 90));
  await pick("q", "ls quick");
  got.found = [names(), document.querySelector(".count").textContent];
  await pick("q", "");
  await pick("supervision", "disjoint");
  got.disjoint = names();
  await pick("supervision", "");
  await pick("size", "paper");
  got.size = names();
  await pick("size", "");
  all("tbody tr", table()).find((row) => row.dataset.text.startsWith("lsm ")).querySelector("a.open").click();
  await pause();
  got.open = [opened(), decodeURIComponent(location.hash)];
  const dialog = document.querySelector("dialog[open]");
  got.dialog = [dialog.querySelector(".command").textContent, seen(dialog.querySelector("polyline")),
    dialog.querySelector("img").naturalWidth > 0, seen(dialog.querySelector(".copy"))];
  got.fits.push(fits(), dialog.scrollWidth <= dialog.clientWidth);
  got.small.push(...small("dialog[open] :is(summary, .copy, .close)").map((one) => one.outerHTML.slice(0, 90)));
  dialog.querySelector(".close").click();
  await pause();
  got.closed = [opened(), location.hash.includes("run=")];
  location.hash = got.open[1];
  await pause();
  got.linked = [opened(), all(".board").find(seen).id];
  document.querySelector("dialog[open]").dispatchEvent(new Event("cancel", { cancelable: true }));
  await pause();
  got.escaped = [opened(), location.hash.includes("run=")];
  await pick("version", "2");
  got.version = [document.querySelector("[name=board]").selectedOptions[0].textContent, names()];
  location.hash = "#" + got.open[0][0];
  await pause();
  got.plain = [opened(), all(".board").find(seen).id];
  got.wrong = wrong;
  parent.postMessage(got, "*");
};
read().catch((error) => parent.postMessage({ width: innerWidth, wrong: [...wrong, String(error.stack)] }, "*"));
</script>"""

FRAMES = """<!doctype html><body><pre></pre><script>
const got = [];
addEventListener("message", (event) => {
  got.push(event.data);
  if (got.length === 2) document.querySelector("pre").textContent = JSON.stringify(got);
});
</script>
<iframe src="page.html" style="width:1300px;height:900px"></iframe>
<iframe src="page.html" style="width:390px;height:800px"></iframe>
</body>"""


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on this machine")
    folder = tmp_path_factory.mktemp("browser")
    disk = Disk(folder)
    fill_disk(disk)
    disk.run("ioda", 100, 0, [0.2, 0.2], **{"supervision.protocol": "disjoint", "method.network": "paper"})
    disk.run("lsm", 5, 0, [0.4, 0.4], protocol="2")
    write_leaderboard(*read([folder / "results", folder / "runs"]), folder / "leaderboard.html")
    page = (folder / "leaderboard.html").read_text()
    (folder / "page.html").write_text(
        page.replace("<title>", WATCH + "<title>", 1).replace("</body>", READER + "</body>")
    )
    (folder / "frames.html").write_text(FRAMES)
    shown = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"file://{folder / 'frames.html'}"],
        capture_output=True,
        text=True,
        timeout=100,
    ).stdout
    said = html.unescape(shown.partition("<pre>")[2].partition("</pre>")[0])
    assert said, shown[-2000:]
    return {visit["width"]: visit for visit in json.loads(said)}


RANKED = ["sop", "lsm", "cyclegan", "floor", "ioda"]


@pytest.mark.parametrize("width", [1300, 390])
def test_page_in_a_browser(visits, width):
    visit = visits[width]
    assert visit["wrong"] == []
    assert visit["fits"] == [True, True, True, True]
    assert visit["boards"] == 1
    # The newest protocol comes first; its board has one N only.
    assert visit["newest"] == [["lsm"], [["mean", "descending"]], ["N5"]]
    assert visit["first"] == [RANKED, [["N100", "descending"]], ["all", "N100", "N5"]]
    # Sorting: the mean both ways, names, and the number of seeds, of which lsm and sop have most.
    assert visit["n"][:2] == [RANKED, [["mean", "descending"]]]
    assert visit["again"] == [RANKED[::-1], [["mean", "ascending"]]]
    assert visit["name"][:2] == [sorted(RANKED), [["name", "ascending"]]]
    assert visit["seeds"][1] == [["seeds", "descending"]]
    assert visit["seeds"][0] in ("lsm", "sop")
    assert "n=N100" in visit["n"][2]
    assert "sort=name&order=ascending" in visit["name"][2]
    # Filtering, which leaves the floor for comparison.
    assert visit["found"] == [["lsm", "floor"], "1 of 4 rows; ranks are among all"]
    assert sorted(visit["disjoint"]) == sorted(visit["size"]) == ["floor", "ioda"]
    # Opening runs, by a click and by a link.
    (run,) = visit["open"][0]
    assert run.endswith("-lsm-quick-n100")
    assert f"run={run}" in visit["open"][1]
    assert "lsmbench train --config" in visit["dialog"][0]
    assert visit["dialog"][1:] == [True, True, True]
    board = run.removesuffix("-lsm-quick-n100")
    assert visit["linked"] == [[run], board]
    assert visit["closed"] == visit["escaped"] == [[], False]
    assert visit["version"] == ["sit, 32 px, protocol 2", ["lsm"]]
    assert visit["plain"] == [[run], board]


def test_fingers_hit_what_is_small_on_a_phone(visits):
    assert visits[390]["small"] == []
