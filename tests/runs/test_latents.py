"""What a run keeps for pictures: latents before and after training, translations back, and classes as words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.module import Views
from lsmbench.methods import METHODS
from lsmbench.methods.floor import Floor
from lsmbench.methods.latent import LatentMethod
from lsmbench.runs import latents
from lsmbench.runs.latents import save_latents
from lsmbench.runs.results import LATENTS, PANEL
from lsmbench.runs.run import data_of, execute, method_of
from tests.conftest import Make
from tests.runs.test_run import CPU, Interrupted, comparable, interrupt_after


class Says(Floor):
    """Tells a class, the last digit of the pixels' sum, in place of an image."""

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        return views[source].flatten(1).sum(1).long() % 10


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


def test_a_run_keeps_latents_and_translations_back_and_trains_the_same_without(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make("lstnet", "digits", training={"steps_per_epoch": 1})
    whole = execute(config, tmp_path / "whole", CPU)
    with pytest.raises(Interrupted):
        execute(config, tmp_path / "broken", CPU, interrupt_after(2))
    execute(config, tmp_path / "broken", CPU)
    monkeypatch.setattr(latents, "save_latents", lambda *given: None)
    bare = execute(config, tmp_path / "bare", CPU)
    assert comparable(bare) == comparable(whole)
    folders = [tmp_path / name / whole.id for name in ("whole", "broken", "bare")]
    last = [torch.load(home / "checkpoints" / "0-train" / "last.ckpt", weights_only=True) for home in folders]
    for name, weights in last[0]["state_dict"].items():
        assert all(torch.equal(weights, other["state_dict"][name]) for other in last[1:]), name
    assert (folders[0] / LATENTS).read_bytes() == (folders[1] / LATENTS).read_bytes()
    assert not (folders[2] / LATENTS).exists()

    kept = arrays(folders[0] / LATENTS)
    data = data_of(config)
    sources, targets = data.pools.part("test"), data.train[data.pools.has("y", data.train)]
    assert kept["domains"].tolist() == ["x", "y"]
    assert kept["labels"].tolist() == list("0123456789")
    assert kept["domain"].tolist() == [0] * len(sources) + [1] * len(targets)
    classes = np.concatenate([data.pools.take("digit", sources), data.pools.take("label", targets)])
    assert kept["label"].tolist() == classes.tolist()
    assert kept["before"].shape == kept["after"].shape == (len(classes), 2)
    assert not np.allclose(kept["before"], kept["after"])
    assert (folders[0] / LATENTS).stat().st_size < 30_000

    panel = arrays(folders[0] / PANEL)
    assert panel["back"].shape == panel["source"].shape
    assert panel["prediction"].shape[1:] == (28, 28, 3)


def test_classes_that_a_method_tells_are_drawn_as_words_and_counted(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "says", Says)
    config = make("says", "digits")
    result = execute(config, tmp_path, CPU)
    panel = arrays(tmp_path / result.id / PANEL)
    assert panel["prediction"].shape == (len(panel["index"]), 128, 128, 3)
    assert "back" not in panel
    assert not (tmp_path / result.id / LATENTS).exists()
    data = data_of(config)
    numbers = data.pools.part("test")
    said = data.domains["x"].unpack(data.compact("x", numbers)).flatten(1).sum(1).long() % 10
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (data.pools.take("digit", numbers), said.numpy()), 1)
    assert result.primary.confusion == counts.tolist()
    assert result.primary.classes == list("0123456789")
    assert result.primary.value == pytest.approx(counts.trace() / counts.sum())


@pytest.mark.parametrize("name", ["lsm", "baseline", "unit"])
def test_pairs_without_classes_have_latents_of_two_domains(name: str, make: Make, tmp_path: Path) -> None:
    config = make(name)
    method, data = method_of(config), data_of(config)
    state = torch.random.get_rng_state()
    save_latents(method, lambda: method_of(config), data, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    if name == "baseline":  # its target has no encoder
        assert not (tmp_path / LATENTS).exists()
        return
    kept = arrays(tmp_path / LATENTS)
    count = len(data.test_sets["test"])
    assert kept["domain"].tolist() == [0] * count + [1] * count
    assert set(kept["label"].tolist()) == {-1}
    assert not len(kept["labels"])
    np.testing.assert_array_equal(kept["before"], kept["after"])  # of untrained weights both


def test_what_cannot_be_drawn_is_not_kept(make: Make, tmp_path: Path) -> None:
    config = make("lsm")
    method, data = method_of(config), data_of(config)
    assert isinstance(method, LatentMethod)
    for parameter in method.translator.encoders.parameters():
        parameter.data.fill_(float("nan"))
    save_latents(method, lambda: method_of(config), data, tmp_path)
    assert not list(tmp_path.glob("*.npz"))
    same = latents._in_the_plane(np.ones((20, 5), np.float32))
    assert not same.any()
    assert latents._in_the_plane(np.arange(12, dtype=np.float32)[:, None]).shape == (12, 2)
