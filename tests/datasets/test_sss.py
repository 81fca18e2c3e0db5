import os
import time

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.datasets import DATASETS, sss
from lsmbench.datasets.sss import SSS
from lsmbench.domains import Image, Mask
from lsmbench.errors import UserError
from lsmbench.metrics import ForegroundIoU
from lsmbench.options import options_of
from tests.conftest import fingerprint


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LSMBENCH_DATA", str(root))
    return root


def test_contents():
    dataset = SSS(samples=12, size=64)
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((12, 1, 64, 64), np.uint8),
        "y": ((12, 64, 64), np.uint8),
    }
    assert dataset.domains == {"x": Image(1, 64), "y": Mask(4, 64)}
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    assert all(set(np.unique(mask)) == {0, 1, 2, 3} for mask in arrays["y"]), "every slice shows every class"


def test_defaults_are_the_papers():
    assert (SSS().size, SSS().samples, SSS().variant) == (128, 527, "generated")
    split = SSS().split(527, None)
    assert (len(split.train), len(split.val), len(split.test)) == (368, 52, 107)


def test_a_larger_set_begins_with_the_smaller_one():
    small, large = SSS(samples=10, size=32).load(), SSS(samples=30, size=32).load()
    for view in ("x", "y"):
        assert np.array_equal(small[view], large[view][:10])


def test_determinism_and_seeds(monkeypatch, tmp_path):
    sets = [SSS(samples=10, size=32, data_seed=seed) for seed in range(3)]
    assert len({fingerprint(s) for s in sets}) == 3
    first = sets[0].load()
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "other"))
    again = SSS(samples=10, size=32).load()
    assert all(np.array_equal(first[view], again[view]) for view in first)
    assert len({mask.tobytes() for mask in again["y"]}) == 10


def test_sizes_show_the_same_bodies():
    large, small = (SSS(samples=10, size=size).load()["y"] for size in (128, 32))
    coarse = np.array(large).reshape(10, 32, 4, 32, 4)
    for label in (1, 2, 3):
        share = (coarse == label).mean((2, 4))
        agreed = ((share > 0.5) == (small == label)).mean()
        assert agreed > 0.93
        assert (share > 0).any((1, 2)).all()


def test_it_looks_like_ct():
    arrays = SSS(samples=60, size=64).load()
    x, y = arrays["x"][:, 0].astype(float), arrays["y"]
    for image, mask in zip(x, y, strict=True):
        subcutaneous, visceral, muscle = (image[mask == label].mean() for label in (1, 2, 3))
        assert muscle > subcutaneous + 20
        assert muscle > visceral + 20
    rows, columns = np.indices((64, 64))
    outer = np.hypot(columns - 31.5, rows - 31.5)
    assert outer[(y == 1).any(0)].max() > outer[(y == 2).any(0)].max(), "one fat lies around the other"
    shares = [(y == label).mean((1, 2)) for label in (1, 2, 3)]
    assert all(0.08 < share.mean() < 0.16 for share in shares)
    assert all(share.std() / share.mean() > 0.15 for share in shares), "patients differ"
    assert x[:, :2].mean() < 20, "air above"


def test_intensity_alone_does_not_tell_the_classes():
    """Both fats have one density, and organs that of muscle: a pixel's class depends on its position."""
    arrays = SSS(samples=40, size=64).load()
    x, y = arrays["x"][:, 0], np.array(arrays["y"])
    table = np.stack([np.bincount(x[y == label], minlength=256) for label in range(4)])
    guess = table.argmax(0)[x]
    assert ForegroundIoU(4).score(torch.from_numpy(guess), torch.from_numpy(y)).mean() < 0.42


def test_the_floor():
    dataset = SSS(size=32, samples=150)
    y = torch.from_numpy(np.array(dataset.load()["y"]))
    split = dataset.split(len(y), None)
    constant = Mask(4, 32).constant(y[split.train]).expand(len(split.test), -1, -1)
    assert ForegroundIoU(4).score(constant, y[split.test]).mean().item() == pytest.approx(0.41, abs=0.03)


def test_the_cache_is_used(monkeypatch):
    SSS(samples=11, size=32).load()
    monkeypatch.setattr(sss, "_generate", None)
    assert len(SSS(samples=11, size=32, reconstruction="l1").load()["x"]) == 11


def test_generation_is_fast():
    begun = time.process_time()
    sss._generate(128, 20, 0)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size=12.*at least 16"),
        ({"size": 30}, "size=30.*divisible by 4"),
        ({"samples": 9}, "samples=9.*at least 10"),
        ({"data_seed": -1}, "data_seed=-1"),
        ({"variant": "real"}, "variant=real.*generated, folder"),
        ({"reconstruction": "l2"}, "reconstruction=l2.*mse, l1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        SSS(**options)


def test_it_is_listed_and_says_what_it_is():
    assert DATASETS["sss"] is SSS
    assert "stand-in" in SSS.__doc__.splitlines()[0]
    assert all(o.help for o in options_of(SSS))


# One's own copy


def own(data, count=12, top=3):
    for name in ("images", "masks"):
        (data / "sss" / name).mkdir(parents=True, exist_ok=True)
    generated = SSS(samples=max(count, 10), size=64).load()
    for i in range(count):
        Picture.fromarray(np.array(generated["x"][i, 0])).save(data / "sss" / "images" / f"{i}.png")
        Picture.fromarray(np.minimum(generated["y"][i], top)).save(data / "sss" / "masks" / f"{i}.png")
    return generated


def test_ones_own_copy(data):
    generated = own(data)
    dataset = SSS(variant="folder", size=64)
    arrays = dataset.load()
    order = sorted(range(12), key=str)
    assert np.array_equal(arrays["x"], generated["x"][order])
    assert np.array_equal(arrays["y"], generated["y"][order])
    split = dataset.split(12, None)
    assert (len(split.train), len(split.val), len(split.test)) == (8, 1, 3)
    assert dataset.inspect().counts == {"train": 8, "val": 1, "test": 3}
    assert SSS(variant="folder", size=32).load()["x"].shape == (12, 1, 32, 32)


def test_four_classes_even_if_one_never_occurs(data):
    own(data, top=2)
    dataset = SSS(variant="folder", size=64)
    assert dataset.domains["y"] == Mask(4, 64)
    assert set(np.unique(dataset.load()["y"])) == {0, 1, 2}


def test_without_a_copy(data, monkeypatch):
    dataset = SSS(variant="folder")
    patterns = (str(data / "sss" / "images"), "private", "Lanic", "Rouen", "LSMBENCH_DATA/sss/masks", "generated")
    with pytest.raises(UserError) as caught:
        dataset.load()
    assert all(pattern in str(caught.value) for pattern in patterns)
    assert dataset.inspect().findings.problems == [str(caught.value)]
    monkeypatch.delenv("LSMBENCH_DATA")
    with pytest.raises(UserError, match=r"LSMBENCH_DATA, the folder of your datasets, is not set.*variant=generated"):
        dataset.load()


def test_a_broken_copy(data):
    own(data)
    os.truncate(data / "sss" / "images" / "3.png", 100)
    Picture.fromarray(np.full((64, 64), 4, np.uint8)).save(data / "sss" / "masks" / "5.png")
    with pytest.raises(
        UserError, match=r"(?s)dataset sss.*2 problems.*3\.png: cannot be read.*5\.png: holds the labels 4"
    ):
        SSS(variant="folder").load()
