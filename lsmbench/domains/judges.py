"""Judges: networks that turn predicted views into what is compared with the truth.

A segmenter, which users bring, classifies the pixels of photos. A classifier, which lsmbench trains itself on labelled
samples of a domain, tells the class of whole images.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PlainSerializer, SkipValidation
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD
from lsmbench.networks.classifier import ConvClassifier

_HOW = (
    "Name a TorchScript file, segmenter=model.pt, or a segmentation network of torchvision with a file of its weights, "
    "segmenter=fcn_resnet101:weights.pth. The network takes (B, 3, H, W), normalised as ImageNet, and returns logits "
    "(B, K, h, w) for the dataset's classes. lsmbench ships no segmenter, and none is chosen by default."
)


@dataclass(frozen=True)
class Segmenter:
    """A named segmentation network.

    Two segmenters are equal if their weights are, wherever the files lie.

    Attributes:
        spec: `FILE.pt`, a TorchScript module; or `NAME:FILE`, a torchvision network and its state dictionary.
        classes: Number of classes.
        digest: First 16 hex digits of the SHA-256 of the file.
    """

    spec: str = field(repr=False, compare=False)
    classes: int
    digest: str

    @classmethod
    def named(cls, spec: str, classes: int) -> Segmenter:
        """Makes a segmenter and reads its file's digest.

        Raises:
            UserError: If the file cannot be read.
        """
        path = _file(spec)
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError as error:
            raise UserError(f"segmenter {spec}: {path} cannot be read ({error.strerror or error}). {_HOW}") from error
        return cls(spec, classes, digest)

    @torch.no_grad()
    def labels(self, photos: Tensor) -> Tensor:
        """Classifies the pixels of photos.

        Args:
            photos: (B, 3, H, W) in [0, 1].

        Returns:
            Labels, uint8 (B, H, W).

        Raises:
            UserError: If the network cannot be loaded, or has another number of classes.
        """
        network = _load(self.spec, self.classes, self.digest).to(photos.device)
        mean, sd = (photos.new_tensor(v)[:, None, None] for v in (MEAN, SD))
        out: Any = network((photos - mean) / sd)
        logits: Tensor = out["out"] if isinstance(out, dict) else out
        if logits.ndim != 4 or logits.shape[1] != self.classes:
            raise UserError(
                f"segmenter {self.spec}: expected logits (B, {self.classes}, h, w), found {tuple(logits.shape)}. {_HOW}"
            )
        if logits.shape[2:] != photos.shape[2:]:
            logits = nn.functional.interpolate(logits, photos.shape[2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).to(torch.uint8)


def _file(spec: str) -> Path:
    name, colon, weights = spec.partition(":")
    return Path(weights if colon else name).expanduser()


@lru_cache(maxsize=1)
def _load(spec: str, classes: int, digest: str) -> nn.Module:
    """The network, in evaluation mode; `digest` is in the cache's key, so that a changed file is loaded again."""
    path = _file(spec)
    name = spec.partition(":")[0] if ":" in spec else ""
    try:
        if not name:
            network: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        else:
            from torchvision.models import get_model, list_models, segmentation  # type: ignore[import-untyped]

            if name not in list_models(module=segmentation):
                raise UserError(
                    f"segmenter {spec}: {name} is no segmentation network of torchvision; known: "
                    f"{', '.join(list_models(module=segmentation))}."
                )
            network = get_model(name, weights=None, weights_backbone=None, num_classes=classes, aux_loss=None)
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = {k: v for k, v in state.get("state_dict", state).items() if not k.startswith("aux_classifier.")}
            network.load_state_dict(state)
    except UserError:
        raise
    except Exception as error:  # torch raises errors of many kinds for files of another format
        raise UserError(
            f"segmenter {spec}: {path} cannot be loaded ({type(error).__name__}: {error}). {_HOW}"
        ) from error
    for parameter in network.parameters():  # scripted modules have no requires_grad_ of their own
        parameter.requires_grad_(False)
    return network.eval()


Weights = Mapping[str, NDArray[np.generic]]
"""A classifier's parameters and buffers by name, and `correct`, which real test images it tells right, bool (M,)."""

CORRECT = "correct"

_RECIPE = 1
"""Raise this whenever the same data gives other weights."""
_MOST, _EPOCHS, _MORE, _BATCH, _RATE = 2400, 15, 240, 128, 4e-3
_TURN, _SCALE, _SHIFT = math.radians(10), 0.1, 2 / 28


