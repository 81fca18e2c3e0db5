"""Livers: the owners' layouts, what is done with slices and masks, mistakes in files, Dice per patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

import lsmbench
from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.benchmarks.plan import Manifest, Unit, refined
from lsmbench.data.dataset import pools_of
from lsmbench.data.inputs import form_of
from lsmbench.data.module import INDEX, UNIT, DataModule
from lsmbench.data.pools import Pools
from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.data.volumes import grey
from lsmbench.datasets import liver
from lsmbench.datasets.liver import Liver, write_slice
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.methods import METHODS
from lsmbench.reports.frame import read, samples
from lsmbench.reports.pictures import load_panel
from lsmbench.runs.config import Machine, RunConfig, TrainingConfig
from lsmbench.runs.results import Result
from lsmbench.runs.run import execute
from tests.conftest import fingerprint
from tests.ranks import executed

SIDE = 16
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


def hounsfield(number: int, slices: int = 3) -> NDArray[np.int16]:
    """Slices of noise, (slices, H, W), of their own for each number; some numbers lie outside of what is kept."""
    return np.random.default_rng(number).integers(-1100, 900, (slices, SIDE, SIDE)).astype(np.int16)


def labels(number: int, slices: int = 3) -> NDArray[np.uint8]:
    """The liver in all slices but the first, with a tumour in the last."""
    found = np.zeros((slices, SIDE, SIDE), np.uint8)
    found[1:, 3:9, 2 : 5 + number % 6] = 1
    found[-1, 4:6, 3] = 2
    return found


def save(path: Path, slices: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(slices.transpose(2, 1, 0), affine), path)
    return path


def lits(root: Path, count: int = 6, folder: str = "lits", ending: str = "") -> Path:
    """Volumes of LiTS with masks."""
    for i in range(count):
        save(root / folder / f"volume-{i}.nii{ending}", hounsfield(i))
        save(root / folder / f"segmentation-{i}.nii{ending}", labels(i))
    return root / folder


def chaos(root: Path, patients: int = 2, count: int = 4, home: str = "chaos/MR") -> Path:
    """Patients of CHAOS, whose files' names and numbers lead to the feet: file k is slice count - 1 - k."""
    for patient in range(1, patients + 1):
        place = root / home / str(patient) / "T1DUAL"
        (place / "Ground").mkdir(parents=True)
        for p, phase in enumerate(("OutPhase", "InPhase")):
            (place / "DICOM_anon" / phase).mkdir(parents=True)
            for k in range(count):
                pixels = signal(patient, p, count)[count - 1 - k]
                name = f"IMG-0001-{2 * k + p + 1:05}.dcm"
                write_slice(place / "DICOM_anon" / phase / name, pixels, 2 * k + p + 1, 5.0 * (count - 1 - k))
        for k in range(count):
            Picture.fromarray(ground(patient, count)[count - 1 - k]).save(place / "Ground" / f"mask{k + 8}.png")
    return root / home


def signal(patient: int, phase: int, count: int = 4) -> NDArray[np.uint16]:
    return np.random.default_rng((patient, phase)).integers(0, 900, (count, SIDE, SIDE)).astype(np.uint16)


def ground(patient: int, count: int = 4) -> NDArray[np.uint8]:
    """Levels of liver, kidneys and spleen."""
    found = np.zeros((count, SIDE, SIDE), np.uint8)
    for k in range(1, count):
        found[k, 2 : 4 + k, 3 : 6 + patient] = 55 + 5 * k
        found[k, 12:14, 2:5], found[k, 12:14, 8:11], found[k, 6:9, 12:15] = 126, 189, 252
    return found


def made(root: Path, **options: Any) -> Liver:
    return Liver(**{"root": str(root), "size": SIDE, **options})


def rows(dataset: Liver, pool: str) -> tuple[list[str], NDArray[Any], NDArray[Any] | None, list[str]]:
    """Names, slices, masks and patients of a pool."""
    found = next(p for p in dataset.pools() if p.name == pool)
    masks = np.asarray(found.views["y"]) if "y" in found.views else None
    return list(found.names or []), np.asarray(found.views["x"]), masks, np.asarray(found.unit).tolist()


# Layouts


