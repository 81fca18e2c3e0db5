from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import models

from lsmbench.data.features import digest, features_of, from_file, pixels, resnet50
from lsmbench.errors import UserError

URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
Bytes = NDArray[np.uint8]


def noise(*shape: int) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def untrained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.resnet50(weights=None).eval()


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder, empty, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", raising(URLError("no network in tests")))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def downloads(untrained: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the downloaded network; its weights are random."""
    asked: list[str] = []

    def load(url: str, **options: Any) -> dict[str, Any]:
        assert options["check_hash"]
        asked.append(url)
        print("Downloading")
        return untrained.state_dict()

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    return asked


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# Pixels


def test_pixels_of_small_photos_are_all_of_them() -> None:
    photos = noise(5, 3, 20, 32)
    found = pixels(photos)
    assert found.dtype == np.float32
    assert np.allclose(found, photos.reshape(5, -1) / 255, atol=1e-7)


def test_pixels_of_large_photos_are_means_of_areas() -> None:
    photos = noise(4, 1, 64, 96)
    expected = (photos / 255).reshape(4, 32, 2, 32, 3).mean((2, 4))
    assert np.allclose(pixels(photos), expected.reshape(4, -1), atol=1e-6)


def test_pixels_shrink_each_side_for_itself() -> None:
    assert pixels(noise(2, 3, 8, 100)).shape == (2, 3 * 8 * 32)


def test_pixels_of_floats_and_of_bytes_are_the_same() -> None:
    photos = noise(3, 2, 40, 40)
    assert np.allclose(pixels(photos), pixels((photos / 255).astype(np.float64)), atol=1e-6)


