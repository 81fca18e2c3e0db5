"""Digits: their files, which labels are shown, and the judge."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lsmbench.data.cache import cache_root
from lsmbench.data.dataset import COPY, pools_of
from lsmbench.data.digit_files import read_idx, read_mnist, read_usps
from lsmbench.data.module import DataModule
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets.digits import LABEL, TRUTH, Digits
from lsmbench.domains import Category, Image, JudgedImage, from_plain, plain
from lsmbench.domains.judges import trained
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine
from lsmbench.runs.run import execute
from tests.conftest import Make

CPU = Machine(accelerator="cpu", threads=1)
Array = np.ndarray


def idx(values: Array) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    # Tests are named by the bytes, which therefore hold no time of day.
    return gzip.compress(head + values.astype(np.uint8).tobytes(), mtime=0)


def usps_lines(images: Array, labels: Array) -> str:
    greys = images.reshape(len(images), -1) / 127.5 - 1
    return "".join(
        f"{label:.4f} " + " ".join(f"{g:.4f}" for g in row) + " \n" for label, row in zip(labels, greys, strict=True)
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Both sets in small, as they are distributed: 60 images to train on and 20 to test on."""
    rng = np.random.default_rng(0)
    for name in ("mnist", "usps"):
        (tmp_path / name).mkdir()
    for part, word, count in (("train", "train", 60), ("test", "t10k", 20)):
        labels = np.arange(count) % 10
        (tmp_path / f"mnist/{word}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
        (tmp_path / f"mnist/{word}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        text = usps_lines(rng.integers(0, 256, (count, 16, 16)), labels)
        (tmp_path / f"usps/zip.{part}.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_files_are_read_to_the_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (7, 28, 28)), np.arange(7)
    (tmp_path / "i").write_bytes(gzip.decompress(idx(images)))  # not gzipped
    (tmp_path / "l").write_bytes(idx(labels))
    found, classes = read_mnist(tmp_path / "i", tmp_path / "l")
    assert np.array_equal(found, images)
    assert np.array_equal(classes, labels)
    images = rng.integers(0, 256, (7, 16, 16))
    (tmp_path / "u").write_text("\n" + usps_lines(images, labels))
    found, classes = read_usps(tmp_path / "u")
    assert np.array_equal(found, images)
    assert np.array_equal(classes, labels)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x1f\x8b nonsense", "damaged gzip"),
        (idx(np.zeros((3, 28, 28)))[:-20], "damaged gzip"),
        (gzip.decompress(idx(np.zeros((3, 28, 28))))[:-5], r"shape \(3, 28, 28\), 2368 bytes in all, and has 2363"),
        (b"\x89PNG....", "begins with 0 0 8"),
    ],
)
def test_a_damaged_idx_file_is_named(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=rf"file: .*{told}"):
        read_idx(tmp_path / "file")


def test_images_and_labels_have_to_belong_together(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(idx(np.zeros((3, 28, 28))))
    (tmp_path / "l").write_bytes(idx(np.zeros(2)))
    with pytest.raises(UserError, match=r"l: expected a label for each of the 3 images of i, found .*\(2,\)"):
        read_mnist(tmp_path / "i", tmp_path / "l")
    (tmp_path / "l").write_bytes(idx(np.array([1, 10, 2])))
    with pytest.raises(UserError, match="labels 0 to 9, found 10 at image 1"):
        read_mnist(tmp_path / "i", tmp_path / "l")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1 " + "0 " * 255, "line 2: expected a label and 256 greys, found 256 values"),
        ("10 " + "0 " * 256, "line 2: expected a label from 0 to 9, found 10"),
        ("1 " + "x " * 256, "line 2: expected numbers only"),
        ("1 " + "2 " * 256, "line 2: expected greys from -1 to 1"),
    ],
)
def test_a_line_of_usps_that_is_wrong_is_named(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "zip.train").write_text(f"3 {'0 ' * 256}\n{line}\n")
    with pytest.raises(UserError, match=told):
        read_usps(tmp_path / "zip.train")


def test_missing_files_and_digits_are_named(files: Path) -> None:
    assert len(pools_of(Digits(root=str(files), val=5))) == 140
    (files / "usps" / "zip.test.gz").unlink()
    with pytest.raises(UserError, match=r"missing: \S*zip\.test\.gz\. .*hastie.*download true"):
        pools_of(Digits(root=str(files), val=5))
    (files / "usps" / "zip.test.gz").write_text(usps_lines(np.zeros((5, 16, 16)), np.arange(5)))
    with pytest.raises(UserError, match=r"no image of 5, 6, 7, 8, 9 among the 5 of part test of usps"):
        pools_of(Digits(root=str(files), val=5))


