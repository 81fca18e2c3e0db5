"""Predictions for files: what `test` computed, at any size; resumed, refused, chosen from results, and from Python."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Picture

import lsmbench
from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.commands import predict, select
from lsmbench.commands.bench import _delete_weights
from lsmbench.data.files import read_pts
from lsmbench.data.inputs import FaceInput, PictureInput, form_of
from lsmbench.data.module import INDEX
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.reports.choice import choose
from lsmbench.runs import predictions as predictions_module
from lsmbench.runs.config import Machine, RunConfig, TrainingConfig
from lsmbench.runs.folder import CHECKPOINTS
from lsmbench.runs.model import LEARNT, MODEL
from lsmbench.runs.predictions import Prediction
from lsmbench.runs.results import read_json, write_json
from lsmbench.runs.run import execute
from lsmbench.runs.translator import Member, Translator
from lsmbench.runs.weights import restored

CPU = Machine("cpu", 1)
ON = ["--accelerator", "cpu", "--threads", "1"]
ROOT = Path(__file__).parents[2]


class Interrupted(BaseException):
    """Not an Exception, so that nothing but the end of the process follows it."""


def trained(method: str, dataset: str, folder: Path, **options: Any) -> Path:
    """The folder of a tiny finished run."""
    files = folder / f"files-{dataset}"
    files.mkdir(parents=True, exist_ok=True)
    config = RunConfig(
        dataset=DATASETS[dataset].example(files),
        method_name=method,
        method=METHODS[method].Config(**{"network": "tiny", "learning_rate": 1e-2, **options}),
        supervision=SupervisionConfig(paired=50),
        training=TrainingConfig(epochs=1, batch_size=6, steps_per_epoch=3),
    )
    return folder / execute(config, folder, CPU).id


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A benchmark's folder: the floor, the baseline and the U-Net, two seeds and two folds; its data is gone."""
    folder = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSMBENCH_CACHE", str(folder / "cache"))
        torch.set_num_threads(1)
        DATASETS["folder"].example(folder / "mine")
        plan = {
            "name": "mine",
            "title": "Mine",
            "dataset": {"name": "folder", "root": str(folder / "mine"), "size": 32},
            "methods": {"floor": {}, "baseline": {}, "unet": {}},
            "method": {"network": "tiny", "learning_rate": 0.01},
            "paired": [100, 50],
            "supervision": {"folds": 2},
            "seeds": [0, 1],
            "training": {"epochs": 1, "batch_size": 6, "steps_per_epoch": 3},
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(plan))
        grid = grids.expand(definition.load(str(folder / "mine.yaml")))
        write_json(folder / "results" / grids.MANIFEST, grid.manifest("lsmbench bench mine.yaml"))
        for run in grid.runs:
            execute(run.config, folder / "results" / "runs", CPU)
        shutil.move(folder / "mine", folder / "gone")
        shutil.rmtree(folder / "cache")
        yield folder / "results"


