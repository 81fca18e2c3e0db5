"""What test-time optimisation costs: images per second against its plain form, measured in turn in one process.

    python benchmarks/speed/refinement.py [STEPS] [THREADS]

semanticGAN with small networks at 64 px, untrained, which takes as long. The plain form is that of the papers' code:
styles multiply the weights of each sample, the target's features are computed in every step, and images are refined one
after the other. Each round refines 32 images by the plain form and by batches of 1, 8 and 32, in an order that turns
round after round. A ratio is the plain form's time over a batch size's in the same round; medians over the rounds are
printed. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import INDEX
from lsmbench.domains import Image, Mask
from lsmbench.methods.generating import GeneratorCode
from lsmbench.methods.refinement import Refinement
from lsmbench.methods.semanticgan import SemanticGAN, SemanticGANConfig
from lsmbench.networks.stylegan2 import ModulatedConv, smoothed

IMAGES, ROUNDS, SIDE = 32, 3, 64


def by_weights(conv: ModulatedConv, x: Tensor, code: Tensor) -> Tensor:
    """StyleGAN2's eqs. 1 to 3 as they stand: weights of each sample, in one convolution with a group for each."""
    weight = conv.weight * conv.scale * conv.style(code)[:, None, :, None, None]
    if conv.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    count, outputs = weight.shape[:2]
    flat = x.reshape(1, -1, *x.shape[2:])
    if conv.up:
        out = F.conv_transpose2d(flat, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=count)
        return smoothed(out.view(count, outputs, *out.shape[2:]), 1, 1, gain=4.0)
    out = F.conv2d(flat, weight.flatten(0, 1), padding=conv.kernel // 2, groups=count)
    return out.view(count, outputs, *out.shape[2:])


@contextmanager
def plainly() -> Iterator[None]:
    """Puts the plain form in place."""
    forward, losses = ModulatedConv.forward, GeneratorCode.losses

    def recomputed(code: GeneratorCode) -> Tensor:
        with torch.no_grad():
            code.wanted = code.method.features(code.photos)
        return losses(code)

    ModulatedConv.forward, GeneratorCode.losses = by_weights, recomputed  # type: ignore[method-assign]
    try:
        yield
    finally:
        ModulatedConv.forward, GeneratorCode.losses = forward, losses  # type: ignore[method-assign]


def main(steps: int, threads: int) -> None:
    """Measures and prints."""
    torch.set_num_threads(threads)
    method = SemanticGAN({"x": Image(1, SIDE), "y": Mask(2, SIDE)}, SemanticGANConfig(network="small")).eval()
    photos, method.refinement = torch.rand(IMAGES, 1, SIDE, SIDE), Refinement(steps)

    def refined(size: int) -> Tensor:
        found = []
        for first in range(0, IMAGES, size):
            rows = torch.arange(first, first + size)
            found.append(method.predictions({"x": photos[rows], INDEX: rows}, "x", "y"))
        return torch.cat(found)

    def plain() -> Tensor:
        with plainly():
            return refined(1)

    forms: dict[str, Callable[[], Tensor]] = {"plain": plain}
    forms |= {f"batch of {size}": lambda size=size: refined(size) for size in (1, 8, 32)}  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(ROUNDS):
        names = list(forms)[turn:] + list(forms)[:turn]
        for name in names:
            began = time.perf_counter()
            forms[name]()
            times[name].append(time.perf_counter() - began)
    print(
        f"{steps} steps at {SIDE} px, {threads} threads\n{'':14}{'images per s':>14}{'least s':>10}{'times plain':>13}"
    )
    for name, taken in times.items():
        ratio = statistics.median(one / own for one, own in zip(times["plain"], taken, strict=True))
        print(f"{name:14}{IMAGES / statistics.median(taken):14.2f}{min(taken):10.2f}{ratio:13.2f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 2)
