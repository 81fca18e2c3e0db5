"""What tracking and several devices cost a run: ratios of wall times, measured in turn on an otherwise idle machine.

    python benchmarks/speed/runs.py [ROUNDS]

Each round runs every variant once, whole commands with their imports, in an order that turns round after round. A ratio
is a variant's time over that of `plain` in the same round; the median over the rounds is printed, and the range.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = (
    "train --dataset sit --dataset.size 32 --dataset.samples 300 --method lsm --paired 20 --epochs 12 "
    "--training.batch_size 12 --method.network tiny --accelerator cpu"
)
KEY = {"WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567"}
# Options and variables. Nobody listens at port 9; nothing is there at all at the other address.
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "plain": ("--machine.threads 1", {}),
    "wandb offline": ("--machine.threads 1 --track wandb", {"WANDB_MODE": "offline"}),
    "wandb, server refuses": ("--machine.threads 1 --track wandb", KEY | {"WANDB_BASE_URL": "http://127.0.0.1:9"}),
    "wandb, server is silent": ("--machine.threads 1 --track wandb", KEY | {"WANDB_BASE_URL": "http://10.255.255.1"}),
    "two threads": ("--machine.threads 2", {}),
    "two devices": ("--machine.threads 1 --devices 2", {}),
}


def seconds(options: str, variables: dict[str, str], folder: Path) -> float:
    """Wall time of one run, from the start of the command to its end."""
    words = [sys.executable, "-m", "lsmbench", *RUN.split(), *options.split(), "--output", str(folder)]
    began = time.perf_counter()
    subprocess.run(words, env={**os.environ, **variables}, check=True, capture_output=True)
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Measures and prints."""
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    names = list(VARIANTS)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                times[name].append(seconds(*VARIANTS[name], Path(folder) / name / str(number)))
                print(f"round {number + 1}, {name}: {times[name][-1]:.1f} s", flush=True)
    print(f"\n{'':26}median s   ratio to plain (range)")
    for name, measured in times.items():
        ratios = [one / plain for one, plain in zip(measured, times["plain"], strict=True)]
        middle = statistics.median(ratios)
        print(f"{name:26}{statistics.median(measured):8.1f}   {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