@pytest.fixture
def one(results: Path) -> Path:
    """A run's folder; of the first of two folds."""
    return choose(results, "baseline", 100, 0).homes[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three grey photos of 50×40, 32×32 and 20×90 px, two of them in a sub-folder."""
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 50)), ("sub/b.png", (32, 32)), ("sub/c.jpg", (90, 20))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    with (output / "predictions.csv").open() as table:
        return {row["name"]: row for row in csv.DictReader(table)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("method", "dataset"),
    [
        ("baseline", "sit"),
        ("baseline", "folder"),
        ("unet", "facades"),
        ("pix2pix", "facades"),
        ("floor", "folder"),
        ("ridge", "folder"),
        ("baseline", "maps"),
    ],
)
def test_a_file_gets_what_the_test_computed_for_the_sample(method: str, dataset: str, tmp_path: Path) -> None:
    home = trained(method, dataset, tmp_path)
    run, _ = restored(home, CPU)
    batch = next(iter(run.data.test_dataloader()))
    source, target = run.method.source, run.method.target
    expected = run.method.eval().predictions(batch, source, target)
    domain, paths = run.data.domains[target], []
    for i, picture in enumerate((batch[source] * 255).round().byte().movedim(1, -1).numpy()):
        paths.append(tmp_path / f"{i:02}.png")
        Picture.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(paths[-1])
    for view, found in zip(expected, lsmbench.load(home, accelerator="cpu").translate_files(paths), strict=True):
        saved = tmp_path / "saved.png"
        found.save(saved)
        if domain.label_count is None:
            assert (np.asarray(Picture.open(saved)) == (view * 255).round().byte().movedim(0, -1).numpy()).all()
        elif dataset == "facades":
            labels = domain.comparable(view[None], batch[target][:1])[0][0]
            assert torch.equal(torch.from_numpy(found.mask).long(), labels.long())
            assert torch.equal(
                domain.to_labels(torch.from_numpy(np.array(Picture.open(saved))).movedim(-1, 0)[None])[0], labels.long()
            )
        else:
            with Picture.open(saved) as opened:
                assert opened.mode == "P"
                assert torch.equal(torch.from_numpy(np.array(opened)).long(), view)
            assert found.shares["class 1"] == pytest.approx(float((view == 1).float().mean()))
            assert (found.confidence is None) == (method in ("floor", "ridge"))
            assert found.disagreement is None


def test_landmarks_come_back_in_the_photos_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = trained("baseline", "300w", tmp_path)
    run, _ = restored(home, CPU)
    batch = next(iter(run.data.test_dataloader()))
    expected = run.method.eval().predictions(batch, "x", "y").numpy()
    names = run.data.dataset.inspect().names
    root = tmp_path / "files-300w"
    paths = [root / names[i] for i in batch["index"].tolist()]
    truths = [read_pts(path.with_suffix(".pts")) for path in paths]
    lines = [",".join(map(str, [path, *t.min(0), *t.max(0)])) for path, t in zip(paths, truths, strict=True)]
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("\n".join(["file,left,top,right,bottom", *lines]))
    output = tmp_path / "out"
    words = [str(home), *map(str, paths), "--output", str(output), "--boxes", str(boxes), *ON]
    assert predict.run(words) == 0
    assert "cut out around" not in capsys.readouterr().out
    for path, view, truth in zip(paths, expected, truths, strict=True):
        (points,) = {p.name: read_pts(p) for p in output.rglob(f"{path.stem}.pts")}.values()
        with Picture.open(path) as photo:
            given = FaceInput(32).read(path, box=(*truth.min(0), *truth.max(0)))
            assert given.size == photo.size
        left, top, side, _ = given.shown
        assert np.abs(points - (view * side + (left, top))).max() < 0.001
    assert "n_points: 68" in next(output.rglob("*.pts")).read_text()
    assert predict.run([str(home), str(paths[0]), "--output", str(tmp_path / "whole"), *ON]) == 0
    assert "cut out around" in capsys.readouterr().out


def test_a_large_photo_gets_a_mask_of_its_size(one: Path, tmp_path: Path) -> None:
    y, x = np.mgrid[:2000, :3000]
    Picture.fromarray(((x + y) % 256).astype(np.uint8)).save(tmp_path / "large.png")
    output = tmp_path / "masks"
    assert predict.run([str(one), str(tmp_path / "large.png"), "--output", str(output), *ON]) == 0
    with Picture.open(output / "large.png") as mask:
        assert (mask.size, mask.mode) == ((3000, 2000), "P")
    shares = [float(v) for k, v in rows_of(output)["large"].items() if k.startswith("share")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert (output / "contact-sheet.png").exists()


def test_logits_are_resized_and_what_is_not_shown_is_class_0(one: Path, tmp_path: Path) -> None:
    member = Member.of(one)
    assert isinstance(member.inputs, PictureInput)
    rng = np.random.default_rng(0)
    Picture.fromarray(rng.integers(0, 256, (64, 128), dtype=np.uint8)).save(tmp_path / "wide.png")
    for fit in ("stretch", "crop", "pad"):
        plain = member.inputs.plain()
        plain["reading"]["fit"] = fit
        form = form_of(plain)
        given = form.read(tmp_path / "wide.png")
        view = member.method.domains["x"].unpack(torch.from_numpy(given.view[None]))
        with torch.no_grad():
            _, logits = member.method.said_of({"x": view}, "x", "y")
        assert logits is not None
        size = {"stretch": (64, 128), "crop": (64, 64), "pad": (128, 128)}[fit]
        labels = torch.nn.functional.interpolate(logits, size, mode="bilinear").argmax(1)[0].numpy()
        expected = np.zeros((64, 128), np.int64)
        if fit == "crop":
            expected[:, 32:96] = labels
        else:
            expected = labels if fit == "stretch" else labels[32:96]
        translator = Translator([Member(one, member.method, form, "folder", "32-true", False, ())], CPU)
        (found,) = translator.translate_files([tmp_path / "wide.png"])
        assert found.mask is not None
        assert (found.mask != expected).mean() < 0.001
        assert found.cut == (fit == "crop")


def test_codes_are_refined_for_each_file_whatever_else_is_in_the_batch(one: Path, photos: Path, tmp_path: Path) -> None:
    home = trained("lsm", "folder", tmp_path / "runs")

    def predicted(name: str, *words: str) -> tuple[list[bytes], list[float]]:
        assert predict.run([str(home), str(photos), "--output", str(tmp_path / name), *words, *ON]) == 0
        rows = rows_of(tmp_path / name).values()
        masks = [(tmp_path / name / row["output"]).read_bytes() for row in rows]
        return masks, [float(row["confidence"]) for row in rows]

    alone = predicted("alone", "--refine_steps", "4", "--batch_size", "1")
    beside = predicted("beside", "--refine_steps", "4", "--batch_size", "3")
    assert beside[0] == alone[0]
    assert beside[1] == pytest.approx(alone[1], abs=1e-5)
    assert read_json(tmp_path / "alone" / predict.NOTE)["refine"] == {"refine_steps": 4}
    assert predicted("plain")[1] != pytest.approx(alone[1], abs=1e-4)
    assert "refine" not in read_json(tmp_path / "plain" / predict.NOTE)
    with pytest.raises(UserError, match=r"by other options .*refine_steps 4; now"):
        predicted("alone")
    with pytest.raises(UserError, match="w_encoder: does nothing without --refine_steps"):
        predict.run([str(home), str(photos), "--output", str(tmp_path / "idle"), "--evaluation.w_encoder", "1", *ON])
    found = lsmbench.load(home, refine={"refine_steps": 4}, accelerator="cpu").translate_files([photos / "a.png"])
    assert (found[0].mask == np.asarray(Picture.open(tmp_path / "alone" / "a.png"))).all()
    with pytest.raises(UserError, match="Baseline has no code"):
        predict.run([str(one), str(photos), "--output", str(tmp_path / "none"), "--refine_steps", "4", *ON])
    assert not (tmp_path / "none").exists()


def test_it_goes_on_where_it_was_killed(
    one: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(name: str) -> list[str]:
        return [str(one), str(photos), "--output", str(tmp_path / name), "--batch_size", "2", *ON]

    assert predict.run(words("whole")) == 0
    save, saved = Prediction.save, []

    def dying(self: Prediction, path: Path) -> None:
        if len(saved) == 2:
            raise Interrupted
        save(self, path)
        saved.append(path)

    monkeypatch.setattr(Prediction, "save", dying)
    with pytest.raises(Interrupted):
        predict.run(words("broken"))
    monkeypatch.setattr(Prediction, "save", save)
    stamps = {path: path.stat().st_mtime_ns for path in saved}
    assert predict.run(words("broken")) == 0
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in saved} == stamps, "finished files are not repeated"
    assert set(rows_of(tmp_path / "whole")) == {"a", "sub/b", "sub/c"}
    assert (tmp_path / "whole" / "sub" / "c.png").exists()
    assert predictions_module.suffix_of(Member.of(one).method.domains["y"]) == ".png"


def test_one_bad_file_does_not_stop_the_others(
    one: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b-broken.png").write_bytes(b"no picture")
    Picture.new("RGB", (20, 20)).save(photos / "colour.png")
    turned = Picture.Exif()
    turned[0x0112] = 6
    Picture.new("L", (20, 20)).save(photos / "turned.jpg", exif=turned)
    words = [str(one), str(photos), "--output", str(tmp_path / "out"), *ON]
    assert predict.run(words) == 1
    told = capsys.readouterr().err
    assert "3 of 6 files failed" in told
    assert "b-broken.png: cannot be read as a picture" in told
    assert "colour.png: has 3 channels, but the run was trained on pictures of 1" in told
    assert "turned.jpg: is stored turned" in told
    assert "--exif apply" in told
    assert set(rows_of(tmp_path / "out")) == {"a", "sub/b", "sub/c"}
    (photos / "b-broken.png").unlink()
    (photos / "colour.png").unlink()
    assert predict.run([*words, "--exif", "apply"]) == 0
    assert set(rows_of(tmp_path / "out")) == {"a", "sub/b", "sub/c", "turned"}
    with pytest.raises(UserError, match="by other options"):
        predict.run([*words, "--exif", "ignore"])


def test_what_would_harm_is_refused(one: Path, results: Path, photos: Path, tmp_path: Path) -> None:
    def wrong(*words: str) -> str:
        with pytest.raises(UserError) as error:
            predict.run([*words, *ON])
        return str(error.value)

    assert "would lie among the inputs" in wrong(str(one), str(photos), "--output", str(photos))
    assert "would lie among the inputs" in wrong(str(one), str(photos), "--output", str(photos / "masks"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("precious")
    assert "is not empty" in wrong(str(one), str(photos), "--output", str(full))
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    assert "cannot be written" in wrong(str(one), str(photos), "--output", str(full / "mine.txt" / "below"))
    assert "no such file or folder" in wrong(str(one), str(tmp_path / "nothing*.png"))
    assert "no such folder" in wrong(str(tmp_path / "nothing"), str(photos))
    assert "chooses nothing there" in wrong(str(one), str(photos), "--seed", "1")
    out = tmp_path / "out"
    assert predict.run([str(one), str(photos / "sub" / "*"), "--output", str(out), *ON]) == 0
    assert set(rows_of(out)) == {"b", "c"}
    other = choose(results, "baseline", 100, 1).homes[0]
    assert "by other weights" in wrong(str(other), str(photos), "--output", str(out))
    elsewhere = tmp_path / "elsewhere" / "b.png"
    elsewhere.parent.mkdir()
    Picture.new("L", (9, 9)).save(elsewhere)
    assert "would replace that of" in wrong(str(one), str(elsewhere), "--output", str(out))
    assert "would be called b" in wrong(str(one), str(elsewhere), str(photos / "sub" / "b.png"))


def test_weights_that_are_gone_or_of_another_version_are_told(one: Path, photos: Path, tmp_path: Path) -> None:
    def wrong(home: Path) -> str:
        with pytest.raises(UserError) as error:
            predict.run([str(home), str(photos), "--output", str(tmp_path / "out"), *ON])
        return str(error.value)

    gone = shutil.copytree(one, tmp_path / "gone")
    shutil.rmtree(gone / CHECKPOINTS)
    assert "the weights are gone" in wrong(gone)
    early = shutil.copytree(one, tmp_path / "early")
    (early / MODEL).unlink()
    assert "trained before lsmbench kept" in wrong(early)
    later = shutil.copytree(one, tmp_path / "later")
    write_json(later / MODEL, {**read_json(later / MODEL), "protocol": "99"})
    assert "version 99 of the protocol" in wrong(later)
    damaged = shutil.copytree(one, tmp_path / "damaged")
    next((damaged / CHECKPOINTS).glob("*/best.ckpt")).write_bytes(b"nothing")
    assert "damaged" in wrong(damaged)
    assert not (tmp_path / "out").exists(), "nothing is half written"


def test_results_choose_the_best_row_and_several_seeds_disagree(
    results: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert predict.run([str(results), str(photos), "--output", str(output), *ON]) == 0
    chosen = choose(results)
    assert chosen.text in " ".join(capsys.readouterr().out.split())
    assert len(chosen.homes) == 4
    assert "seeds 0, 1 (4 runs): iou" in chosen.text
    assert "floor" not in chosen.text
    with Picture.open(output / "disagreement" / "a.png") as drawn:
        assert (drawn.size, drawn.mode) == ((50, 40), "L")
    found = {row["file"]: float(row["disagreement"]) for row in rows_of(output).values()}
    assert all(0 < value <= 0.5 for value in found.values())
    assert select.run(["--by-disagreement", str(output / "predictions.csv"), "-k", "2"]) == 0
    assert capsys.readouterr().out.split() == sorted(found, key=found.__getitem__, reverse=True)[:2]

    assert "baseline, N = 50 %, seed 1" in choose(results, "baseline", 50, 1).text
    assert "floor" in choose(results, "floor").text
    for words, told in (
        ({"method": "lsm"}, "There are: baseline, floor, unet"),
        ({"paired": 3}, "There are: 100, 50"),
        ({"seed": 7}, "There are: 0, 1"),
    ):
        with pytest.raises(UserError, match=told):
            choose(results, **words)
    alone = lsmbench.load(results, method="baseline", seed=0, accelerator="cpu")
    assert len(alone.members) == 2
    assert predict.run([str(alone.members[0].home), str(photos), "--output", str(tmp_path / "alone"), *ON]) == 0
    with pytest.raises(UserError, match="needs several seeds"):
        select.run(["--by-disagreement", str(tmp_path / "alone" / "predictions.csv"), "-k", "2"])


def test_two_seeds_are_one_mean_probability(results: Path, photos: Path) -> None:
    paths = [photos / "sub" / "b.png"]
    both = lsmbench.load(results, method="baseline", paired=100, accelerator="cpu")
    (found,) = both.translate_files(paths)
    view = torch.from_numpy(np.asarray(Picture.open(paths[0]), np.float32) / 255)[None, None]
    logits = [member.method.said_of({"x": view}, "x", "y")[1] for member in both.members]
    each = torch.stack([torch.softmax(one, 1)[0] for one in logits if one is not None])
    mean = each.mean(0)
    assert torch.equal(torch.from_numpy(found.mask).long(), mean.argmax(0))
    assert torch.equal(both.translate(view)[0], mean.argmax(0))
    assert found.confidence == pytest.approx(float(mean.amax(0).mean()), abs=1e-6)
    assert found.disagreement == pytest.approx(float((each - mean).abs().sum(1).mean() / 2), abs=1e-6)


@pytest.mark.parametrize("keep", ["none", "best-row"])
def test_deleted_weights_leave_results_that_are_not_repeated(keep: str, results: Path, tmp_path: Path) -> None:
    own = shutil.copytree(results, tmp_path / "own")
    names = [path.name for path in (own / "runs").iterdir()]
    best = {home.name for home in choose(own).homes}
    _delete_weights(own, names, keep)
    kept = {path.name for path in (own / "runs").iterdir() if any(path.rglob("*.ckpt")) or (path / LEARNT).exists()}
    assert kept == (best if keep == "best-row" else set())
    assert all((own / "runs" / name / "result.json").exists() for name in names)
    if keep == "none":
        with pytest.raises(UserError, match=r"weights of all \d+ runs that fit are gone"):
            choose(own)
    else:
        assert {home.name for home in choose(own).homes} == best


def test_the_ten_lines_of_the_readme_run_as_written(
    results: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "folder-mine").symlink_to(results)
    assert photos == tmp_path / "photos"
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "masks" / "a.png").exists()


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if kind.translate is not Method.translate])
def test_every_methods_logits_decide_as_it_predicts(name: str, tmp_path: Path) -> None:
    dataset = DATASETS["sit"].example(tmp_path)
    config = METHODS[name].Config(network="tiny")
    if not METHODS[name].supports(dataset, config)[0]:
        pytest.skip("not supported")
    method = METHODS[name](dataset.domains, config).eval()
    batch = {"x": torch.rand(3, 1, 32, 32), INDEX: torch.arange(3)}
    decided, logits = method.said_of(batch, "x", "y")
    assert torch.equal(decided, method.predictions(batch, "x", "y"))
    if logits is not None:
        assert torch.equal(logits.argmax(1), decided)
