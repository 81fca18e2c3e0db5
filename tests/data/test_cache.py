import errno
import shutil
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lsmbench.data import cache
from lsmbench.data.cache import cached_arrays
from lsmbench.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    root = tmp_path / "cache"
    monkeypatch.setenv("LSMBENCH_CACHE", str(root))
    return root


class Builder:
    def __init__(self, value=1):
        self.calls = 0
        self.value = value

    def __call__(self):
        self.calls += 1
        x = np.arange(60, dtype=np.uint8).reshape(5, 3, 4) * self.value
        return {"x": x, "y": x.transpose(0, 2, 1), "points": np.linspace(0, 1, 7, dtype=np.float32), "none": x[:0]}


def same(a, b):
    assert a.keys() == b.keys()
    for view in a:
        assert a[view].dtype == b[view].dtype
        assert np.array_equal(a[view], b[view])


def entries(folder):
    return sorted(p for p in folder.iterdir())


def test_built_once_and_equal_bit_for_bit(folder):
    build = Builder()
    first = cached_arrays("d", {"size": 4}, [], build)
    second = cached_arrays("d", {"size": 4}, [], build)
    assert build.calls == 1
    same(first, second)
    same(first, Builder()())
    assert isinstance(second["x"], np.memmap)
    assert len(entries(folder)) == 1, "no scratch folder is left"


def test_writing_to_the_arrays_does_not_reach_the_cache():
    build = Builder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns about read-only memory
        torch.from_numpy(cached_arrays("d", {}, [], build)["x"]).fill_(7)
    same(dict(cached_arrays("d", {}, [], build)), Builder()())


def test_key_name_and_sources_make_new_entries(folder, tmp_path):
    source = tmp_path / "a.png"
    source.write_bytes(b"1")
    build = Builder()
    cached_arrays("d", {"size": 4}, [source], build)
    cached_arrays("d", {"size": 8}, [source], build)
    cached_arrays("e", {"size": 4}, [source], build)
    cached_arrays("d", {"size": 4}, [], build)
    source.write_bytes(b"22")
    cached_arrays("d", {"size": 4}, [source], build)
    assert build.calls == 5
    cached_arrays("d", {"size": 4}, [source], build)
    assert build.calls == 5
    assert len(entries(folder)) == 5


def truncate(entry):
    path = entry / "x.npy"
    path.write_bytes(path.read_bytes()[:-5])


def truncate_header(entry):
    (entry / "x.npy").write_bytes(b"\x93NUM")


def empty(entry):
    (entry / "x.npy").write_bytes(b"")


def other(entry):
    np.save(entry / "x.npy", np.zeros((2, 2)))


def drop(entry):
    (entry / "y.npy").unlink()


def drop_meta(entry):
    (entry / "meta.json").unlink()


def break_meta(entry):
    (entry / "meta.json").write_text("{")


def other_meta(entry):
    (entry / "meta.json").write_text('["arrays"]')


def no_folder(entry):
    shutil.rmtree(entry)
    entry.write_text("a file")


@pytest.mark.parametrize(
    "damage", [truncate, truncate_header, empty, other, drop, drop_meta, break_meta, other_meta, no_folder]
)
def test_a_damaged_entry_is_rebuilt_with_a_warning(folder, damage):
    build = Builder()
    cached_arrays("d", {}, [], build)
    (entry,) = entries(folder)
    damage(entry)
    with pytest.warns(RuntimeWarning, match="damaged cache entry") as caught:
        same(cached_arrays("d", {}, [], build), Builder()())
    assert str(entry) in str(caught[0].message)
    assert build.calls == 2
    cached_arrays("d", {}, [], build)
    assert build.calls == 2
    assert entries(folder) == [entry]


def test_concurrent_builders_agree(folder):
    together = threading.Barrier(4)
    results = []

    def build():
        together.wait()  # all of them find the cache empty, and rename at about the same time
        return Builder()()

    threads = [threading.Thread(target=lambda: results.append(cached_arrays("d", {}, [], build))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        same(result, Builder()())
    assert len(entries(folder)) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, None])
def test_full_disk(folder, monkeypatch, number):
    def full(*args, **kwargs):
        raise OSError(number, "No space left") if number else OSError("60 requested and 12 written")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(UserError, match=r"No space left|60 requested") as caught:
        cached_arrays("d", {}, [], Builder())
    assert str(folder) in str(caught.value)
    assert "LSMBENCH_CACHE" in str(caught.value)
    assert entries(folder) == [], "what was half written is gone"


def test_unwritable_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "file" / "cache"))
    build = Builder()
    with pytest.raises(UserError, match="LSMBENCH_CACHE") as caught:
        cached_arrays("d", {}, [], build)
    assert str(tmp_path / "file" / "cache") in str(caught.value)
    assert build.calls == 0, "known before anything is decoded"


def test_what_build_raises_is_passed_on(folder):
    def build():
        raise UserError("a.png: broken")

    with pytest.raises(UserError, match="broken"):
        cached_arrays("d", {}, [], build)

    def missing():
        raise FileNotFoundError("a.png")

    with pytest.raises(FileNotFoundError):
        cached_arrays("d", {}, [], missing)
    assert entries(folder) == []


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("LSMBENCH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / ".cache" / "lsmbench"
    monkeypatch.setenv("LSMBENCH_CACHE", "~/c")
    assert cache.cache_root() == Path(tmp_path / "c")
