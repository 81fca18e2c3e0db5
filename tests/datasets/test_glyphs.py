from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont

from lsmbench.benchmarks import definition
from lsmbench.data.dataset import COPY, pools_of
from lsmbench.datasets import glyphs
from lsmbench.datasets.glyphs import FONTS, Glyphs
from lsmbench.domains import Image, Mask
from lsmbench.errors import UserError
from tests.conftest import fingerprint

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All letters of the benchmark's fonts, 32 px."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSMBENCH_CACHE", str(tmp_path_factory.mktemp("glyphs")))
        (pool,) = Glyphs(fonts="sans,serif_italic").pools()
        views = {view: np.array(stored) for view, stored in pool.views.items()}
    return {"pool": pool, **views}


def codes_of(names: Any) -> list[int]:
    return [int(name.split()[0][2:], 16) for name in names]


def font(word: str) -> TTFont:
    return TTFont(FOLDER / FONTS[word], lazy=True)


@pytest.mark.parametrize("words", [("sans", "serif"), ("sans", "sans_bold"), ("sans", "serif", "mono")])
def test_characters_are_those_that_all_fonts_have(words: tuple[str, ...]) -> None:
    files = [FOLDER / FONTS[word] for word in words]
    shared = set.intersection(*(set(font(word).getBestCmap()) for word in words))
    letters = {code for code in shared if unicodedata.category(chr(code)).startswith("L")}
    assert glyphs._shared(files, "letters").tolist() == sorted(letters)
    others = {code for code in shared if unicodedata.category(chr(code)).startswith("C")}
    assert glyphs._shared(files, "all").tolist() == sorted(shared - others), "no control and private characters"
    assert len(shared) > 2000


def test_contents(whole: dict[str, Any]) -> None:
    count = len(whole["pool"])
    assert count > 1000
    assert (whole["x"].shape, whole["x"].dtype) == ((count, 1, 32, 32), np.uint8)
    assert (whole["y"].shape, whole["y"].dtype) == ((count, 32, 32), np.uint8)
    assert (whole["x"].max((1, 2, 3)) >= 128).all()
    assert whole["y"].any((1, 2)).all(), "no mask is empty"
    assert (whole[COPY] == (whole["x"][:, 0] >= 128)).all()


def test_targets_are_masks_or_grey_images() -> None:
    masks, images = Glyphs(samples=40), Glyphs(samples=40, form="image")
    assert masks.domains == {"x": Image(1, 32), "y": Mask(2, 32)}
    assert images.domains == {"x": Image(1, 32), "y": Image(1, 32)}
    greys = np.asarray(images.load()["y"])
    assert (greys.shape, greys.dtype) == ((40, 1, 32, 32), np.uint8)
    assert len(np.unique(greys)) > 100
    assert ((greys[:, 0] >= 128) == masks.load()["y"]).all()
    assert (images.evaluation_views()[COPY] == images.load()["x"]).all()


def test_three_fonts_give_three_views() -> None:
    dataset = Glyphs(samples=20, fonts="sans, serif_bold ,mono")
    assert dataset.load().keys() == dataset.domains.keys() == {"x", "y", "z"}
    pools_of(dataset).check(dataset.domains)


def test_pairs_are_aligned_exactly(whole: dict[str, Any]) -> None:
    """Letters stand on one baseline at one scale: their heights are those that the fonts' files state."""
    size = 512
    files = [FOLDER / FONTS[word] for word in ("sans", "serif_italic")]
    text = "HETlkhxz"
    for path in files:
        opened = TTFont(path)
        outlines, names, em = opened["glyf"], opened.getBestCmap(), opened["head"].unitsPerEm
        pictures, fits = glyphs._pictures(path, np.array([ord(c) for c in text]), size)
        assert fits.all()
        for c, picture in zip(text, pictures, strict=True):
            rows, columns = (np.flatnonzero((picture >= 128).any(axis)) for axis in (1, 0))
            outline, advance = outlines[names[ord(c)]], opened["hmtx"][names[ord(c)]][0]
            scale = 0.75 * size / em
            assert rows[0] == pytest.approx(0.75 * size - outline.yMax * scale, abs=1.5), c
            assert rows[-1] + 1 == pytest.approx(0.75 * size - outline.yMin * scale, abs=1.5), c
            left = size / 2 - advance * scale / 2
            assert columns[0] == pytest.approx(left + outline.xMin * scale, abs=2.5), c
            assert columns[-1] + 1 == pytest.approx(left + outline.xMax * scale, abs=2.5), c


def test_sizes_show_the_same_letters() -> None:
    large, small = (Glyphs(samples=30, size=size, form="image") for size in (128, 32))
    assert pools_of(large).names(np.arange(30)) == pools_of(small).names(np.arange(30))
    for view, pictures in large.load().items():
        averages = np.asarray(pictures).reshape(30, 1, 32, 4, 32, 4).mean((3, 5))
        assert np.abs(averages - small.load()[view]).max() <= 1


