"""How long `lsmbench compare` and `leaderboard` take on 10,000 result files, which this makes.

python benchmarks/speed/reports.py [--folder FOLDER] [--benchmarks 20] [--rows 10] [--amounts 10] [--seeds 5]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SAMPLES = 240


def main() -> None:
    """Makes the files, unless they are there, and times the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files lie, or are to (default: a temporary folder)")
    for name, default in (("benchmarks", 20), ("rows", 10), ("amounts", 10), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    values = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = values.folder or Path(temporary)
        if not any(top.glob("*/benchmark.json")):
            for number in range(values.benchmarks):
                make(top / f"made-{number}", number, values.rows, values.amounts, values.seeds)
        count = sum(1 for _ in top.glob("*/runs/*/result.json"))
        first = top / "made-0"
        print(f"{count} result files of {SAMPLES} samples")
        timed("compare two rows of one benchmark", "compare", first, "row-0", "row-1", "--paired", "100")
        timed("compare every row of every result", "compare", top)
        timed("leaderboard of every result", "leaderboard", top, "--output", top / "page.html")


def timed(what: str, *words: object) -> None:
    """Runs a command and prints how long it took."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lsmbench", *map(str, words)], capture_output=True, text=True, check=False
    )
    said = "" if done.returncode == 0 else f" (exit {done.returncode}: {done.stderr.strip()[-300:]})"
    print(f"{what}: {time.perf_counter() - start:.1f} s{said}", flush=True)


def make(folder: Path, number: int, rows: int, amounts: int, seeds: int) -> None:
    """Writes a benchmark's results: every row better with more pairs, with seeds and samples of its own."""
    draw = np.random.default_rng(number)
    paired = [100.0 / 2**i for i in range(amounts)]
    sample = draw.normal(size=SAMPLES)
    runs = []
    for row in range(rows):
        for n in paired:
            for seed in range(seeds):
                name = f"row-{row}-N{n:g}-s{seed}"
                runs.append({"id": name, "method": f"row-{row}", "paired": n, "seed": seed})
                values = 0.1 + 0.02 * row - 0.02 * np.log10(n) + 0.02 * draw.normal()
                values = values + 0.03 * sample + 0.02 * draw.normal(size=SAMPLES)
                write(folder / "runs" / name, name, f"row-{row}", n, seed, number, np.abs(values).tolist())
    plan = {
        "schema": 1, "name": folder.name, "dataset": f"made-{number}", "methods": [f"row-{row}" for row in range(rows)],
        "paired": paired, "seeds": list(range(seeds)), "runs": runs, "primary_metric": "nrmse",
    }  # fmt: skip
    (folder / "benchmark.json").write_text(json.dumps(plan))


def write(home: Path, name: str, row: str, n: float, seed: int, number: int, values: list[float]) -> None:
    """Writes one result, as a run would."""
    score = {
        "metric": "nrmse", "source": "x", "target": "y", "unit": "errors over the distance between the eyes",
        "higher_is_better": False, "indices": list(range(SAMPLES)), "values": values, "pooled": None,
        "test_set": "test", "units": None, "counts": None, "classes": None,
    }  # fmt: skip
    setting = {
        "dataset": {"name": f"made-{number}"},
        "method": {"name": "baseline", "learning_rate": 0.001 * (1 + int(row.rpartition("-")[2]))},
    }
    result = {
        "schema": 1, "id": name, "protocol": "1", "setting": setting,
        "config": {
            **setting,
            "supervision": {"paired": n, "supervision_seed": seed},
            "training": {"init_seed": seed},
        },
        "dataset": {
            "name": f"made-{number}", "fingerprint": f"{number:016x}", "train": 400, "val": 40, "test": SAMPLES,
        },
        "supervision": {"pairs": max(1, int(4 * n)), "x": 1, "y": 1, "val_pairs": 40},
        "selection": {"rule": "best_validation", "stages": []}, "scores": [score], "validation": 0.1,
        "cost": {"wall_s": 60.0, "updates": 300, "parameters": 10_000}, "environment": {"torch": "2.9"},
    }  # fmt: skip
    home.mkdir(parents=True)
    (home / "result.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
