"""Ridge regression: the closed form itself, what it learns from, and what it keeps."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference
from torch import Tensor

from lsmbench.closed_form import STRENGTHS, principal_components
from lsmbench.closed_form import Path as Solutions
from lsmbench.data import encoders
from lsmbench.data.dataset import Arrays, Dataset
from lsmbench.data.module import DataModule
from lsmbench.data.pools import Pools
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.domains import Category, Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.ridge import Ridge, RidgeConfig
from lsmbench.networks.efficientnet_lite import EfficientNetLite0
from lsmbench.runs.config import Machine
from lsmbench.runs.run import data_of, execute
from tests.conftest import Make

CPU = Machine(accelerator="cpu", threads=1)
SIZE = 16


@dataclasses.dataclass
class Planted(Dataset):
    """Photos that are linear in five hidden numbers, and targets that are so too, with noise."""

    name = "planted"
    kind: str = "landmarks"
    noise: float = 0.0
    samples: int = 120

    @property
    def domains(self) -> dict[str, Domain]:
        target: dict[str, Domain] = {
            "landmarks": Landmarks(40, None),
            "category": Category(("low", "high")),
            "mask": Mask(2, SIZE),
            "image": Image(1, SIZE),
        }
        return {"x": Image(1, SIZE), "y": target[self.kind]}

    @classmethod
    def example(cls, folder: Path) -> Planted:
        return cls()

    def load(self) -> Arrays:
        rng = np.random.default_rng(3)
        hidden = rng.uniform(-1, 1, (self.samples, 5))
        x = 0.5 + 0.08 * (hidden @ rng.uniform(-1, 1, (5, SIZE * SIZE)))
        y = 0.5 + 0.08 * (hidden @ rng.uniform(-1, 1, (5, 80))) + self.noise * rng.standard_normal((self.samples, 80))
        photos = x.reshape(-1, 1, SIZE, SIZE).astype(np.float32)
        if self.kind == "landmarks":
            return {"x": photos, "y": y.clip(0, 1).reshape(-1, 40, 2).astype(np.float32)}
        if self.kind == "category":
            return {"x": photos, "y": (hidden[:, 0] > 0).astype(np.int64)}
        noisy = rng.uniform(0, 1, photos.shape).astype(np.float32)
        if self.kind == "mask":
            return {"x": noisy, "y": (noisy[:, 0] > 0.5).astype(np.uint8)}
        return {"x": noisy, "y": 1 - noisy}


def learnt(dataset: Dataset, paired: float = 50, val_pairs: int | None = None, seed: int = 0, **options: Any) -> Any:
    config = SupervisionConfig(paired=paired, val_pairs=val_pairs, supervision_seed=seed)
    data = DataModule(dataset, config)
    method = Ridge(dataset.domains, RidgeConfig(**options))
    method.learn(data)
    return method, data


def score_of(method: Ridge, data: DataModule) -> float:
    (batch,) = data.test_dataloader()
    metric = method.domains["y"].metrics()[0]
    metric.update(*method.domains["y"].comparable(method.predictions(batch, "x", "y"), batch["y"]), batch["index"])
    return float(metric.compute())


@pytest.mark.parametrize(("rows", "columns"), [(30, 7), (7, 30), (12, 12)], ids=["primal", "kernel", "square"])
def test_weights_are_those_of_an_independent_implementation(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, columns)), rng.standard_normal((rows, 3))
    path = Solutions.of_rows(torch.from_numpy(a), torch.from_numpy(b))
    assert path.unit == pytest.approx((a**2).sum() / min(rows, columns))
    for strength in (1e-3, 1.0, 50.0):
        expected = Reference(alpha=strength * path.unit, fit_intercept=False, solver="svd").fit(a, b).coef_.T
        np.testing.assert_allclose(path.at(strength).numpy(), expected, atol=1e-8)
        augmented = np.vstack([a, np.sqrt(strength * path.unit) * np.eye(columns)])
        again = np.linalg.lstsq(augmented, np.vstack([b, np.zeros((columns, 3))]), rcond=None)[0]
        np.testing.assert_allclose(path.at(strength).numpy(), again, atol=1e-8)


@pytest.mark.parametrize(("rows", "columns"), [(30, 7), (7, 30)])
def test_components_are_those_of_a_singular_value_decomposition(rows: int, columns: int) -> None:
    a = np.random.default_rng(0).standard_normal((rows, columns))
    a -= a.mean(0)
    found = principal_components(torch.from_numpy(a), 4).numpy()
    expected = np.linalg.svd(a, full_matrices=False)[2][:4]
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-9)
    assert len(principal_components(torch.from_numpy(a), 99)) == min(rows - (rows < columns), columns)


def test_of_pairs_alone_a_run_is_a_plain_ridge_regression_with_an_intercept() -> None:
    method, data = learnt(Planted(noise=0.02), y_only="none")
    pairs = data.supervision.pairs
    x, y = data.compact("x", pairs).flatten(1).double().numpy(), data.compact("y", pairs).flatten(1).double().numpy()
    (batch,) = data.test_dataloader()
    given, (val,) = batch["x"].flatten(1).double().numpy(), data.val_dataloader()
    unit = ((x - x.mean(0)) ** 2).sum() / min(x.shape)
    metric, candidates = method.domains["y"].metrics()[0], []
    for strength in STRENGTHS:
        model = Reference(alpha=strength * unit, solver="svd").fit(x, y)
        guess = torch.from_numpy(model.predict(val["x"].flatten(1).double().numpy())).reshape(-1, 40, 2)
        candidates.append((float(metric.score(guess.clamp(0, 1), val["y"]).mean()), strength))
    best = min(candidates)[1]
    expected = Reference(alpha=best * unit, solver="svd").fit(x, y).predict(given).reshape(-1, 40, 2).clip(0, 1)
    np.testing.assert_allclose(method.predict(batch, "x", "y").numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("val_pairs", [None, 0], ids=["validation", "folds of the pairs"])
def test_more_noise_asks_for_more_strength(val_pairs: int | None) -> None:
    exact, noisy = (learnt(Planted(noise=n), val_pairs=val_pairs)[0].learnt["strength"] for n in (0.0, 0.2))
    assert exact < 1e-3
    assert noisy > 100 * exact


def test_y_only_samples_help_where_targets_have_few_dimensions() -> None:
    dataset = Planted(noise=0.02)
    with_them, without = (
        np.mean([score_of(*learnt(dataset, paired=15, seed=seed, y_only=word)) for seed in range(3)])
        for word in ("pca", "none")
    )
    assert with_them < 0.9 * without


@pytest.mark.parametrize("val_pairs", [None, 0], ids=["validation", "folds of the pairs"])
@pytest.mark.parametrize("kind", ["landmarks", "category", "mask", "image"])
def test_targets_of_every_form_are_predicted(kind: str, val_pairs: int | None) -> None:
    method, data = learnt(Planted(kind), val_pairs=val_pairs)
    (batch,) = data.test_dataloader()
    predicted = method.predict(batch, "x", "y")
    assert predicted.shape == batch["y"].shape
    assert predicted.dtype == batch["y"].dtype
    constant = method.domains["y"].constant(data.compact("y", data.train)).expand_as(batch["y"])
    metric = method.domains["y"].metrics()[0]
    floor = float(metric.score(constant, batch["y"]).nanmean())
    gain = (score_of(method, data) - floor) * (1 if metric.higher_is_better else -1)
    assert gain > 0, "no better than a constant"
    assert ("offset" in method.learnt) == (kind in ("mask", "image")), "a pixel says all of itself: local is better"


@pytest.mark.parametrize("paired", [50, 100 / 42])
def test_one_pair_is_enough_and_none_is_refused(paired: float) -> None:
    for val_pairs in (None, 0):
        method, data = learnt(Planted("mask"), paired=paired, val_pairs=val_pairs)
        assert np.isfinite(score_of(method, data))
    with pytest.raises(UserError, match="method ridge learns from pairs, and no training sample shows both x and y"):
        learnt(Planted(), paired=0)


@pytest.mark.parametrize("kind", ["landmarks", "image"])
@pytest.mark.parametrize("y_only", ["pca", "none"])
def test_nan_planted_in_hidden_views_changes_nothing(kind: str, y_only: str) -> None:
    found = []
    for poison in (False, True):
        dataset = Planted(kind)
        data = DataModule(dataset, SupervisionConfig(paired=20))
        (pool,) = data.pools.pools
        arrays = {view: np.array(stored) for view, stored in pool.views.items()}
        for view in arrays:
            used = [numbers for views, numbers in data.supervision.groups.items() if view in views]
            used = [data.supervision.pairs] if y_only == "none" else used
            hidden = np.setdiff1d(data.train, np.concatenate(used))
            assert len(hidden)
            if poison:
                arrays[view][hidden] = np.nan
                arrays[view][data.test_sets["test"]] = np.nan
        data.pools = Pools([dataclasses.replace(pool, views=arrays)])
        method = Ridge(dataset.domains, RidgeConfig(y_only=y_only))
        method.learn(data)
        found.append(method.learnt)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("kind", ["landmarks", "mask"])
def test_what_is_learnt_is_all_that_a_prediction_needs(kind: str, tmp_path: Path) -> None:
    method, data = learnt(Planted(kind))
    torch.save(method.learnt, tmp_path / "learnt.pt")
    again = Ridge(method.domains, RidgeConfig())
    again.learnt = torch.load(tmp_path / "learnt.pt", weights_only=True)
    (batch,) = data.test_dataloader()
    assert torch.equal(again.predict(batch, "x", "y"), method.predict(batch, "x", "y"))


def test_pairs_depend_on_the_seed_and_the_rest_on_nothing() -> None:
    first, again, other = (learnt(Planted(noise=0.02), paired=20, seed=seed)[0].learnt for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weights"], other["weights"])


# Features -------------------------------------------------------------------------------------------------------------


def test_features_of_a_file_are_looked_up_by_the_samples_numbers(tmp_path: Path) -> None:
    dataset = Planted()
    rows = np.random.default_rng(0).standard_normal((120, 256))
    rows[:] = dataset.load()["x"].reshape(120, -1)
    np.save(tmp_path / "own.npy", rows)
    own, data = learnt(dataset, features=str(tmp_path / "own.npy"))
    pixels, _ = learnt(dataset)
    assert score_of(own, data) == pytest.approx(score_of(pixels, data), abs=1e-5)
    (batch,) = data.test_dataloader()
    with pytest.raises(UserError, match=r"own\.npy, and there are none of new files\. Train it with features=pixels"):
        own.predict(batch, "x", "y")
    np.save(tmp_path / "own.npy", rows[:7])
    with pytest.raises(UserError, match="a row of numbers for each of the 120 samples"):
        learnt(dataset, features=str(tmp_path / "own.npy"))
    assert not Ridge.supports(dataset, RidgeConfig(features="own.npy", form="local"))[0]


def test_unknown_features_and_forms_that_do_not_apply_are_refused() -> None:
    with pytest.raises(UserError, match=r"method\.features=pixel: expected pixels, efficientnet_lite0, resnet18"):
        RidgeConfig(features="pixel")
    assert Ridge.supports(Planted(), RidgeConfig(form="local")) == (
        False, "of form local translates maps to maps; use form=whole"
    )  # fmt: skip


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the encoder's weights, with random ones."""
    torch.manual_seed(0)
    weights = {**EfficientNetLite0().state_dict(), "_fc.weight": torch.zeros(1)}
    torch.save(weights, tmp_path / "lite.pth")
    package: Any = ModuleType(encoders._PACKAGE)
    package.EfficientnetLite0ModelFile = type("File", (), {"get_model_file_path": lambda: str(tmp_path / "lite.pth")})
    monkeypatch.setitem(sys.modules, encoders._PACKAGE, package)
    monkeypatch.setattr(encoders, "missing", lambda word: "")
    encoders.encoder.cache_clear()
    yield tmp_path / "lite.pth"
    encoders.encoder.cache_clear()


