"""Segmenters: networks that users bring, to classify the pixels of generated photos."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD

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
