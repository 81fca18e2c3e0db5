"""Made-up results on disk, for the tests of reports."""

import json
import random
import tempfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import yaml
from PIL import Image as Picture

from lsmbench.benchmarks.tuning import FINISHED, Best, Candidate, Trial, Use
from lsmbench.reports import markup
from lsmbench.reports.about import about
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.report import write_report
from lsmbench.reports.table import tabulate
from lsmbench.runs.results import Failure, Result
from lsmbench.scores import Score

ENVIRONMENT = {"lsmbench": "0.1.0", "torch": "2.9.0", "gpu": None, "cpu": "Some CPU"}
VOID = {"meta", "input", "img", "br", "link", "path", "use", "rect", "circle", "line", "polyline"}


def score(values, metric="iou", source="x", target="y", higher=None, pooled=None, **more):
    return Score(
        metric=metric, source=source, target=target, unit="unit", higher_is_better=metric == "iou" if higher is None
        else higher, indices=list(range(len(values))), values=list(values), pooled=pooled, **more,
    )  # fmt: skip


def result(run, method, values, pairs=5, **more):
    fields = {
        "protocol": "1",
        "config": {
            "method": {"name": method, "kind": more.pop("kind", None)},
            "supervision": {"paired": 5.0},
            "training": {"init_seed": 0},
        },
        "dataset": {"name": "sit", "fingerprint": "f00d"},
        "supervision": {"pairs": pairs, "x": 10, "y": 20, "val_pairs": 7},
        "selection": {"rule": "best_validation", "stages": []},
        "scores": [score(values)],
        "validation": None,
        "cost": {"wall_s": 10.0, "updates": 100, "parameters": 50},
        "environment": {},
    }
    return Result(id=run, **(fields | more))


def failure(run, method="lsm", reason="the loss is not finite", config=None):
    config = config or {"method": {"name": method}}
    return Failure(id=run, kind="diverged", reason=reason, where="stage main, epoch 3", config=config)


def manifest(runs, paired=(100, 5), seeds=(0, 1, 2), **more):
    """What `benchmark.json` says; runs are (id, method, N, seed)."""
    return {
        "schema": 1,
        "name": "test",
        "dataset": "sit",
        "methods": list(dict.fromkeys(method for _, method, _, _ in runs)),
        "paired": list(paired),
        "seeds": list(seeds),
        "size": None,
        "runs": [{"id": i, "method": m, "paired": n, "seed": s} for i, m, n, s in runs],
        "primary_metric": "iou",
        **more,
    }