def test_progress_and_batches_change_nothing() -> None:
    told: list[tuple[int, int]] = []
    photos = noise(7, 1, 40, 40)
    found = pixels(photos, batch_size=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]
    assert np.array_equal(found, pixels(photos))


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (noise(3, 16, 16), r"expected photos of shape \(N, C, H, W\), found 3 axes"),
        (noise(2, 1, 16, 16).astype(np.int32), "uint8 or as floats in .*, found int32"),
        (noise(2, 1, 16, 16).astype(np.float32), "uint8 or as floats in .*, found float32"),
        (np.full((1, 1, 16, 16), np.nan, np.float32), "uint8 or as floats"),
        (np.full((1, 1, 16, 16), -0.1, np.float32), "uint8 or as floats"),
        (noise(0, 1, 16, 16), "no photos"),
    ],
    ids=["axes", "integers", "beyond one", "nan", "negative", "none"],
)
def test_photos_of_another_form(photos: NDArray[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pixels(photos)


# ResNet-50


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.usefixtures("downloads")
def test_resnet50_gives_the_global_average_pool(channels: int, untrained: nn.Module) -> None:
    photos = noise(3, channels, 48, 64)
    caught: list[torch.Tensor] = []
    hook = untrained.avgpool.register_forward_hook(lambda module, given, result: caught.append(result))  # type: ignore[union-attr]
    normed = torch.nn.functional.interpolate(
        torch.from_numpy(photos / 255).float(), (224, 224), mode="bilinear", antialias=True
    ).repeat(1, 3 // channels, 1, 1)
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        normed[:, channel] = (normed[:, channel] - mean) / std
    with torch.no_grad():
        untrained(normed)
    hook.remove()

    told: list[tuple[int, int]] = []
    found = resnet50(photos, batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert found.shape == (3, 2048)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    expected = caught[0].flatten(1).numpy()
    assert np.allclose(found, expected, atol=1e-4 * expected.max())
    assert np.ptp(expected, axis=0).max() > 1e-3 * expected.max()  # photos differ by more than that
    assert told == [(2, 3), (3, 3)]


@pytest.mark.usefixtures("downloads")
def test_resnet50_is_the_same_twice_and_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    photos = noise(2, 3, 32, 32)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert np.array_equal(resnet50(photos), resnet50(photos))
    assert torch.equal(torch.get_rng_state(), before)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Downloading" in shown.err


@pytest.mark.parametrize("channels", [2, 4])
def test_resnet50_takes_grey_and_rgb(channels: int, downloads: list[str]) -> None:
    with pytest.raises(UserError, match=rf"1 channel \(grey\) or 3 \(RGB\), found {channels}.*features=pixels"):
        resnet50(noise(2, channels, 32, 32))
    assert not downloads


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route"),
        HTTPError(URL, 403, "Forbidden", {}, None),  # type: ignore[arg-type]
        TimeoutError("timed out"),
        PermissionError(13, "Permission denied"),
        RuntimeError('invalid hash value (expected "0676ba61", got "…")'),
        IncompleteRead(b"", 7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_weights_that_cannot_be_had(error: Exception, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", raising(error))
    with pytest.raises(UserError) as caught:
        features_of("resnet50", noise(2, 3, 32, 32), 2)
    message = str(caught.value)
    for part in (str(error), URL, str(hub / "resnet50-0676ba61.pth"), "features=pixels", "features=FILE.npy"):
        assert part in message


def test_without_a_network_and_with_another_file_in_place(hub: Path) -> None:
    with pytest.raises(UserError, match="no network in tests"):
        resnet50(noise(1, 3, 32, 32))
    (hub / "resnet50-0676ba61.pth").write_bytes(b"half of the file")
    with pytest.raises(UserError, match=r"holds something else: its SHA-256 begins with \w{8}, not 0676ba61; remove"):
        resnet50(noise(1, 3, 32, 32))


def test_weights_of_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: {"fc.weight": torch.zeros(2, 2)})
    with pytest.raises(UserError, match=r"another architecture. Expected conv1\.weight of shape"):
        resnet50(noise(1, 3, 32, 32))


# Files


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_features_of_a_file(dtype: type[np.generic], tmp_path: Path) -> None:
    values = noise(6, 4).astype(dtype)
    np.save(tmp_path / "mine.npy", values)
    found = from_file(tmp_path / "mine.npy", 6)
    assert found.dtype == np.float32
    assert np.array_equal(found, values.astype(np.float32))


def test_more_axes_are_flattened(tmp_path: Path) -> None:
    values = noise(6, 2, 3, 4)
    np.save(tmp_path / "mine.npy", values)
    assert np.array_equal(features_of(str(tmp_path / "mine.npy"), None, 6), values.reshape(6, 24))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 2)), r"each of the 6 samples, in their order, found an array of shape \(5, 2\)"),
        (np.zeros(6), r"found an array of shape \(6,\)"),
        (np.zeros((6, 0)), r"found an array of shape \(6, 0\)"),
        (np.array(1.0), r"found an array of shape \(\)"),
        (np.array([["a"]] * 6), "found values of type <U1"),
        (np.zeros((6, 2), np.complex64), "found values of type complex64"),
        (np.zeros((6, 2), [("a", "f4")]), "found values of type"),
        (np.array([[0.0], [np.nan], [0], [0], [np.inf], [0]]), "found nan, inf or .* in 2 rows, first in row 1"),
        (np.full((6, 1), 1e300), "numbers beyond float32 in 6 rows, first in row 0"),
        (np.array([[{}]] * 6), r"cannot be read as a \.npy file .*pickled objects are refused"),
    ],
    ids=["rows", "one axis", "no columns", "number", "text", "complex", "record", "nan", "great", "objects"],
)
def test_wrong_files(values: NDArray[Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(UserError, match=message) as caught:
        from_file(path, 6)
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.npy: no such file"):
        from_file(tmp_path / "absent.npy", 6)
    path = tmp_path / "a.npy"
    np.save(path, noise(6, 40))
    whole = path.read_bytes()
    for content in (b"", b"1,2,3\n", whole[:60], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.npy: cannot be read as a \.npy file"):
            from_file(path, 6)
    np.savez(tmp_path / "several.npz", noise(6, 2))
    (tmp_path / "several.npz").replace(path)
    with pytest.raises(UserError, match=r"archive of several arrays"):
        from_file(path, 6)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        from_file(path, 6)


# By word


def test_words(downloads: list[str], tmp_path: Path) -> None:
    photos = noise(3, 1, 40, 40)
    assert np.array_equal(features_of("pixels", photos, 3), pixels(photos))
    assert np.array_equal(features_of("resnet50", photos, 3), resnet50(photos))
    for word in ("resnet", "", "mine.npz", str(tmp_path)):
        with pytest.raises(UserError, match=r"resnet50.*pixels.*\.npy file"):
            features_of(word, photos, 3)
    with pytest.raises(ValueError, match="3 photos for 4 samples"):
        features_of("pixels", photos, 4)
    with pytest.raises(UserError, match=r"features=pixels: samples have no photos.*features=FILE\.npy"):
        features_of("pixels", None, 3)


def test_features_of_resnet50_are_computed_once(downloads: list[str]) -> None:
    photos = noise(3, 3, 24, 24)
    once = features_of("resnet50", photos, 3)
    assert np.array_equal(features_of("resnet50", photos.copy(), 3), once)
    assert downloads == [URL]
    other = photos.copy()
    other[2, 1, 5, 5] ^= 1
    assert not np.array_equal(features_of("resnet50", other, 3), once)
    assert features_of("resnet50", photos.reshape(3, 3, 12, 48), 3).shape == (3, 2048)
    assert len(downloads) == 3


def test_a_photo_each_of_two_shapes_is_not_confused(downloads: list[str]) -> None:
    features_of("resnet50", noise(2, 1, 16, 36), 2)
    features_of("resnet50", noise(2, 1, 36, 16), 2)
    assert len(downloads) == 2


# Identity


def test_digest_tells_content_and_not_place(tmp_path: Path) -> None:
    assert digest("resnet50") == "resnet50"
    assert digest("pixels") == "pixels"
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    np.save(one, noise(6, 2))
    np.save(two, noise(6, 2))
    assert digest(str(one)) == digest(str(two)) == hashlib.sha256(one.read_bytes()).hexdigest()[:16]
    np.save(two, noise(6, 2) + 1)
    assert digest(str(one)) != digest(str(two))
    with pytest.raises(UserError, match=r"features=.*three\.npy: no such file"):
        digest(str(tmp_path / "three.npy"))
    (tmp_path / "three.npy").mkdir()
    with pytest.raises(UserError, match=r"features=.*three\.npy: cannot be read"):
        digest(str(tmp_path / "three.npy"))


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "mine.npy", noise(2, 3))
    assert features_of("~/mine.npy", None, 2).shape == (2, 3)
    assert len(digest("~/mine.npy")) == 16