def test_what_is_missing_is_fetched_if_asked(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets  # type: ignore[import-untyped]

    known = {part: read_usps(files / f"usps/zip.{part}.gz") for part in ("train", "test")}
    for part in known:
        (files / f"usps/zip.{part}.gz").unlink()

    class Fetched:
        """As torchvision gives USPS."""

        def __init__(self, root: str, train: bool, download: bool) -> None:
            self.data, self.targets = known["train" if train else "test"]

    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, download: None)
    monkeypatch.setattr(torchvision.datasets, "USPS", Fetched)
    assert len(pools_of(Digits(root=str(files), val=5, download=True, judge_updates=1))) == 140
    for part, (images, labels) in known.items():
        again = read_usps(files / f"usps/zip.{part}.gz")
        assert np.array_equal(again[0], images)
        assert np.array_equal(again[1], labels)

    def offline(root: str, download: bool) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    (files / "usps/zip.test.gz").unlink()
    with pytest.raises(UserError, match=r"cannot be fetched into .*no route to host"):
        pools_of(Digits(root=str(files), val=5, download=True))


@pytest.mark.parametrize("direction", ["x_to_y", "y_to_x"])
def test_labels_are_shown_beside_the_target_alone(direction: str, files: Path) -> None:
    dataset = Digits(root=str(files), val=5, direction=direction, judge_updates=1)
    source, target = dataset.source, dataset.target
    assert (source, target) == tuple(direction.split("_to_"))
    domains = dataset.domains
    assert type(domains[source]) is Image
    assert isinstance(domains[target], JudgedImage)
    assert isinstance(domains[LABEL], Category)
    data = DataModule(dataset, SupervisionConfig(paired=0), batch_size=10)
    pools = data.pools
    assert pools.train_by_views().keys() == {(source,), (target,)}
    assert data.supervision.counts() == {"pairs": 0, source: 55, target: 60}
    assert len(data.test_sets["test"]) == 20
    assert (data.scored(data.test_sets["test"]) == data.test_sets["test"]).all()
    test = pools.take(TRUTH, data.test_sets["test"])
    assert np.array_equal(test, np.arange(20) % 10)
    assert not pools.has(LABEL, data.test_sets["test"]).any()
    assert pools.take(COPY, data.test_sets["test"]).shape == (20, 1, *domains[target].shape[1:])

    class Asks:
        """A learner that asks for labels."""

        views = tuple(sorted((source, target, LABEL)))
        uses = ((source,), tuple(sorted((target, LABEL))), (target,))
        turns = None
        balanced = None

    assert data.groups().keys() == {(source,), (target,)}, "who does not ask is not told"
    data.learner = Asks()  # type: ignore[assignment]
    batch = next(iter(data.train_dataloader()))
    assert batch.keys() == {(source,), tuple(sorted((target, LABEL)))}
    assert batch[tuple(sorted((target, LABEL)))][LABEL].dtype == torch.int64
    numbers = data.groups()[tuple(sorted((target, LABEL)))]
    assert np.array_equal(pools.take(LABEL, numbers), np.arange(60) % 10)


@dataclasses.dataclass
class Mislabelled(Digits):
    """All labels of the source are wrong."""

    def evaluation_views(self):
        views = super().evaluation_views()
        return {**views, TRUTH: (np.asarray(views[TRUTH]) + 1) % 10}


def test_wrong_labels_on_the_source_side_change_nothing_that_is_trained(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("lsmbench.datasets", fromlist=["DATASETS"]).DATASETS, "digits", Digits)
    config = make("lstnet", "digits", training={"selection": "last"})
    right = execute(config, tmp_path / "right", CPU)
    options = dataclasses.asdict(config.dataset)
    config.dataset = Mislabelled(**options)
    wrong = execute(config, tmp_path / "wrong", CPU)
    assert wrong.id == right.id
    weights = [
        torch.load(next((tmp_path / place / right.id).rglob("last.ckpt")), weights_only=True)["state_dict"]
        for place in ("right", "wrong")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert wrong.judge == right.judge
    assert wrong.scores[0].values != right.scores[0].values


def test_a_choice_by_the_sources_labels_is_called_an_oracle(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scored by labels that no method may know. Choose last, or .* oracle"):
        make("lstnet", "digits", training={"selection": "best_validation"})
    with pytest.raises(UserError, match=r"training.selection=oracle: sit hides no labels"):
        make("lsm", "sit", training={"selection": "oracle"})
    result = execute(make("deepjdot", training={"selection": "oracle"}), tmp_path, CPU)
    assert result.selection["rule"] == "oracle"
    chosen = result.selection["stages"][-1]
    rows = list(csv.DictReader((tmp_path / result.id / "log.csv").open()))
    values = [float(row["val/x->y/accuracy"]) for row in rows if row["stage"] == "adapt"]
    assert chosen["value"] == max(values)


def test_the_judge_is_the_same_in_any_arithmetic_of_the_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = []
    for precision in ("64-true", "32-true"):
        monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / precision / "cache"))
        config = make("cogan", training={"precision": precision})
        assert execute(config, tmp_path / precision, CPU).scores
        kept = sorted((tmp_path / precision / "cache").glob("judge-*/*.npy"))
        judges.append({path.name: path.read_bytes() for path in kept})
    assert judges[0]
    assert judges[0] == judges[1]