def benchmark(runs, results=(), failures=(), **more):
    """A benchmark with these files, as it is read."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        (folder / "benchmark.json").write_text(json.dumps(manifest(runs, **more)))
        for one in (*failures, *results):
            one.save(folder / "runs" / one.id)
        return read_benchmark(folder)


def tables(*files, **more):
    made = benchmark(*files, **more)
    return tabulate(made.plan, made.runs)


def cell(tables, method, paired, number=0):
    row = next(row for row in tables[number].every_row if method in (row.label, row.method))
    return next(cell for cell in row.cells if cell.paired == paired)


class Benchmark:
    """A benchmark's folder with made-up results."""

    def __init__(self, folder, **more):
        self.folder = folder
        self.runs = []
        self.more = more
        (folder / "runs").mkdir(parents=True)

    def plan(self, run, method, paired, seed):
        self.runs.append((run, method, paired, seed))
        return self.folder / "runs" / run

    def add(
        self, run, method, paired, seed, values, kind=None, panel=False, scores=(), name=None, metric="iou", rule=None,
        sheet=None, **more,
    ):  # fmt: skip
        home = self.plan(run, method, paired, seed)
        supervision = {"paired": paired or 0.0, **({"selection": rule} if rule else {})}
        fields = {
            "config": {
                "method": {"name": name or method, "kind": kind},
                "supervision": supervision,
                "training": {"init_seed": seed or 0},
            },
            "dataset": {"name": "sit", "fingerprint": "f00d", "train": 70, "val": 7, "test": len(values)},
            "supervision": {"pairs": int(paired or 0), "x": 10, "y": 10, "val_pairs": 7},
            "selection": {"rule": "best_validation", "stages": [{"stage": "main", "epoch": 4, "epochs": 9}]},
            "scores": [*([score(values, metric)] if values else []), *scores],
            "validation": 0.5,
            "cost": {"wall_s": 30.0, "updates": 1200, "parameters": 10},
            "environment": ENVIRONMENT,
        }
        result(run, method, [], **(fields | more)).save(home)
        if panel:
            image = np.random.default_rng(seed).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
            np.savez(home / "panel.npz", index=np.array([0, 1]), x=image, y=image, prediction=image)
        if sheet:
            Picture.new("RGB", (40, 20), sheet).save(home / "chosen.png")

    def fail(self, run, method, paired, seed, reason="a loss | is not <finite>"):
        failure(run, method, reason).save(self.plan(run, method, paired, seed))

    def save(self):
        """Writes the plan; the results are there."""
        said = {
            "name": "quick",
            "title": "A title with 5 % & more",
            "description": "What it is.",
            "method_summaries": {"lsm": "Latent <b>Space</b> Mapping"},
            "size": "small",
            "skipped": [{"method": "gan", "reason": "needs landmarks & more"}],
            "published": {
                "source": "A paper, Table 2",
                "metric": "iou",
                "values": {"lsm": {"100": 0.732, "60": 0.7}, "unrun": {"100": 0.5, "60": 0.4}},
                "note": "Larger images.",
            },
            "command": "make bench",
        }
        raw = manifest(self.runs, seeds=(0, 1)) | said | self.more
        (self.folder / "benchmark.json").write_text(json.dumps(raw))

    def write(self):
        self.save()
        return {path.name: path for path in write_report(self.folder)}

    def read(self):
        self.write()
        return read_benchmark(self.folder)

    def tables(self):
        found = read_benchmark(self.folder)
        return tabulate(found.plan, found.runs)

    def told(self):
        """What the report tells of the runs, beside their scores."""
        return about(read_benchmark(self.folder), self.tables()[0])

    def doubts(self):
        """Why numbers might not be comparable, in sentences."""
        found = read_benchmark(self.folder)
        return markup.sentences(self.told(), "doubts", tabulate(found.plan, found.runs)[0], found.plan)


def fill(folder):
    made = Benchmark(folder)
    back = [score([0.02, 0.04], "mse", "y", "x")]
    made.add("l100-0", "lsm", 100.0, 0, [0.77, 0.77], panel=True, scores=back)
    made.add("l100-1", "lsm", 100.0, 1, [0.78, 0.78], panel=True, scores=back)
    made.add("l5-0", "lsm", 5.0, 0, [0.5, float("nan")], panel=True)
    made.plan("l5-1", "lsm", 5.0, 1)
    made.add("b100-0", "base_line", 100.0, 0, [0.4, 0.4], panel=True)
    made.add("b100-1", "base_line", 100.0, 1, [0.4, 0.4])
    made.add("b5-0", "base_line", 5.0, 0, [0.2, 0.2])
    made.fail("b5-1", "base_line", 5.0, 1)
    made.add("c-0", "cyclegan", None, 0, [0.35, 0.35])
    made.add("f", "floor", None, None, [0.3, 0.3], kind="constant")
    return made


def best(amount=100.0, scores=None, states=None, **more):
    """An invented outcome: by default 20 trials, of which the last but one is the best on new seeds."""
    draw = random.Random(str(amount))
    scores = scores or [0.5, *(0.4 + 0.3 * draw.random() for _ in range(17)), 0.75, 0.74]
    states = states or {}
    names = ("learning_rate", "w_xy")
    trials = [
        Trial(
            number=i,
            state=states.get(i, FINISHED),
            validation=value,
            seconds=60.0,
            parameters={"learning_rate": 1e-4 * (i + 1), "w_xy": 0.3 + draw.random()},
        )
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
            candidate(len(scores) - 2, [0.70, 0.72, 0.74]),
            candidate(len(scores) - 1, [0.69, 0.70, 0.71]),
            candidate(0, [0.48, 0.50, 0.55]),
        ],
        "sampler": "GPSampler",
        "pruner": "none",
        "space": {"learning_rate": (1e-5, 1e-2), "w_xy": (0.1, 1000.0)},
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


def candidate(trial, validations, diverged=0):
    return Candidate(trial=trial, validations=validations, diverged=diverged)


def use(amounts=(100.0,), row="lsm", differs=(), **more):
    return Use(row=row, amounts=list(amounts), differs=list(differs), best=best(row=row, **more))