@pytest.mark.parametrize(("folder", "ending"), [("lits", ""), ("LITS/Training Batch 1", ""), ("lits/a/b", ".gz")])
def test_lits_is_clipped_and_every_slice_takes_its_own_range(folder: str, ending: str, tmp_path: Path) -> None:
    lits(tmp_path, 11, folder, ending)
    names, x, y, units = rows(made(tmp_path), "lits")
    assert y is not None
    assert units == [f"lits {i}" for i in range(11) for _ in range(3)], "in the order of their numbers"
    assert names[:4] == ["lits 0, slice 1", "lits 0, slice 2", "lits 0, slice 3", "lits 1, slice 1"]
    for i in range(11):
        for k in range(3):
            clipped = hounsfield(i)[k].clip(-200, 400).astype(float)
            assert np.abs(x[3 * i + k, 0] - (clipped + 200) / 600 * 255).max() <= 0.51
        assert np.array_equal(y[3 * i : 3 * i + 3], labels(i) == 1), "tumours are background"
    whole = rows(made(tmp_path, tumour="liver"), "lits")[2]
    assert np.array_equal(whole[:3], labels(0) > 0)


def test_a_slice_is_taken_between_its_least_and_its_greatest_number(tmp_path: Path) -> None:
    lits(tmp_path)
    faint = np.zeros((3, SIDE, SIDE), np.int16)
    faint[1] = np.arange(SIDE) * 2 - 10
    save(tmp_path / "lits/volume-2.nii", faint)
    x = rows(made(tmp_path), "lits")[1][6:9, 0]
    assert not x[0].any()
    assert not x[2].any()
    assert np.abs(x[1] - np.arange(SIDE) / 15 * 255).max() <= 0.51


def test_chaos_is_two_test_sets_of_the_same_patients(tmp_path: Path) -> None:
    lits(tmp_path)
    chaos(tmp_path, home="CHAOS_Train_Sets/Train_Sets/MR")
    dataset = made(tmp_path)
    pools = pools_of(dataset)
    assert pools.test_sets == ("test", "t1_in", "t1_out")
    assert [len(pools.part(part)) for part in ("train", "val", "test", "t1_in", "t1_out")] == [12, 3, 3, 8, 8]
    for name, phase, word in (("t1_out", 0, "out"), ("t1_in", 1, "in")):
        _, x, y, units = rows(dataset, name)
        assert units == [f"chaos {patient} {word} phase" for patient in (1, 2) for _ in range(4)]
        for patient in (1, 2):
            at = slice(4 * patient - 4, 4 * patient)
            low, high = np.percentile(signal(patient, phase), (0.1, 99.9))
            clipped = signal(patient, phase).clip(low, high).astype(np.float32)
            assert np.array_equal(x[at], [grey(one, SIDE) for one in clipped]), "from the feet to the head"
            assert np.array_equal(y[at], (ground(patient) >= 55) & (ground(patient) <= 70))
    # Masks of the same names as the slices belong to these, whatever InstanceNumber says.
    place = tmp_path / "CHAOS_Train_Sets/Train_Sets/MR/1/T1DUAL"
    for k in range(4):
        (place / f"Ground/mask{k + 8}.png").rename(place / f"Ground/IMG-0001-{2 * k + 2:05}.png")
        path = place / f"DICOM_anon/InPhase/IMG-0001-{2 * k + 2:05}.dcm"
        header = pydicom.dcmread(path)
        header.InstanceNumber = 9 - k
        header.save_as(path)
    assert np.array_equal(rows(dataset, "t1_in")[2][:4], (ground(1) >= 55) & (ground(1) <= 70))


def test_patients_are_split_as_table_3(tmp_path: Path) -> None:
    split = made(Path()).split(131, None)
    assert (len(split.train), len(split.val), len(split.test)) == (104, 14, 13)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(131))
    assert not np.array_equal(split.test, made(Path()).split(131, 1).test)
    assert [len(part) for part in vars(made(Path()).split(3, None)).values()] == [1, 1, 1]
    with pytest.raises(UserError, match="2 volumes with masks are too few to split; give at least 3"):
        made(Path()).split(2, None)
    lits(tmp_path, 9)
    pools = pools_of(made(tmp_path), 5)
    owners = [set(pools.units(pools.part(part)) or []) for part in ("train", "val", "test")]
    assert [len(units) for units in owners] == [7, 1, 1]
    assert len(set.union(*owners)) == 9