def test_the_judge_is_trained_once_and_tested_on_real_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Digits(files="sklearn", direction="y_to_x", judge_updates=60)
    judge = dataset.domains["x"]
    assert isinstance(judge, JudgedImage)
    told = judge.judged()
    assert told["kind"] == "classifier"
    assert told["metric"] == "accuracy"
    assert told["samples"] == 179
    assert told["value"] > 0.8
    arrays = dataset._sets()
    images = torch.from_numpy(arrays["x_test"])[:, None].float() / 255
    said, truth = judge.comparable(images, torch.from_numpy(arrays["x_test_class"]))
    assert (said == truth).float().mean().item() == pytest.approx(told["value"])
    assert torch.equal(judge.comparable(said, truth)[0], said), "a method may tell the class itself"
    assert "judge-usps" in " ".join(path.name for path in cache_root().iterdir())

    monkeypatch.setattr("lsmbench.datasets.digits.trained", None)  # not called again
    again = Digits(files="sklearn", direction="y_to_x", judge_updates=60).domains["x"]
    assert again == judge
    assert again.judged() == told
    assert Digits(files="sklearn", judge_updates=60).domains["y"] != judge
    kept = from_plain(plain(judge))
    assert kept == judge
    with pytest.raises(UserError, match="not kept with a run"):
        kept.judged()


def test_a_damaged_judge_is_trained_anew_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path))
    first = Digits(files="sklearn", samples=40, judge_updates=3).domains["y"].judged()
    entries = [path for path in cache_root().glob("judge-mnist-*") if path.is_dir()]
    for entry in entries:
        weights = entry / "head.3.bias.npy"
        os.truncate(weights, 3)
    with pytest.warns(RuntimeWarning, match="damaged cache entry"):
        assert Digits(files="sklearn", samples=40, judge_updates=3).domains["y"].judged() == first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Digits(files="sklearn", samples=40, judge_updates=3).domains["y"].judged() == first


def test_the_judges_training_is_seeded_and_leaves_the_random_state() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 1, 16, 16)).astype(np.uint8), np.arange(30) % 10
    state = torch.random.get_rng_state()
    first, second = (trained(images, labels, images, labels, 3, 10) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_floors_of_digits(make: Make, tmp_path: Path) -> None:
    copied = execute(make("floor", "digits", kind="copy"), tmp_path, CPU)
    constant = execute(make("floor", "digits"), tmp_path, CPU)
    assert [score.metric for score in copied.scores] == ["accuracy"]
    assert len(set(constant.scores[0].values)) == 2, "one digit is told for all"
    assert copied.judge["value"] == constant.judge["value"]


@pytest.mark.parametrize("method", ["baseline", "ridge", "pix2pix"])
def test_what_learns_from_pairs_alone_does_not_fit(method: str, make: Make) -> None:
    config = make("floor", "digits")
    fits, reason = METHODS[method].fits(config.dataset, METHODS[method].Config())
    assert not fits
    assert "digits has none" in reason


@pytest.mark.real_data
def test_the_official_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ.get("LSMBENCH_DATA", ""))
    if not (folder / "usps").is_dir():
        pytest.skip("no USPS in LSMBENCH_DATA")
    counts = {
        direction: {pool.name: {part: len(rows) for part, rows in pool.parts.items()} for pool in pools.pools}
        for direction in ("x_to_y", "y_to_x")
        for pools in [pools_of(Digits(direction=direction, val=0, judge_updates=1))]
    }
    assert counts["x_to_y"] == {"usps": {"train": 7291, "test": 2007}, "mnist": {"train": 60000}}
    assert counts["y_to_x"] == {"mnist": {"train": 60000, "test": 10000}, "usps": {"train": 7291}}