@pytest.mark.usefixtures("lite")
@pytest.mark.parametrize("kind", ["landmarks", "mask"])
def test_an_encoder_is_frozen_kept_and_named_in_the_result(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, data = learnt(Planted(kind, samples=40), features="efficientnet_lite0", form="auto")
    assert "learnt from ImageNet" in method.saw
    assert not list(method.parameters()), "the encoder is no part of what is trained or saved"
    (batch,) = data.test_dataloader()
    first = method.predict(batch, "x", "y")
    assert torch.equal(first, method.predict(batch, "x", "y"))
    if kind == "landmarks":
        monkeypatch.setattr(encoders, "encode", lambda *_: pytest.fail("computed again"))
        again = Ridge(method.domains, method.config)
        again.learn(data)
        assert torch.equal(again.learnt["weights"], method.learnt["weights"])


def test_an_encoder_has_maps_of_four_scales_and_halves_odd_sides_as_tensorflow_does() -> None:
    network = EfficientNetLite0().eval()
    shapes = [tuple(maps.shape[1:]) for maps in network(torch.zeros(1, 3, 65, 64))]
    assert shapes == [(16, 33, 32), (24, 17, 16), (40, 9, 8), (112, 5, 4)]


def test_a_damaged_file_of_weights_is_named(lite: Path) -> None:
    lite.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"lite\.pth cannot be read as its weights"):
        encoders.encode("efficientnet_lite0", torch.zeros(1, 3, 16, 16))


