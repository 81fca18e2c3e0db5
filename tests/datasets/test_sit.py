import functools
import os

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.datasets import sit
from lsmbench.datasets.sit import SIT
from lsmbench.domains import Image, Mask
from lsmbench.errors import UserError
from lsmbench.metrics import ForegroundIoU
from lsmbench.options import options_of
from tests.conftest import fingerprint

REAL_DATA = os.environ.get("LSMBENCH_DATA")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LSMBENCH_DATA", str(root))
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))
    return root


def iou(predicted, true):
    return ForegroundIoU(2).score(torch.from_numpy(predicted), torch.from_numpy(true)).mean().item()


def floors(dataset):
    y, copies = np.array(dataset.load()["y"]), np.array(dataset.evaluation_views()["copy"])
    constant = Mask(2, dataset.size).constant(torch.from_numpy(y)).numpy()
    return iou(copies, y), iou(np.broadcast_to(constant, y.shape).copy(), y)


# Generated pairs


def test_floors_at_the_papers_size():
    copy, constant = floors(SIT(samples=3000))
    assert copy == pytest.approx(0.228, abs=0.01)
    assert constant == pytest.approx(0.333, abs=0.01)


def test_floors_hardly_depend_on_the_size():
    copy, constant = floors(SIT(samples=3000, size=32))
    assert copy == pytest.approx(0.228, abs=0.015)
    assert constant == pytest.approx(0.333, abs=0.015)


def test_contents():
    dataset = SIT(samples=12, size=64)
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((12, 1, 64, 64), np.uint8),
        "y": ((12, 64, 64), np.uint8),
    }
    assert dataset.domains == {"x": Image(1, 64), "y": Mask(2, 64)}
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    assert SIT(reconstruction="l1").domains["x"] == Image(1, 128, reconstruction="l1")
    assert np.unique(dataset.evaluation_views()["copy"]).tolist() == [0, 1]


def inside(masks):
    """Which masks leave the image's border empty."""
    return ~(masks[:, [0, -1]].any((1, 2)) | masks[:, :, [0, -1]].any((1, 2)))


def rings_of(masks):
    """Recovers centre, inner radius and thickness of rings that lie inside the image, from the pixels alone."""
    grid_y, grid_x = np.mgrid[: masks.shape[1], : masks.shape[2]]
    found = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        y, x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
        distance = np.hypot(grid_x - x, grid_y - y)[mask > 0]
        found.append((x, y, distance.min(), distance.max() - distance.min()))
    return np.array(found).T


def test_the_parameters_are_swapped():
    dataset = SIT(samples=600)
    y, copies = np.array(dataset.load()["y"]), np.array(dataset.evaluation_views()["copy"])

    whole = inside(y) & inside(copies)
    assert whole.sum() > 200
    (cx, cy, inner, thickness), (tx, ty, t_inner, t_thickness) = rings_of(copies[whole]), rings_of(y[whole])
    # A centre spans 48 px where an inner radius spans 20 px and a thickness 25 px.
    assert np.abs((cx - 40) / 48 - (t_thickness - 6) / 25).max() < 0.1
    assert np.abs((cy - 40) / 48 - (t_inner - 10) / 20).max() < 0.12
    assert np.abs((tx - 40) / 48 - (thickness - 6) / 25).max() < 0.1
    assert np.abs((ty - 40) / 48 - (inner - 10) / 20).max() < 0.12
    # Within the source, position does not determine size: only the target's size depends on the source's position.
    assert np.abs(np.corrcoef(cx, thickness)[0, 1]) < 0.3


def test_parameters_cover_their_ranges():
    x, y, z, w = np.random.default_rng(0).random((4, 400))
    cx, cy, _, _ = rings_of(sit._rings(x, y, z, 0 * w, 128).astype(np.uint8))
    assert (cx.min(), cx.max(), cy.min(), cy.max()) == (40, 87, 40, 87)
    _, _, inner, thickness = rings_of(sit._rings(0 * x + 0.5, 0 * y + 0.5, z, w, 128).astype(np.uint8))
    # OpenCV's rings are up to a pixel wider than asked for on either side.
    assert (inner.min(), inner.max()) == pytest.approx((9, 29), abs=1)
    assert (thickness.min(), thickness.max()) == pytest.approx((6, 30), abs=1.6)


def test_the_ring_shows_the_one_texture_and_the_ground_the_other(data):
    write_textures(data / "brodatz")
    dataset = SIT(samples=20, textures="brodatz")
    x, ring = dataset.load()["x"][:, 0], np.array(dataset.evaluation_views()["copy"]) == 1
    assert (x[ring] < 100).all()
    assert (x[~ring] >= 100).all()
    assert len(np.unique([i[0, 0] for i in x])) > 3, "crops move"