def test_samples_have_names(whole: dict[str, Any]) -> None:
    assert "U+00E9 é" in whole["pool"].names
    assert len(set(whole["pool"].names)) == len(whole["pool"])
    dataset = Glyphs(samples=40)
    assert dataset.inspect().names == list(dataset.pools()[0].names or ())


def test_units_are_not_divided(whole: dict[str, Any]) -> None:
    pool = whole["pool"]
    part = np.full(len(pool), -1)
    for number, rows in enumerate(pool.parts.values()):
        part[rows] = number
    assert (part >= 0).all()
    places = dict(zip(codes_of(pool.names), part.tolist(), strict=True))
    unit = dict(zip(codes_of(pool.names), pool.unit.tolist(), strict=True))
    for base, others in {"e": "éèêëēẽ", "A": "ÀÅΑА", "o": "øóоο", "d": "ďđ"}.items():
        for other in others:
            assert unit[ord(other)] == unit[ord(base)], other
            assert places[ord(other)] == places[ord(base)], other
    assert unit[ord("e")] != unit[ord("o")]
    train, val, test = (set(pool.unit[rows].tolist()) for rows in pool.parts.values())
    assert not (train | val) & test
    assert not train & val
    assert len(test) == pytest.approx(0.2 * len(set(pool.unit.tolist())), abs=2)
    assert 0.1 < len(pool.parts["test"]) / len(pool) < 0.3, "letters with many accents are tested on too"
    for view in ("x", "y"):
        shown = {whole[view][row].tobytes() for row in pool.parts["train"]}
        hidden = {whole[view][row].tobytes() for row in pool.parts["test"]}
        assert len(shown & hidden) <= 0.01 * len(hidden), "alike at 128 px is alike at 32 px; hardly any is only there"


def test_seeds() -> None:
    names = [pools_of(Glyphs(samples=40, data_seed=seed)).names(np.arange(40)) for seed in (0, 1)]
    assert names[0] != names[1]
    (first,), (second,) = Glyphs(samples=200).pools(0), Glyphs(samples=200).pools(3)
    assert not np.array_equal(first.parts["test"], second.parts["test"])
    assert np.array_equal(Glyphs(samples=20).load()["x"], Glyphs(samples=40).load()["x"][:20])


def test_caches_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(Glyphs(samples=40))
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path))
    assert fingerprint(Glyphs(samples=40)) == first


@pytest.mark.thorough
def test_processes_agree(tmp_path: Path) -> None:
    """Python salts the hashes of texts and bytes anew in each process."""
    dataset = Glyphs(samples=40, fonts="serif,mono")
    script = (
        "from lsmbench.datasets.glyphs import Glyphs; from lsmbench.data.dataset import pools_of\n"
        "d = Glyphs(samples=40, fonts='serif,mono'); print(pools_of(d).fingerprint(d.domains))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LSMBENCH_CACHE": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == fingerprint(dataset)


def test_the_cache_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Glyphs(samples=40).load()
    monkeypatch.setattr(glyphs, "_draw", None)
    assert len(Glyphs(samples=30, form="image").load()["x"]) == 30


def test_missing_fonts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(
        UserError, match=r"missing: DejaVuSans\.ttf \(sans\), DejaVuSerif\.ttf \(serif\); found: none\. Install"
    ):
        Glyphs().load()
    folder = tmp_path / "fonts" / "ttf"
    folder.mkdir(parents=True)
    for name in (FONTS["sans"], FONTS["mono"], FONTS["serif"]):
        (folder / name).write_bytes(b"no font")
    with pytest.raises(UserError, match=r"missing: DejaVuSerif-Bold\.ttf.*found: sans, serif, mono.*choose fonts"):
        Glyphs(fonts="sans,serif_bold").load()
    with pytest.raises(UserError, match=r"DejaVuSans\.ttf: cannot read this font"):
        Glyphs().load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fonts": "sans"}, r"fonts=sans; expected two or three different ones"),
        ({"fonts": "sans,sans"}, "two or three different"),
        ({"fonts": "sans,comic"}, r"fonts=sans,comic.*serif_italic"),
        ({"fonts": "sans,serif,mono,sans_bold"}, "two or three"),
        ({"form": "landmarks"}, "mask, image"),
        ({"characters": "digits"}, "letters, all"),
        ({"size": 30}, "divisible by 4"),
        ({"samples": 9}, "at least 10"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Glyphs(**options)


def test_more_samples_than_there_are_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"samples=9999, but there are \d+ with fonts=sans,serif"):
        Glyphs(samples=9999).load()


def test_the_default_benchmark_tests_on_letters_that_nothing_was_chosen_on() -> None:
    default = definition.load("quick")
    assert default.dataset == {"name": "glyphs", "fonts": "sans,serif_italic", "data_seed": 1, "size": 32}
    assert default.methods == definition.load("glyphs").methods
    assert "in a shuffle that nothing was chosen on" in default.description
