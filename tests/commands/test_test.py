"""`lsmbench test`: a finished run evaluated again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lsmbench.commands import test as command
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.evaluations import EvaluationConfig, Refine, RefineConfig
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine
from lsmbench.runs.results import REFINEMENT, Result
from lsmbench.runs.run import execute
from lsmbench.runs.weights import evaluate, restored
from tests.conftest import Make
from tests.toys import Triples

CPU = Machine("cpu", 1)


@pytest.fixture
def finished(make: Make, tmp_path: Path) -> Path:
    """The folder of a run whose last weights are not the selected ones."""
    config = make("baseline", training={"epochs": 4, "steps_per_epoch": 3}, learning_rate=0.05)
    result = execute(config, tmp_path / "runs", CPU)
    folder = tmp_path / "runs" / result.id
    place = folder / "checkpoints" / "0-train"
    best, last = (torch.load(place / f"{word}.ckpt", weights_only=True)["state_dict"] for word in ("best", "last"))
    assert any(not torch.equal(value, last[key]) for key, value in best.items())
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "evaluations" not in path.parts
    }


def test_the_default_evaluation_gives_the_scores_of_the_run_and_leaves_it_as_it_is(finished: Path) -> None:
    before, own = content(finished), Result.load(finished)
    result, folder = evaluate(finished, "predict", EvaluationConfig(), CPU)
    assert [score.values for score in result.scores] == [score.values for score in own.scores]
    assert content(finished) == before
    assert Result.load(folder).scores == result.scores
    assert folder.parent == finished / "evaluations"
    assert (result.id, result.config["method"]) == (folder.name, own.config["method"])


@pytest.mark.parametrize("name", [name for name in METHODS if name != "floor"])
def test_every_method_can_be_tested_again(name: str, make: Make, tmp_path: Path) -> None:
    config = make(name, "sit")
    if not METHODS[name].fits(config.dataset, config.method)[0]:
        pytest.skip("not supported")
    own = execute(config, tmp_path, CPU)
    result, _ = evaluate(tmp_path / own.id, "predict", EvaluationConfig(), CPU)
    assert [score.values for score in result.scores] == [score.values for score in own.scores]


def test_other_options_make_a_result_of_their_own(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(finished), "--machine.accelerator", "cpu", "--machine.threads", "1"]
    assert command.run([*words, "--evaluation.weights", "last"]) == 0
    shown = capsys.readouterr().out
    (path,) = (line for line in shown.splitlines() if line.endswith("result.json"))
    last, own = Result.load(Path(path).parent), Result.load(finished)
    assert last.config["evaluation"] == {"name": "predict", "weights": "last", "test_sets": "all", "seed": None}
    assert last.primary.values != own.primary.values
    assert last.validation is None, "it would be that of other weights"
    stamp = Path(path).stat().st_mtime_ns
    assert command.run([*words, "--evaluation.weights=last"]) == 0
    assert Path(path).stat().st_mtime_ns == stamp, "a finished result is found, not made again"
    assert command.run(words) == 0
    assert len(list((finished / "evaluations").iterdir())) == 2


def test_a_run_is_tested_again_with_the_threads_that_are_asked_for(finished: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            evaluate(finished, "predict", EvaluationConfig(seed=threads), Machine("cpu", threads))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_seed_of_random_predictions_is_an_option(make: Make, tmp_path: Path) -> None:
    config = make("pix2pix", "maps", test_time_dropout=True, generator="unet")
    config.dataset.size = 64  # the least at which the U-Net has dropout
    own = execute(config, tmp_path, CPU)
    same, other = (
        evaluate(tmp_path / own.id, "predict", EvaluationConfig(seed=seed), CPU)[0].scores for seed in (None, 7)
    )
    assert [score.values for score in same] == [score.values for score in own.scores]
    assert [score.values for score in other] != [score.values for score in own.scores]


@pytest.fixture
def refinable(make: Make, tmp_path: Path) -> Path:
    """The folder of a finished run of a method that has a code."""
    config = make("lsm", training={"epochs": 1})
    return tmp_path / "runs" / execute(config, tmp_path / "runs", CPU).id


def test_numbers_of_steps_are_tested_side_by_side(refinable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(refinable), "--refine_steps", "0,3", "--machine.accelerator", "cpu", "--machine.threads", "1"]
    before, own = content(refinable), Result.load(refinable)
    assert command.run(words) == 0
    shown = capsys.readouterr().out
    assert [word for word in ("test set", "0 steps", "3 steps") if word not in shown] == []
    assert content(refinable) == before
    none, three = (evaluate(refinable, "refine", RefineConfig(refine_steps=n), CPU) for n in (0, 3))
    asked = [score for score in own.scores if (score.source, score.target) == ("x", "y")]
    assert [score.values for score in none[0].scores] == [score.values for score in asked]
    assert three[0].primary.values != own.primary.values
    assert {str(none[1] / "result.json"), str(three[1] / "result.json")} <= set(shown.splitlines())
    stamps = {path: path.stat().st_mtime_ns for path in refinable.rglob("*.*")}
    assert command.run(words) == 0
    assert {path: path.stat().st_mtime_ns for path in refinable.rglob("*.*")} == stamps, "computed again"
    assert not (none[1] / REFINEMENT).exists()


def test_what_is_kept_of_a_refinement_is_what_was_scored_and_changes_nothing(refinable: Path) -> None:
    told: list[tuple[int, int]] = []
    config = RefineConfig(refine_steps=3)
    result, folder = evaluate(refinable, "refine", config, CPU, lambda *at: told.append(at))
    run, own = restored(refinable, CPU)
    (plain, *_) = Refine(config)(run.method, run.data, run.trainer())
    assert plain.values == result.primary.values
    with np.load(folder / REFINEMENT) as kept:
        assert kept["steps"].tolist() == [0, 3]
        assert kept["score"][0, 0] == pytest.approx(own.primary.value, abs=1e-6)
        assert kept["loss"].shape == (1, 4)
        assert kept["loss"][0, 0] == kept["loss"][0, 1], "the first step has rate 0"
        assert kept["loss"][0, 3] < kept["loss"][0, 0]
        values = dict(zip(own.primary.indices, own.primary.values, strict=True))
        assert kept["scores"][0].tolist() == pytest.approx([values[number] for number in kept["index"]])
        assert kept["reconstruction"].shape == (2, *kept["source"].shape)
        assert kept["prediction"].shape == (2, *kept["target"].shape)
        assert not np.array_equal(*kept["reconstruction"])
    samples = len(own.primary.indices)
    assert (told[-1], {total for _, total in told}) == ((3 * samples, 3 * samples), {3 * samples})
    assert told == sorted(told)


def test_a_refinement_is_kept_for_each_test_set(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "triples", Triples)
    own = execute(make("sop", "triples", training={"epochs": 1}), tmp_path / "runs", CPU)
    config = RefineConfig(refine_steps=2)
    result, folder = evaluate(tmp_path / "runs" / own.id, "refine", config, CPU)
    first = {score.test_set: score for score in reversed(result.scores)}
    with np.load(folder / REFINEMENT) as kept:
        assert kept["sets"].tolist() == ["test", "elsewhere"]
        scores = {score.test_set: score.value for score in reversed(own.scores)}
        assert kept["score"][:, 0].tolist() == pytest.approx([scores["test"], scores["elsewhere"]])
        assert kept["of"].tolist() == [0, 0, 0, 1, 1, 1]
        for number, of in zip(kept["index"], kept["of"], strict=True):
            assert number in first[kept["sets"][of]].indices
        assert len(kept["name"]) == 6


def test_what_cannot_be_refined_is_told(finished: Path) -> None:
    for words, why in (
        (["--refine_steps", "5"], "Baseline has no code"),
        (["--refine_steps", "5,many"], "--refine_steps: expected numbers"),
        (["--refine_steps", "-5"], "expected numbers from 0"),
        (["--refine_steps=,"], "expected numbers from 0"),
        (["--refine_steps", "5", "--evaluation.name", "predict"], r"leave out --evaluation\.name predict"),
        (["--refine_steps", "5", "--evaluation.refine_steps=5"], r"leave out --evaluation\.refine_steps"),
    ):
        with pytest.raises(UserError, match=why):
            command.run([str(finished), *words])
    assert not (finished / "evaluations").exists()


def test_a_floor_is_tested_again_without_weights(make: Make, tmp_path: Path) -> None:
    own = execute(make("floor"), tmp_path, CPU)
    result, _ = evaluate(tmp_path / own.id, "predict", EvaluationConfig(), CPU)
    assert result.primary.values == own.primary.values


def test_what_cannot_be_tested_is_told(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no test set elsewhere; it has: test"):
        evaluate(finished, "predict", EvaluationConfig(test_sets="elsewhere"), CPU)
    with pytest.raises(UserError, match="not the folder of a finished run"):
        restored(tmp_path)
    with pytest.raises(UserError, match=r"unknown evaluation 'predcit'; did you mean predict\?"):
        command.run([str(finished), "--evaluation.name", "predcit"])
    with pytest.raises(UserError, match=r"unknown option --evaluation\.wieghts"):
        command.run([str(finished), "--evaluation.wieghts", "last"])
    result = Result.load(finished)
    for changes, why in (
        ({"protocol": "0"}, "version 0 of the protocol"),
        ({"dataset": {**result.dataset, "fingerprint": "0" * 16}}, "has changed since the run was trained"),
    ):
        other = Result.load(finished)
        for key, value in changes.items():
            setattr(other, key, value)
        other.save(tmp_path / "changed")
        with pytest.raises(UserError, match=why):
            restored(tmp_path / "changed")
    shutil.rmtree(finished / "checkpoints")
    with pytest.raises(UserError, match=r"best\.ckpt: no such file; the weights are gone"):
        restored(finished)