def test_volumes_without_masks_are_trained_on_alone(tmp_path: Path) -> None:
    folder = lits(tmp_path, 7)
    (folder / "segmentation-3.nii").unlink()
    for i in range(3):
        save(folder / "test" / f"test-volume-{i}.nii", hounsfield(50 + i, 2))
    assert rows(made(tmp_path), "lits-unlabelled")[3] == ["lits 3"] * 3
    dataset = made(tmp_path, unlabelled=None)
    pools = pools_of(dataset)
    alone = np.arange(*pools.ranges["lits-unlabelled"])
    assert pools.units(alone) == ["lits 3"] * 3 + [f"lits test {i}" for i in range(3) for _ in range(2)]
    assert np.array_equal(
        pools.take("x", alone)[3], grey(hounsfield(50, 2)[0].clip(-200, 400).astype(np.float32), SIDE)
    )
    shown = supervise(pools, SupervisionConfig(paired_count=2, by="unit", protocol="x_only"))
    assert shown.counts() == {"pairs": 6, "x": 2 * 3 + 9, "y": 0}
    assert len(set(rows(made(tmp_path, unlabelled=2), "lits-unlabelled")[3])) == 3
    inspection = dataset.inspect()
    assert inspection.counts == {"train": 4 * 3 + 9, "val": 3, "test": 3}
    assert any("1 of 7 volumes have no mask" in note for note in inspection.findings.notes)
    assert any("3 test-volume-*.nii are not read" in note for note in made(tmp_path).inspect().findings.notes)
    with pytest.raises(UserError, match=r"unlabelled=4, but 3 test-volume-\*\.nii are there"):
        made(tmp_path, unlabelled=4).pools()
    shutil.rmtree(folder / "test")
    with pytest.raises(UserError, match=r"unlabelled=null, but no test-volume-\*\.nii"):
        dataset.pools()


def test_every_so_many_slices_are_taken(tmp_path: Path) -> None:
    lits(tmp_path)
    chaos(tmp_path, 1)
    whole, some = made(tmp_path), made(tmp_path, every=2)
    for pool, first in (("lits", [0, 2]), ("t1_in", [0, 2])):
        names, x, y, _ = rows(some, pool)
        _, all_x, all_y, _ = rows(whole, pool)
        assert names[1].endswith(", slice 3")
        assert np.array_equal(x[:2], all_x[first])
        assert np.array_equal(y[:2], all_y[first])


def test_flips_of_a_file_change_nothing(tmp_path: Path) -> None:
    lits(tmp_path)
    before = fingerprint(made(tmp_path))
    for i in range(6):
        for name in ("volume", "segmentation"):
            path = tmp_path / f"lits/{name}-{i}.nii"
            image = nibabel.load(path)
            # Volume and mask may even be stored in different orders.
            turned = np.array([[1, 1], [0, -1], [2, -1]]) if name == "volume" else np.array([[0, -1], [1, 1], [2, 1]])
            other = image.as_reoriented(turned)
            nibabel.save(nibabel.Nifti1Image(np.array(other.dataobj), other.affine), path)
    assert fingerprint(made(tmp_path)) == before


