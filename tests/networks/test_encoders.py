"""Encoders: the published networks, dilation, weights of files, and what is said of weights that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lsmbench.errors import UserError
from lsmbench.networks import encoders
from lsmbench.networks.encoders import ResNetEncoder, ResNetTrunk, ViTEncoder
from lsmbench.networks.pretrained import read


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_resnet101_is_torchvisions() -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs, trunk = models.resnet101(weights=None), ResNetTrunk(3, depth=101)
    assert count(trunk) == count(theirs) - 2048 * 1000 - 1000 == 42_500_160
    shapes = [v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")]
    assert [v.shape for v in trunk.state_dict().values()] == shapes


def test_at_stride_8_the_last_groups_keep_the_side_and_see_as_far() -> None:
    dense, plain = ResNetTrunk(1, 4, 50, output_stride=8), ResNetTrunk(1, 4, 50)
    dense.load_state_dict(plain.state_dict())
    photo = torch.rand(2, 1, 64, 64)
    assert [m.shape[-1] for m in plain.maps(photo)] == [32, 16, 8, 4, 2]
    assert [m.shape[-1] for m in dense.maps(photo)] == [32, 16, 8, 8, 8]
    rates = {
        layer.dilation[0]
        for layer in dense.stages[3].modules()
        if isinstance(layer, nn.Conv2d)
        if layer.kernel_size[0] == 3
    }
    assert rates == {4}
    # Each second pixel of the dense map is made of what the plain map's pixel is made of, but for the border.
    at_4, at_8 = dense.eval().maps(photo)[3], plain.eval().maps(photo)[3]
    assert at_4.shape[-1] == 2 * at_8.shape[-1]


def test_weights_by_torchvisions_names_are_taken(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    encoder = ResNetEncoder(3, 64, 18)
    digits = encoders.start(encoder, "resnet18", str(tmp_path / "mine.pth"))
    photo = torch.rand(1, 3, 64, 64)
    theirs.fc = nn.Identity()
    with torch.no_grad():
        assert torch.equal(encoder.eval()(photo)[-1].mean((2, 3)), theirs.eval()(photo))
    # The same weights by this package's names, in a checkpoint: the same digits.
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in encoder.state_dict().items()}}, tmp_path / "own.ckpt")
    other = ResNetEncoder(3, 64, 18)
    assert encoders.start(other, "resnet18", str(tmp_path / "own.ckpt")) == digits
    assert torch.equal(other.trunk.stem[0].weight, encoder.trunk.stem[0].weight)


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    encoder = ResNetEncoder(1, 4, 18)
    safetensors.save_file(dict(encoder.state_dict()), tmp_path / "mine.safetensors")
    other = ResNetEncoder(1, 4, 18)
    encoders.start(other, "own", str(tmp_path / "mine.safetensors"))
    assert torch.equal(other.trunk.stem[0].weight, encoder.trunk.stem[0].weight)


def test_weights_of_another_architecture_are_refused_and_nothing_is_taken(tmp_path: Path) -> None:
    torch.save(ResNetEncoder(3, 8, 18).state_dict(), tmp_path / "narrow.pt")
    encoder = ResNetEncoder(3, 16, 18)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(
        UserError, match=r"narrow.pt: these are the weights of another architecture. Expected trunk.*16, 3"
    ):
        encoders.start(encoder, "own", str(tmp_path / "narrow.pt"))
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"no weights", "cannot be read"),
        ([1, 2], "found something else"),
        ({}, "found something"),
    ],
)
def test_files_that_hold_no_weights_are_named(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=said) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "state dictionary" in str(error.value)


def test_published_weights_belong_to_their_encoder() -> None:
    encoder = ResNetEncoder(3, 4, 18)
    with pytest.raises(UserError, match=r"encoder own has no such published weights. Name an encoder: resnet18"):
        encoders.start(encoder, "own", "imagenet")
    with pytest.raises(UserError, match=r"encoder resnet18 has no such published weights. Expected imagenet"):
        encoders.start(encoder, "resnet18", "lvd142m")


def test_weights_that_cannot_be_downloaded_say_where_to_put_which_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match="no route to host") as error:
        encoders.start(ResNetEncoder(3, 64, 18), "resnet18", "imagenet")
    assert str(tmp_path / "checkpoints" / "resnet18-f37072fd.pth") in str(error.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(error.value)
    assert "method.pretrained=FILE" in str(error.value)
    timm = pytest.importorskip("timm")
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(UserError, match=r"https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m"):
        encoders._of_timm("vit_dinov2_s", "Or else.")


def test_a_vision_transformer_gives_four_maps_of_its_patches() -> None:
    pytest.importorskip("timm")
    encoder = ViTEncoder("vit_dinov2_s", 3).eval()
    assert count(encoder) == 22_056_192
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 28, 42))
    assert [tuple(m.shape) for m in maps] == [(1, 384, 2, 3)] * 4
    other = ViTEncoder("vit_dinov2_s", 3)
    other.take({f"network.{k}": v for k, v in encoder.network.state_dict().items()}, "mine")
    assert torch.equal(other.network.patch_embed.proj.weight, encoder.network.patch_embed.proj.weight)


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'lsmbench\[timm\]'"):
        ViTEncoder("vit_dinov2_s", 3)