def dumped(*uses):
    return [one.model_dump(mode="json") for one in uses]


class Disk:
    """Made-up results on disk: benchmarks and runs of their own."""

    def __init__(self, root):
        self.root = root
        self.plans = {}

    def run(self, method, n, seed, values, bench=None, label=None, any_n=False, home="runs", **more):
        """Writes a run and its files; `bench` plans it. Keys with a dot change the configuration."""
        config = {
            "dataset": {"name": "sit", "size": 32, "root": "/somewhere"},
            "method": {"name": method, "network": "tiny", "learning_rate": 0.001},
            "supervision": {"paired": float(n), "protocol": "bank", "supervision_seed": seed},
            "training": {"epochs": 3, "init_seed": seed},
        }
        dataset = {
            "name": "sit",
            "fingerprint": "f00dcafe",
            "views": {"x": "Image(size=32)", "y": "Mask(size=32)"},
            "train": 70,
            "val": 10,
            "test": len(values),
        }
        for key in [key for key in more if "." in key]:
            section, name = key.split(".")
            config[section][name] = more.pop(key)
        run = more.pop("id", f"{method}-N{n}-s{seed}-{zlib.crc32(json.dumps(config).encode()):x}")
        folder = self.root / (f"results/{bench}/runs" if bench else home) / run
        if bench:
            self.plan(bench, run, label or method, None if any_n else n, seed)
        if reason := more.pop("failure", None):
            failure(run, reason=reason, config=config).save(folder)
            return folder
        fields = {
            "config": config,
            "dataset": dataset | more.pop("dataset", {}),
            "supervision": {"pairs": int(n), "x": 9, "y": 9, "val_pairs": 10},
            "selection": {
                "rule": "best_validation",
                "stages": [{"stage": "train", "monitor": "val/x->y/iou", "epoch": 1, "epochs": 3}],
            },
            "scores": [score(values, more.pop("metric", "iou"))],
            "validation": 0.5,
            "cost": {"wall_s": 30.0 + seed, "train_s": 20.0, "epochs": 3, "updates": 120, "parameters": 1000},
            "environment": {"torch": "2.9.0"},
        }
        if indices := more.pop("indices", None):
            fields["scores"][0].indices = indices
        result(run, method, [], **(fields | more)).save(folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = [f"train,{e},{10 * e},0.5,{1 / (e + 1)},{0.1 * e}" for e in range(3)]
        (folder / "log.csv").write_text("\n".join(["stage,epoch,updates,seconds,train/xy,val/x->y/iou", *rows]) + "\n")
        image = np.random.default_rng(seed).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / "panel.npz", index=np.array([0, 1]), x=image, y=image, prediction=image)
        return folder

    def plan(self, bench, run, label, n, seed):
        self.plans.setdefault(bench, []).append((run, label, n, seed))

    def benchmark(self, name, **more):
        runs = self.plans[name]
        paired = list(dict.fromkeys(n for _, _, n, _ in runs if n is not None))
        raw = manifest(runs, paired, (0, 1), name=name, title=name, size="tiny", command=f"lsmbench bench {name}")
        (self.root / "results" / name / "benchmark.json").write_text(json.dumps(raw | more))


TEST = [[0.5, 0.7], [0.4, 0.5], [0.9, 0.1]]


def fill_disk(disk):
    """A benchmark with two methods, one without pairs, a floor and a published value."""
    for seed, values in enumerate(TEST):
        disk.run("lsm", 100, seed, values, "quick")
        disk.run("lsm", 5, seed, [v / 2 for v in values], "quick")
        disk.run("sop", 100, seed, [0.61, 0.59], "quick")
    disk.run("cyclegan", 0, 0, [0.3, 0.5], "quick", any_n=True)
    disk.run("floor", 0, 0, [0.35, 0.35], "quick", any_n=True, **{"method.kind": "constant"})
    published = {"source": "A paper", "metric": "iou", "values": {"lsm": {"100": 0.7}, "sop": {"5": 0.2}}}
    disk.benchmark("quick", published=published)


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


def change(home, edit, name="result.json"):
    """Edits a run's JSON file."""
    raw = json.loads((home / name).read_text())
    edit(raw)
    (home / name).write_text(json.dumps(raw))