# Mistakes


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    folder = lits(tmp_path, 12)
    place = chaos(tmp_path, 3)
    save(folder / "segmentation-0.nii", labels(0)[:, :-1])
    save(folder / "segmentation-1.nii", labels(1), AFFINE + np.array([[0, 0, 0, 3.0]] + [[0] * 4] * 3))
    save(folder / "segmentation-2.nii", labels(2) * 3)
    save(folder / "segmentation-3.nii", labels(3) * 0)
    save(folder / "volume-4.nii", np.full((3, SIDE, SIDE), np.nan, np.float32))
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3, 2), np.int16), AFFINE), folder / "volume-5.nii")
    whole = (folder / "volume-6.nii").read_bytes()
    (folder / "volume-6.nii").write_bytes(whole[:-99])
    save(folder / "segmentation-77.nii", labels(7))
    save(folder / "again/volume-8.nii", hounsfield(8))
    Picture.fromarray(ground(1)[:, :, :-1][0]).save(place / "1/T1DUAL/Ground/mask8.png")
    Picture.fromarray(ground(2)[1] * 0 + 90).save(place / "2/T1DUAL/Ground/mask9.png")
    (place / "3/T1DUAL/DICOM_anon/InPhase/IMG-0001-00004.dcm").unlink()
    dataset = made(tmp_path)
    inspection = dataset.inspect()
    expected = {
        "segmentation-0.nii": "has 3 slices of 16×15 px, but its volume volume-0.nii 3 slices of 16×16 px",
        "segmentation-1.nii": "its affine places voxels up to 3 mm beside",
        "segmentation-2.nii": "holds the labels 0, 3, 6; expected 0, 1 (liver) and 2 (tumour)",
        "volume-4.nii": "768 of 768 voxels are no finite numbers",
        "volume-5.nii": "has shape 8×8×3×2; expected one volume of three axes",
        "volume-6.nii": "cannot be read as a volume",
        "segmentation-77.nii": "there is no volume-77.nii for this mask",
        "volume-8.nii": "volume 8 is there twice",
        "1/T1DUAL/Ground/mask8.png": "is a picture of 15×16 px, L; expected a grey one of its slice's 16×16 px",
        "2/T1DUAL/Ground/mask9.png": "holds the grey levels 90; expected those of CHAOS",
        "3/T1DUAL": "DICOM_anon/InPhase has 3 slices, but Ground 4 masks",
    }
    problems = inspection.findings.problems
    for name, why in expected.items():
        assert any(f"{name}: " in problem and why in problem for problem in problems), (name, problems)
    assert len(problems) == len(expected), "both phases have the same masks, which are named once"
    assert "lits: 1 masks show no liver at all: lits 3." in inspection.findings.notes
    with pytest.raises(UserError) as caught:
        dataset.load()
    assert set(problems) <= {line.removeprefix("- ") for line in str(caught.value).splitlines()}
    left = {name.partition(",")[0] for name in inspection.names if name.startswith("lits")}
    assert left == {f"lits {i}" for i in (3, 7, 8, 9, 10, 11)}


def test_the_same_patient_twice_is_refused_and_named(tmp_path: Path) -> None:
    folder = lits(tmp_path)
    shutil.copy(folder / "volume-2.nii", folder / "test-volume-9.nii")
    image = nibabel.load(folder / "volume-1.nii")
    nibabel.save(nibabel.Nifti1Image(np.array(image.dataobj), image.affine), folder / "volume-5.nii.gz")
    (folder / "volume-5.nii").unlink()
    for dataset in (made(tmp_path, unlabelled=None), made(tmp_path)):
        said = dataset.inspect().findings.problems
        with pytest.raises(UserError) as caught:
            dataset.pools()
        assert all(problem in str(caught.value) for problem in said)
        assert any("patient lits 5 has the same slices as lits 1" in problem for problem in said)
        assert any("patient lits test 9 has the same slices as lits 2" in p for p in said) == (
            dataset.unlabelled is None
        )
        assert "could be on both sides of a split" in said[0]


