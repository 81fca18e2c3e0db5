"""One whole report in Markdown against `golden.md`, which shows every sentence that a page may say.

After a wanted change: LSMBENCH_GOLDEN=write pytest tests/reports/test_golden.py, then read the difference.
"""

import os
from pathlib import Path

import numpy as np

from lsmbench import __version__
from lsmbench.benchmarks.tuning import DIVERGED, PRUNED, Use
from tests.reports.made import ENVIRONMENT, Benchmark, dumped, score, use

GOLDEN = Path(__file__).with_name("golden.md")


def stage(value, last, budget):
    said = {"stage": "main", "epoch": 4, "epochs": 9, "value": value, "last": last, "budget": budget}
    return {"rule": "best_validation", "stages": [{"stage": "first", "value": 1.0, "last": 2.0}, said]}


def fill(folder):
    lsm = use([5.0], amount=5.0, differs=["training.epochs is 20, was 30 in the sweep"], trial=0, states={3: DIVERGED})
    free = use([100.0, 5.0], row="cyclegan", amount=None, metric="nrmse", higher_is_better=False, states={2: PRUNED})
    published = [
        {"source": "Table 2", "metric": "nrmse", "values": {"lsm": {"100": 0.1, "60": 0.3}}, "note": "Larger images."},
        {
            "source": "Table 3",
            "metric": "nrmse",
            "values": {"cyclegan": {"60": 0.4}, "gan": {"5": 0.9}},
            "any_n": ["cyclegan"],
        },
    ]
    made = Benchmark(
        folder, primary_metric="nrmse", published=published, title="All of it, 5 % & more",
        tuned=dumped(lsm, free, Use(row="pix2pix-k_medoids", amounts=[5.0], differs=[], best=lsm.best)),
    )  # fmt: skip
    views = {"views": {"x": "Image(channels=3)", "y": "Landmarks(points=68)"}}
    dataset = {"name": "faces", "fingerprint": "f00d", "train": 70, "val": 7, "test": 2, **views}
    dataset["in_training"] = {"night": [1]}

    def add(run, method, n, seed, values, **more):
        counts = np.tile([[6, 2, 0], [1, 3, 0], [0, 0, 0]], (len(values), 1, 1))
        classes = {"counts": counts, "classes": ["sky", "tree", "cat"]}
        iou = more.pop("iou", [score(values, "iou", "y", "x", pooled=0.5, **classes)])
        night = [score([v + 0.1 for v in values], "nrmse", test_set="night")]
        made.add(run, method, n, seed, values, metric="nrmse", scores=[*night, *iou], **{"dataset": dataset, **more})

    add("l100-0", "lsm", 100.0, 0, [0.1, 0.2], panel=True, warnings=["odd <weights>"])
    add("l100-1", "lsm", 100.0, 1, [0.1, 0.3], panel=True)
    add("l5-0", "lsm", 5.0, 0, [0.3, float("nan")], panel=True)
    made.plan("l5-1", "lsm", 5.0, 1)
    add("p5-0", "pix2pix", 5.0, 0, [0.25, 0.35], selection=stage(0.5, 0.25, "full"), rule="random", sheet="red")
    add("k5-0", "pix2pix-k_medoids", 5.0, 0, [0.6, 0.7], name="pix2pix", rule="k_medoids", sheet="blue", iou=())
    add("s5-0", "sop", 5.0, 0, [0.3, 0.3], selection={"rule": "last"}, environment={**ENVIRONMENT, "torch": "2.8.0"})
    made.fail("s5-1", "sop", 5.0, 1)
    add("c-0", "cyclegan", None, 0, [0.45, 0.5], selection=stage(0.5, 0.4, "full"))
    add("c-1", "cyclegan", None, 1, [0.45, 0.6], supervision={"pairs": 0, "x": 9, "val_pairs": 9})
    add("old", "ioda", 100.0, 0, [0.1, 0.1], protocol="0")
    add("odd", "ioda", 5.0, 0, [0.2, 0.2, 0.2], supervision={"pairs": 6, "x": 9, "val_pairs": 7})
    add("f", "floor", None, None, [0.5, 0.6], kind="constant")
    damaged = made.plan("broken", "ioda", 5.0, 1)
    damaged.mkdir()
    (damaged / "result.json").write_text('{"schema": 1')
    (folder / "runs" / "stranger").mkdir()
    return made


def test_the_page_is_as_it_was(tmp_path):
    made = fill(tmp_path / "bench")
    text = made.write()["report.md"].read_text().replace(f"lsmbench {__version__}", "lsmbench VERSION")
    if os.environ.get("LSMBENCH_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