def test_one_offset_for_both_textures(tmp_path):
    ramp = np.tile(np.arange(640, dtype=np.uint16) % 256, (640, 1)).astype(np.uint8)
    for name in ("D17", "D77"):
        Picture.fromarray(ramp).save(tmp_path / f"{name}.png")
    x = SIT(samples=20, textures=str(tmp_path)).load()["x"][:, 0]
    assert (np.diff(x.astype(np.uint8), axis=2) == 1).all(), "the same texture twice shows no ring"


def test_a_larger_set_begins_with_the_smaller_one():
    small, large = SIT(samples=20, size=32), SIT(samples=300, size=32)
    for view in ("x", "y"):
        assert np.array_equal(small.load()[view], large.load()[view][:20])
    assert np.array_equal(small.evaluation_views()["copy"], large.evaluation_views()["copy"][:20])


def test_determinism_and_seeds(monkeypatch, tmp_path):
    first = SIT(samples=20, size=32).load()
    fingerprints = {fingerprint(SIT(samples=20, size=32, data_seed=s)) for s in range(3)}
    assert len(fingerprints) == 3
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "other"))
    again = SIT(samples=20, size=32).load()
    assert all(np.array_equal(first[v], again[v]) for v in first)


def test_sizes_show_the_same_rings():
    large, small = SIT(samples=20), SIT(samples=20, size=64)
    reduced = np.array(large.load()["y"]).reshape(20, 64, 2, 64, 2).mean((2, 4)) > 0.5
    assert iou(reduced.astype(np.uint8), np.array(small.load()["y"])) > 0.9
    blocks = large.load()["x"].reshape(20, 1, 64, 2, 64, 2).mean((3, 5))
    assert np.abs(blocks - small.load()["x"]).max() <= 1
    assert SIT(samples=10, size=160).load()["x"].shape == (10, 1, 160, 160)
    assert SIT(samples=10, size=36).load()["x"].shape == (10, 1, 36, 36)
    tiny = SIT(samples=300, size=16)
    assert tiny.load()["y"].any((1, 2)).all(), "no mask is empty"


def test_the_cache_is_used(monkeypatch):
    calls = []
    generate = sit._generate
    monkeypatch.setattr(sit, "_generate", lambda *a: calls.append(a) or generate(*a))
    dataset = SIT(samples=20, size=32)
    first = dataset.load()
    second = SIT(samples=20, size=32, reconstruction="l1").load()
    dataset.evaluation_views()["copy"]
    assert len(calls) == 1
    assert all(np.array_equal(first[v], second[v]) for v in first)
    SIT(samples=21, size=32).load()
    assert len(calls) == 2