@dataclass(frozen=True)
class Classifier:
    """A classifier of whole images that lsmbench trained on labelled images of the same domain.

    Two are equal if they learnt from the same data by the same recipe.

    Attributes:
        classes: What each class is called.
        digest: First 16 hex digits of a SHA-256 over the data and the recipe (`recipe`).
        weights: Gives the weights, and trains them first where that has not been done.
    """

    classes: tuple[str, ...]
    digest: str
    weights: Annotated[
        Callable[[], Weights] | None, SkipValidation, PlainSerializer(lambda _: None, when_used="json")
    ] = field(default=None, repr=False, compare=False)

    @torch.no_grad()
    def labels(self, images: Tensor) -> Tensor:
        """Tells the class of images.

        Args:
            images: (B, C, S, S) in [0, 1].

        Returns:
            Class numbers, int64 (B,).
        """
        network = _restored(self).to(images.device)
        said: Tensor = network(images.float()).argmax(1)
        return said

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which of the domain's real test images it tells right, (M,); their mean is the ceiling of its verdicts."""
        return np.asarray(self._known()[CORRECT], np.bool_)

    def _known(self) -> Weights:
        if self.weights is None:
            raise UserError(
                "this classifier's weights are not kept with a run: it judges a dataset's test, and not files."
            )
        return self.weights()


@lru_cache(maxsize=2)
def _restored(judge: Classifier) -> nn.Module:
    """The network, in evaluation mode."""
    known = {name: torch.from_numpy(np.array(value)) for name, value in judge._known().items() if name != CORRECT}
    first, last = known["features.0.0.weight"], known["head.3.bias"]
    network = ConvClassifier(first.shape[1], int(known.pop("side")[0]), len(last), first.shape[0])
    network.load_state_dict({**network.state_dict(), **known})
    return network.float().requires_grad_(False).eval()


def updates_for(samples: int) -> int:
    """How many updates a classifier takes: 15 passes over the samples and 240 more, at most 2,400."""
    return min(_MOST, _EPOCHS * math.ceil(samples / _BATCH) + _MORE)


def recipe(images: NDArray[Any], labels: NDArray[Any], updates: int, classes: int, *tests: NDArray[Any]) -> str:
    """The digest of what a classifier learns from, how, and what it is tested on."""
    digest = hashlib.sha256(repr((_RECIPE, classes, updates, images.shape)).encode())
    for array in (images, np.asarray(labels, np.int64), *tests):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def trained(
    images: NDArray[Any],
    labels: NDArray[Any],
    test_images: NDArray[Any],
    test_labels: NDArray[Any],
    updates: int,
    classes: int,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Weights:
    """Trains a classifier, by one thread in float32, so that it is always the same on one machine.

    Cross-entropy, Adam with one cycle of the learning rate, batches of 128 images that are rotated by at most 10°,
    scaled by .9 to 1.1 and shifted by at most 2 of 28 px.

    Args:
        images: uint8 (N, C, S, S).
        labels: (N,).
        test_images: uint8 (M, C, S, S).
        test_labels: (M,).
        updates: As `updates_for`, or fewer.
        classes: Number of classes.
        tell: Is told after each update how many there were, and of how many.
    """
    channels, side = images.shape[1], images.shape[-1]
    known, truth = torch.from_numpy(np.array(images)), torch.from_numpy(np.asarray(labels, np.int64))
    # A test may ask first, in inference mode.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), _its_own_arithmetic():
        torch.manual_seed(0)
        network = ConvClassifier(channels, side, classes)
        optimizer = torch.optim.Adam(network.parameters(), _RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=updates)
        order = torch.zeros(0, dtype=torch.int64)
        with torch.enable_grad():
            for update in range(updates):
                while len(order) < _BATCH:
                    order = torch.cat([order, torch.randperm(len(known))])
                chosen, order = order[:_BATCH], order[_BATCH:]
                loss = F.cross_entropy(network(_moved(known[chosen].float() / 255)), truth[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
                tell(update + 1, updates)
        network.eval()
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(np.array(test_images)), 500)
            said = torch.cat([network(part.float() / 255).argmax(1) for part in parts])
    weights: dict[str, NDArray[np.generic]] = {k: v.numpy() for k, v in network.state_dict().items() if v.ndim}
    return {**weights, "side": np.array([side]), CORRECT: said.numpy() == np.asarray(test_labels, np.int64)}


@contextmanager
def _its_own_arithmetic() -> Iterator[None]:
    """One thread and float32, whatever the run has that asks first."""
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(default)


def _moved(images: Tensor) -> Tensor:
    """Images rotated, scaled and shifted at random, (B, C, S, S); what comes in from outside is 0."""
    drawn = torch.rand(len(images), 4) * 2 - 1
    turn, scale, shift = drawn[:, 0] * _TURN, 1 + drawn[:, 1] * _SCALE, drawn[:, 2:] * 2 * _SHIFT
    cos, sin = turn.cos() / scale, turn.sin() / scale
    maps = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