def test_an_encoder_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    supported, reason = Ridge.supports(Planted(), RidgeConfig(features="efficientnet_lite0"))
    assert not supported
    assert "pip install 'lsmbench[encoder]'" in reason


def test_encoders_need_photos(make: Make) -> None:
    class Backwards(Planted):
        source = "y"  # type: ignore[assignment]

    for kind in ("landmarks", "mask"):
        supported, reason = Ridge.supports(Backwards(kind), RidgeConfig(features="resnet18"))
        assert not supported
        assert f"needs photos, and y is {Planted(kind).domains['y'].kind}" in reason


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["sit", "faces"])
def test_a_run_is_scored_as_its_method_predicts(dataset: str, make: Make, tmp_path: Path) -> None:
    config = make("ridge", dataset)
    result = execute(config, tmp_path, CPU)
    assert result.cost["updates"] == 0
    data = data_of(config)
    method = METHODS["ridge"](data.domains, config.method)
    method.learn(data)
    (batch,) = data.test_dataloader()
    predicted: Tensor = method.predict(batch, "x", "y")
    scores = method.domains["y"].metrics()[0].score(predicted, batch["y"])
    np.testing.assert_allclose(result.scores[0].values, scores.numpy(), atol=1e-6)


def test_a_rare_foreground_is_predicted_as_much_as_its_score_asks_for() -> None:
    """Of a foreground that no pixel shows with more than one half, the greatest value alone would predict nothing."""

    class Rare(Planted):
        def load(self) -> Arrays:
            rng = np.random.default_rng(0)
            x = rng.uniform(0, 1, (120, 1, SIZE, SIZE)).astype(np.float32)
            return {"x": x, "y": ((x[:, 0] > 0.7) & (rng.uniform(size=(120, SIZE, SIZE)) < 0.45)).astype(np.uint8)}

    method, data = learnt(Rare("mask"))
    assert method.learnt["lift"] > 0
    assert score_of(method, data) > 0.3