def test_every_option_is_described():
    assert [o.name for o in options_of(SIT)] == [
        "size", "samples", "textures", "variant", "data_seed", "reconstruction",
    ]  # fmt: skip
    assert SIT.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size=12.*at least 16"),
        ({"size": 30}, "size=30.*divisible by 4"),
        ({"samples": 9}, "samples=9.*at least 10"),
        ({"data_seed": -1}, "data_seed=-1"),
        ({"variant": "old"}, "variant=old.*generated, released"),
        ({"reconstruction": "l2"}, "reconstruction=l2.*mse, l1"),
        ({"variant": "released", "size": 256}, "size=256.*128 px.*variant=generated"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        SIT(**options)


# Textures from files


def write_textures(folder, side=300, names=("D17.gif", "d77.PNG")):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, low in zip(names, (0, 100), strict=True):
        Picture.fromarray(rng.integers(low, low + 100, (side, side)).astype(np.uint8)).save(folder / name)


def refused(match, **options):
    with pytest.raises(UserError, match=match) as caught:
        SIT(samples=10, **options).load()
    return str(caught.value)


def test_no_data_folder(monkeypatch):
    monkeypatch.delenv("LSMBENCH_DATA")
    assert "textures=procedural" in refused("LSMBENCH_DATA is not set", textures="brodatz")
    assert "variant=generated" in refused("LSMBENCH_DATA, which is not set", variant="released")


def test_no_texture_folder(data):
    assert "D17" in refused("no folder .*brodatz", textures="brodatz")
    refused("textures=/nowhere.*no folder /nowhere", textures="/nowhere")


def test_missing_textures(data):
    write_textures(data / "brodatz")
    (data / "brodatz" / "d77.PNG").unlink()
    assert str(data / "brodatz") in refused("missing: D77", textures="brodatz")
    (data / "brodatz" / "D17.gif").unlink()
    refused("missing: D17, D77", textures="brodatz")


@pytest.mark.parametrize("content", [b"", b"no picture", "half"])
@pytest.mark.parametrize("name", ["D17.gif", "d77.PNG"])
def test_unreadable_texture(data, content, name):
    write_textures(data / "brodatz")
    path = data / "brodatz" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    assert "get it again" in refused(f"{name}: cannot read this texture", textures="brodatz")


def test_texture_of_16_bits(data):
    write_textures(data / "brodatz")
    Picture.fromarray(np.zeros((300, 300), np.uint16)).save(data / "brodatz" / "d77.PNG")
    refused("d77.PNG: expected a texture of 8 bits", textures="brodatz")


def test_texture_too_small(data):
    write_textures(data / "brodatz", side=100)
    refused("D17.gif: the texture has 100×100 px, but size=32 needs at least 128×128", textures="brodatz", size=32)
    refused("procedural: the texture has 640×640 px, but size=644 needs", size=644)


# The authors' pairs


@functools.cache
def pairs(count=10):
    arrays = sit._generate([], 128, count, 0)
    return arrays["x"][:, 0], arrays["y"]


def one_hot(y, axis):
    return np.stack([1 - y, y], axis)


LAYOUTS = {
    "single": lambda x, y: [(x[i], y[i]) for i in range(len(x))],
    "single, channels first": lambda x, y: [(x[i][None], one_hot(y[i], 0)) for i in range(len(x))],
    "single, batch axis": lambda x, y: [(x[i][None, None], one_hot(y[i], 0)[None]) for i in range(len(x))],
    "single, channels last, float": lambda x, y: [
        (x[i][..., None] / 255, one_hot(y[i], -1).astype(np.float32)) for i in range(len(x))
    ],
    "stacked": lambda x, y: [(x, y.astype(np.int64))],
    "stacked, channels": lambda x, y: [((x / 255).astype(np.float32)[:, None], one_hot(y, 1))],
    "stacks of two": lambda x, y: [(x[i : i + 2], y[i : i + 2] == 1) for i in range(0, len(x), 2)],
    "stacks of two, one-hot": lambda x, y: [
        (x[i : i + 2, ..., None], one_hot(y[i : i + 2], -1)) for i in range(0, len(x), 2)
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("folder", ["", "sit_released"])
def test_released_files(data, layout, folder):
    x, y = pairs(12)
    (data / folder).mkdir(exist_ok=True)
    for number, (image, mask) in enumerate(LAYOUTS[layout](x, y)):  # 10 and 11 must come after 9
        np.save(data / folder / f"{number}_x_numpy.npy", image)
        np.save(data / folder / f"{number}_y_numpy.npy", mask)
    dataset = SIT(variant="released")
    arrays = dataset.load()
    assert np.array_equal(arrays["x"][:, 0], x)
    assert np.array_equal(arrays["y"], y)
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.uint8)}
    assert not dataset.evaluation_views()


def write_npz(data, **arrays):
    (data / "sit_released").mkdir(exist_ok=True)
    np.savez_compressed(data / "sit_released" / "sit_released.npz", **arrays)


def test_released_npz(data):
    x, y = pairs()
    write_npz(data, x=x, y=y)
    arrays = SIT(variant="released").load()
    assert np.array_equal(arrays["x"][:, 0], x)
    assert np.array_equal(arrays["y"], y)
    small = SIT(variant="released", size=32).load()
    assert np.abs(small["x"] - x.reshape(10, 1, 32, 4, 32, 4).mean((3, 5))).max() <= 1
    assert np.array_equal(small["y"], y[:, 2::4, 2::4])


def test_released_missing(data):
    assert str(data) in refused("pairs are missing.*sit_released.npz.*variant=generated", variant="released")


def write_files(data, count=10):
    x, y = pairs(count)
    for i in range(count):
        np.save(data / f"{i}_x_numpy.npy", x[i])
        np.save(data / f"{i}_y_numpy.npy", y[i])


def test_unmatched_files_are_all_named(data):
    write_files(data)
    for name in ("2_x", "7_y", "9_y"):
        (data / f"{name}_numpy.npy").unlink()
    refused(r"3 have no counterpart: 2_y_numpy.npy, 7_x_numpy.npy, 9_x_numpy.npy\.", variant="released")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("3_y", np.full((128, 128), 255), "3_y_numpy.npy: masks must hold the class indices 0 to 1.*255"),
        ("3_y", np.full((128, 128), 0.5), "3_y_numpy.npy: masks must hold 0 and 1"),
        ("3_y", np.full((128, 128), -1), "3_y_numpy.npy: masks must hold 0 and 1"),
        ("3_y", np.full((128, 128), np.nan), "3_y_numpy.npy: masks must hold 0 and 1"),
        ("3_y", np.ones((2, 128, 128)), "3_y_numpy.npy: expected one-hot"),
        ("3_y", np.ones((3, 128, 128)), r"3_y_numpy.npy: expected 1 mask.*found shape \(3, 128, 128\)"),
        ("3_y", np.ones((64, 64)), r"3_y_numpy.npy: expected 1 mask.*found shape \(64, 64\)"),
        ("3_x", np.ones((64, 64)), r"3_x_numpy.npy: expected one 128×128 image.*found shape \(64, 64\)"),
        ("3_x", np.ones(5), r"3_x_numpy.npy: expected one 128×128 image.*found shape \(5,\)"),
        ("3_x", np.full((128, 128), 3.5), "3_x_numpy.npy: expected float images in .0, 1., found values from 3.5"),
        ("3_x", np.full((128, 128), np.nan), "3_x_numpy.npy: expected float images in"),
        ("3_x", np.full((128, 128), 3), "3_x_numpy.npy: expected images as uint8, or float"),
    ],
)
def test_wrong_contents(data, name, array, message):
    write_files(data)
    np.save(data / f"{name}_numpy.npy", array)
    with np.errstate(invalid="ignore"):
        refused(message, variant="released")


