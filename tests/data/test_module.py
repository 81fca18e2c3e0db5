"""The DataModule: banks of y-only samples, selected pairs, augmentation, and what predictions are compared with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, DataModule, TrainingViews
from lsmbench.data.samplers import SupervisionSampler
from lsmbench.data.selection import k_medoids
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.data.transforms import AUGMENTATIONS
from lsmbench.datasets import DATASETS
from lsmbench.datasets.bank import bank_of
from lsmbench.errors import UserError
from lsmbench.runs.config import TrainingConfig, config_from_dict
from lsmbench.runs.run import data_of

X, Y, XY = ("x",), ("y",), ("x", "y")


def example(name: str, folder: Path) -> Dataset:
    (folder / name).mkdir(exist_ok=True)
    return DATASETS[name].example(folder / name)


def module(dataset: Dataset, augment: str = "none", **supervision: Any) -> DataModule:
    options: dict[str, Any] = {"protocol": "shared", "paired_count": 4, **supervision}
    config = SupervisionConfig(**options)
    return DataModule(dataset, config, 4, 3, augment, bank=bank_of(config, dataset))


def test_y_only_samples_come_from_the_bank_and_nothing_else_does(tmp_path: Path) -> None:
    bank = example("gta", tmp_path)
    dataset = example("cityscapes", tmp_path)
    data = module(dataset, y_bank=f"gta:{tmp_path / 'gta'}", unpaired=10)
    assert data.supervision.counts() == {"pairs": 4, "x": 10, "y": 10}
    targets = bank.targets()
    for batch in data.train_dataloader():
        shown = (batch[Y]["y"] * 255).round().numpy().astype(np.uint8)
        assert all(any(np.array_equal(one, target) for target in targets) for one in shown)
        own = (batch[XY]["y"] * 255).round().numpy().astype(np.uint8)
        assert all(any(np.array_equal(one, target) for target in dataset.load()["y"]) for one in own)


def test_a_bank_is_part_of_a_runs_identity_and_its_place_is_not(tmp_path: Path) -> None:
    example("cityscapes", tmp_path)
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        example("gta", tmp_path / place)

    def identity(**supervision: Any) -> str:
        dataset = {"name": "cityscapes", "root": str(tmp_path / "cityscapes"), "size": 32}
        said = {"protocol": "shared", "paired_count": 2, **supervision}
        config = config_from_dict({"dataset": dataset, "method": {"name": "hybrid"}, "supervision": said})
        data = data_of(config)
        return config.identity(data.contents)

    here, there = (identity(y_bank=f"gta:{tmp_path / place / 'gta'}") for place in ("here", "there"))
    assert here == there
    assert here != identity()
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    for file in (first, second):
        np.save(file, np.arange(36.0)[:, None])
    chosen = [identity(selection="k_medoids", features=str(file)) for file in (first, second)]
    np.save(second, np.arange(36.0)[::-1, None] ** 2)
    assert chosen[0] == chosen[1] != identity(selection="k_medoids", features=str(second))


def test_a_bank_of_another_palette_form_or_name_is_refused(tmp_path: Path) -> None:
    cityscapes = example("cityscapes", tmp_path)
    example("facades", tmp_path)
    with pytest.raises(UserError, match=r"targets of facades are not those of cityscapes(.|\n)*truck(.|\n)*cornice"):
        _ = module(cityscapes, y_bank=f"facades:{tmp_path / 'facades'}").supervision
    with pytest.raises(UserError, match="targets of sit are not those"):
        _ = module(cityscapes, y_bank="sit").supervision
    with pytest.raises(UserError, match="unknown dataset 'gtav'"):
        _ = module(cityscapes, y_bank="gtav").supervision
    with pytest.raises(UserError, match="sit has no folder of its own"):
        _ = module(cityscapes, y_bank="sit:here").supervision


def test_k_medoids_sees_the_photos_of_the_training_set_only(tmp_path: Path) -> None:
    dataset = example("facades", tmp_path)
    file = tmp_path / "features.npy"
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.save(file, rows)
    data = module(dataset, selection="k_medoids", features=str(file))
    train = np.sort(data.train)
    assert data.supervision.pairs.tolist() == train[k_medoids(rows[train], 4)].tolist()
    by_pixels = module(dataset, selection="k_medoids", features="pixels").supervision.pairs
    again = module(dataset, selection="k_medoids", features="pixels", supervision_seed=5).supervision.pairs
    assert by_pixels.tolist() == again.tolist()
    assert set(by_pixels.tolist()) <= set(train.tolist())


def test_every_dataset_can_be_selected_from_by_pixels(tmp_path: Path) -> None:
    for name in (name for name, kind in DATASETS.items() if kind.paired):
        data = module(example(name, tmp_path), selection="k_medoids", features="pixels")
        assert len(data.supervision.pairs) == 4, name


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_augmented_batches_are_a_function_of_the_epoch_and_pairs_stay_aligned(word: str, tmp_path: Path) -> None:
    dataset = example("facades", tmp_path)
    data, plain = module(dataset, word), module(dataset)

    def epoch(data: DataModule, number: int) -> list[torch.Tensor]:
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(number)  # type: ignore[union-attr]
        return [view for batch in loader for shown in batch for view in batch[shown].values()]

    first = epoch(data, 3)
    epoch(data, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, epoch(data, 3), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, epoch(plain, 3), strict=True))
    domain = data.domains["y"]
    domain.check((first[1] * 255).round().numpy().astype(np.uint8), "an augmented label map keeps its colours")
    with pytest.raises(UserError, match=r"training\.augment=none"):
        module(example("faces", tmp_path), word)


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_two_processes_augment_as_one(word: str, tmp_path: Path) -> None:
    data = module(example("facades", tmp_path), word)
    views = data.train_dataloader().dataset
    assert isinstance(views, TrainingViews)

    def batches(rank: int = 0, ranks: int = 1) -> list[Batch]:
        return [views.__getitems__(request) for request in SupervisionSampler(sizes, 12, 3, 0, True, rank, ranks)]

    sizes = {shown: len(numbers) for shown, numbers in data.groups().items()}
    for whole, first, second in zip(batches(), batches(0, 2), batches(1, 2), strict=True):
        for shown, kept in whole.items():
            for view, values in kept.items():
                assert torch.equal(values[::2], first[shown][view])
                assert torch.equal(values[1::2], second[shown][view])


def test_views_stay_on_the_device_unless_the_augmentation_works_on_the_processors_side(tmp_path: Path) -> None:
    """On torch's device `meta`, which keeps no values: reading one would be an error."""
    dataset = example("facades", tmp_path)
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    for word, place in (("none", "meta"), ("crop_flip", "cpu"), ("affine", "meta")):
        data = module(dataset, word)
        data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)  # type: ignore[assignment]
        for batch in data.train_dataloader():
            assert {values.device.type for kept in batch.values() for values in kept.values()} == {place}, word


def test_the_words_of_augmentations_are_those_of_the_option(tmp_path: Path) -> None:
    assert get_args(get_type_hints(TrainingConfig)["augment"]) == ("none", *AUGMENTATIONS)
    with pytest.raises(UserError, match=r"training\.augment: expected one of none, crop_flip, affine; found 'flip'"):
        module(example("facades", tmp_path), "flip")


def test_evaluation_holds_what_predictions_are_compared_with(tmp_path: Path) -> None:
    data = module(example("cityscapes", tmp_path))
    batch = next(iter(data.test_dataloader()))
    assert data.dataset.truths == {"y": "labels"}
    assert batch["labels"].shape == (8, 24, 48)
    assert batch["labels"].dtype == torch.uint8
    assert all("labels" not in shown for shown in data.supervision.groups), "no method is shown it"
    assert set(next(iter(module(example("facades", tmp_path)).test_dataloader()))) == {"x", "y", "index"}