def test_missing_slices_and_broken_ones_are_named(tmp_path: Path) -> None:
    lits(tmp_path)
    place = chaos(tmp_path, 3, 5)
    for patient in ("1", "2", "3"):
        (place / patient / "T1DUAL/Ground/mask10.png").unlink()
    for phase, name in (("InPhase", "IMG-0001-00006.dcm"), ("OutPhase", "IMG-0001-00005.dcm")):
        (place / "1/T1DUAL/DICOM_anon" / phase / name).unlink()
        (place / "2/T1DUAL/DICOM_anon" / phase / name).unlink()
        write_slice(place / "2/T1DUAL/DICOM_anon" / phase / "IMG-0001-00009.dcm", signal(2, 0)[0], 99, 5.0)
        broken = place / "3/T1DUAL/DICOM_anon" / phase / name
        broken.unlink()
        last = sorted(broken.parent.iterdir())[-1]
        last.write_bytes(last.read_bytes()[:-30])
    problems = "\n".join(made(tmp_path).inspect().findings.problems)
    assert "slices are missing, at 1 place" in problems
    assert "lies at the same place as" in problems
    assert "cannot be read as a DICOM slice" in problems


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"LSMBENCH_DATA.*is not set.*competitions\.codalab\.org.*zenodo"):
        Liver().load()
    chaos(tmp_path, 1)
    with pytest.raises(UserError, match=r"no folder lits; it holds: chaos/"):
        made(tmp_path).load()
    (tmp_path / "lits").mkdir()
    with pytest.raises(UserError, match=r"no volume-\*\.nii with a segmentation-\*\.nii"):
        made(tmp_path).load()
    for options, why in (
        ({"tumour": "kept"}, "expected one of: background, liver"),
        ({"unlabelled": -1}, "0 for none"),
        ({"every": 0}, "expected at least 1"),
    ):
        with pytest.raises(UserError, match=why):
            made(tmp_path, **options)
    shutil.rmtree(tmp_path / "chaos/MR/1/T1DUAL/Ground")
    lits(tmp_path)
    assert any("1 patients have no masks, not read: 1" in note for note in made(tmp_path).inspect().findings.notes)


def test_anisotropic_volumes_are_taken_and_told(tmp_path: Path) -> None:
    lits(tmp_path)
    for name in ("volume-1.nii", "segmentation-1.nii"):
        voxels = hounsfield(1) if name.startswith("v") else labels(1)
        save(tmp_path / "lits" / name, voxels, np.diag([-0.7, -0.7, 5.0, 1]))
    inspection = made(tmp_path).inspect()
    assert inspection.findings.problems == []
    assert any("1 volumes are anisotropic" in note and "lits 1." in note for note in inspection.findings.notes)
    assert inspection.facts["lits"] == (
        "6 volumes; slices: 3 / 3 / 3 (least / median / most); 16×16 px; mm from slice to slice: 2 to 5; "
        "mm of pixels: 0.7 to 1"
    )


def test_the_example_is_small_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Liver.example(tmp_path)
    assert Liver.example(tmp_path) == dataset
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert inspection.counts == {"train": 30, "val": 5, "test": 5, "t1_in": 9, "t1_out": 9}
    first = fingerprint(dataset)
    monkeypatch.setattr(liver, "read_nifti", lambda path: pytest.fail("decoded again"))
    assert fingerprint(dataset) == first


def test_pictures_of_slices_are_read_as_the_dataset_reads_them(tmp_path: Path) -> None:
    lits(tmp_path)
    dataset = made(tmp_path)
    form = form_of(json.loads(json.dumps(dataset.inputs().plain())))
    assert form == dataset.inputs()
    clipped = hounsfield(0)[1].clip(-200, 400)
    Picture.fromarray((clipped + 200).astype(np.uint16)).save(tmp_path / "slice.png")
    assert np.array_equal(form.read(tmp_path / "slice.png").view, rows(dataset, "lits")[1][1])
    for name in ("lits/volume-0.nii", "a.nii.gz", "b.dcm"):
        with pytest.raises(UserError, match="is a volume, or a slice of one; predictions are made of pictures"):
            form.read(tmp_path / name)


# Dice per patient