@pytest.mark.parametrize("keep", [0, 5, 3000])
def test_truncated_files(data, keep):
    write_files(data)
    path = data / "4_x_numpy.npy"
    path.write_bytes(path.read_bytes()[:keep])
    assert "get it again" in refused("4_x_numpy.npy: cannot read arrays", variant="released")
    x, y = pairs()
    write_npz(data, x=x, y=y)
    path = data / "sit_released" / "sit_released.npz"
    path.write_bytes(path.read_bytes()[:keep])
    refused("sit_released.npz: cannot read arrays", variant="released")


def test_damaged_inside(data):
    x, y = pairs()
    write_npz(data, x=x, y=y)
    path = data / "sit_released" / "sit_released.npz"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(bytes(content))
    refused("sit_released.npz: cannot read arrays", variant="released")


def test_npz_of_other_contents(data):
    x, y = pairs()
    write_npz(data, images=x, y=y)
    refused("sit_released.npz: expected the arrays x and y, found images, y", variant="released")
    write_npz(data, x=x, y=y[:7])
    refused(r"sit_released.npz, array y: expected 10 mask.*found shape \(7, 128, 128\)", variant="released")
    write_npz(data, x=x, y=y * 255)
    refused("sit_released.npz, array y: masks must hold.*10 of 10", variant="released")


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="LSMBENCH_DATA is not set")
def test_the_authors_pairs(monkeypatch):
    monkeypatch.setenv("LSMBENCH_DATA", REAL_DATA)
    try:
        arrays = SIT(variant="released").load()
    except UserError as error:
        pytest.skip(str(error))
    assert arrays["x"].shape == (500, 1, 128, 128)
    y = torch.from_numpy(np.array(arrays["y"]))
    constant = Mask(2, 128).constant(y[:350])
    score = ForegroundIoU(2).score(constant.expand(100, -1, -1), y[-100:]).mean().item()
    assert score == pytest.approx(0.372, abs=0.005)
    assert arrays["y"].mean() == pytest.approx(0.209, abs=0.001)
    # The rings are drawn like generated ones: of similar thickness, with centres in the same range.
    cx, cy, inner, thickness = rings_of(arrays["y"][inside(arrays["y"])])
    assert cx.min() >= 39.5
    assert cy.min() >= 39.5
    assert (inner.min(), inner.max()) == pytest.approx((9, 29), abs=1)
    assert (thickness.min(), thickness.max()) == pytest.approx((6, 30), abs=1.6)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="LSMBENCH_DATA is not set")
def test_brodatz_textures(monkeypatch):
    monkeypatch.setenv("LSMBENCH_DATA", REAL_DATA)
    try:
        brodatz = SIT(samples=40, textures="brodatz")
        x = brodatz.load()["x"]
    except UserError as error:
        pytest.skip(str(error))
    procedural = SIT(samples=40)
    assert np.array_equal(brodatz.load()["y"], procedural.load()["y"]), "masks do not depend on the textures"
    assert x.mean() == pytest.approx(procedural.load()["x"].mean(), abs=15)
    assert x.std() == pytest.approx(procedural.load()["x"].std(), abs=10)
