"""What augmentation costs a batch: ratios of times, measured in turn in one process on an otherwise idle machine.

    python benchmarks/speed/augmentation.py [BATCHES]

A batch is gathered, augmented and unpacked, as a training update does. Each round takes one batch by every variant, in
an order that turns round after round. A ratio is a variant's time over that of `none` in the same round; the medians
over the rounds are printed, and the share that the batch has of an update of 0.3 s, which is a quick one of LSTNet on
two cores. `crop_flip` wants views of one size, so that it is measured where they have one.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import torch

from lsmbench.data.module import TrainingViews
from lsmbench.data.pools import ViewSet
from lsmbench.data.samplers import SupervisionSampler
from lsmbench.data.transforms import AUGMENTATIONS
from lsmbench.domains import Domain, Image

UPDATE = 0.3  # seconds

# Of each view the number of samples, of channels and the side; the samples of a batch; the variants.
CASES: dict[str, tuple[dict[str, tuple[int, int, int]], int, list[str]]] = {
    "64 digits of 28 px, 64 of 16 px": ({"x": (60000, 1, 28), "y": (7291, 1, 16)}, 128, ["none", "affine"]),
    "64 and 64 digits of 28 px": ({"x": (60000, 1, 28), "y": (7291, 1, 28)}, 128, ["none", "affine", "crop_flip"]),
    "8 and 8 photos of 256 px": ({"x": (64, 3, 256), "y": (64, 3, 256)}, 16, ["none", "affine", "crop_flip"]),
}


def measured(
    stored: dict[str, tuple[int, int, int]], size: int, words: list[str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each batch by each variant."""
    rng = np.random.default_rng(0)
    domains: dict[str, Domain] = {view: Image(channels, side) for view, (_, channels, side) in stored.items()}
    groups: dict[ViewSet, dict[str, torch.Tensor]] = {
        (view,): {view: torch.from_numpy(rng.integers(0, 256, (count, channels, side, side), np.uint8))}
        for view, (count, channels, side) in stored.items()
    }
    sizes = {(view,): count for view, (count, _, _) in stored.items()}
    requests = list(SupervisionSampler(sizes, size, rounds + 1, seed=0))
    views = {
        word: TrainingViews(groups, domains, None if word == "none" else AUGMENTATIONS[word](domains, 0))
        for word in words
    }
    times: dict[str, list[float]] = {word: [] for word in words}
    for number, request in enumerate(requests):
        turn = number % len(words)
        for word in words[turn:] + words[:turn]:
            began = time.perf_counter()
            views[word].__getitems__(request)
            if number:  # the first batch imports and warms up
                times[word].append(time.perf_counter() - began)
    return times


def main(rounds: int) -> None:
    """Measures and prints."""
    print(f"{'':34}{'':10}{'threads':>8}{'median ms':>11}{'least ms':>10}{'ratio to none':>15}{'of 0.3 s':>10}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for case, (stored, size, words) in CASES.items():
            times = measured(stored, size, words, rounds)
            for word, taken in times.items():
                ratio = statistics.median(one / none for one, none in zip(taken, times["none"], strict=True))
                middle = statistics.median(taken)
                print(
                    f"{case:34}{word:10}{threads:8}{middle * 1e3:11.2f}{min(taken) * 1e3:10.2f}{ratio:15.1f}"
                    f"{middle / UPDATE:10.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