def test_evaluation_batches_tell_units(tmp_path: Path) -> None:
    data = DataModule(Liver.example(tmp_path), SupervisionConfig(), eval_batch_size=4)
    data.test_set = "t1_in"
    batches = list(data.test_dataloader())
    first = int(data.pools.part("t1_in")[0])
    numbers = [int(n) for batch in batches for n in batch[INDEX]]
    units = [int(n) for batch in batches for n in batch[UNIT]]
    assert numbers == list(range(first, first + 9))
    assert units == [first + n // 3 * 3 for n in range(9)]


def test_a_run_is_selected_and_scored_by_dice_per_patient(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = RunConfig(
        dataset=Liver.example(tmp_path / "files"),
        method_name="lsm",
        method=METHODS["lsm"].Config(network="tiny", learning_rate=1e-2),
        supervision=SupervisionConfig(paired_count=3, by="unit", protocol="x_only"),
        training=TrainingConfig(epochs=2, batch_size=6, steps_per_epoch=3),
    )
    result = execute(config, tmp_path / "runs", Machine("cpu", 1))
    assert result.id.startswith("lsm-3units-s0-")
    assert result.supervision["pairs"] == 15
    x_to_y = [score for score in result.scores if score.target == "y"]
    assert [(score.test_set, score.metric) for score in x_to_y] == [
        (part, metric) for part in ("test", "t1_in", "t1_out") for metric in ("dice", "iou")
    ]
    found = lsmbench.load(tmp_path / "runs" / result.id, accelerator="cpu")
    pools: Pools = pools_of(config.dataset)
    for score in x_to_y:
        numbers = pools.part(score.test_set)
        units = np.array(pools.units(numbers))
        assert score.per_unit
        assert score.names == score.units == list(dict.fromkeys(units.tolist()))
        assert score.indices == [int(numbers[units == unit][0]) for unit in score.names]
        truth = pools.take("y", numbers) == 1
        said = (
            np.concatenate(
                [
                    found.translate(torch.from_numpy(pools.take("x", numbers[i : i + 1]) / np.float32(255)))
                    for i in range(len(numbers))
                ]
            )
            == 1
        )
        for unit, value in zip(score.names, score.values, strict=True):
            a, b = said[units == unit], truth[units == unit]
            both = (a & b).sum()
            expected = 2 * both / (a.sum() + b.sum()) if score.metric == "dice" else both / (a | b).sum()
            assert value == pytest.approx(expected)
    # Reports take scores with fewer entries than there are samples.
    frame = read([tmp_path / "runs"]).runs
    each = samples(frame[(frame["metric"] == "dice") & (frame["test_set"] == "t1_in")])
    assert each["name"].tolist() == [f"chaos {i} in phase" for i in (1, 2, 3)]
    panel = load_panel(tmp_path / "runs" / result.id)
    assert set(panel["unit"].tolist()) <= set(x_to_y[0].indices), "a picture shows its patient's score"


def test_two_processes_score_patients_as_one_does(tmp_path: Path) -> None:
    config = RunConfig(
        dataset=Liver.example(tmp_path / "files"),
        method_name="floor",
        method=METHODS["floor"].Config(),
        supervision=SupervisionConfig(paired_count=0, by="unit", protocol="x_only"),
        training=TrainingConfig(batch_size=6),
    )
    scores = []
    for devices in (1, 2):
        executed(config, tmp_path / f"devices{devices}", devices)
        result = next(path for path in (tmp_path / f"devices{devices}").iterdir() if path.is_dir())
        scores.append(Result.load(result).scores)
    assert [score.model_dump() for score in scores[0]] == [score.model_dump() for score in scores[1]]
    assert all(value > 0.2 for score in scores[0] for value in score.values)


# The benchmark


def test_the_benchmark_counts_patients_and_has_table_5(tmp_path: Path) -> None:
    benchmark = definition.load("liver", overrides={"paired_count": [104, 6, 2]})
    benchmark.dataset.update(root=Liver.example(tmp_path).root, every=1)
    grid = grids.expand(benchmark)
    assert grid.notes == ["Left out: N = 104, since at most 6 training units can be pairs."]
    plan = Manifest.model_validate(grid.manifest(""))
    assert (plan.unit, plan.paired, plan.primary_metric) == (Unit.UNITS, (6, 2), "dice")
    assert [plan.unit.amount(n) for n in (6, 1)] == ["6 units", "1 unit"]
    assert {run.id.split("-")[1] for run in plan.runs if run.method == "unet"} == {"6units", "2units"}
    assert [block.test_set for block in plan.published] == ["test", "t1_in", "t1_out"]
    paper = definition.load("liver", "paper")
    row = refined("semanticgan", RefineConfig(**paper.refine).told())
    assert [block.values[row][8] for block in plan.published] == [0.8747, 0.5565, 0.5678]
    assert [block.values["mean_teacher"][20] for block in plan.published] == [0.8197, 0.5319, 0.1908]
    assert [block.values["unet"][104] for block in plan.published] == [0.8680, 0.4453, 0.4177]
    assert paper.paired_count == [104, 20, 8], "of 118 volumes 14 validate"
