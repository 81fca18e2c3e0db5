from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lsmbench.metrics import (
    NRMSE,
    ClassAccuracy,
    ColourAccuracy,
    Dice,
    ForegroundIoU,
    MeanAbsoluteError,
    MeanIoU,
    MeanSquaredError,
    PixelAccuracy,
    PooledIoU,
    ways_to_pool,
)


def test_foreground_iou_by_hand_skips_background_and_absent_classes() -> None:
    target = torch.tensor([[[1, 1], [0, 0]], [[1, 2], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    predicted = torch.tensor([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]])
    metric = ForegroundIoU(3)
    metric.update(predicted, target, torch.tensor([7, 3, 5, 9]))
    indices, values, counts = metric.per_sample()
    assert counts is None
    assert indices == [3, 5, 7, 9]
    assert values[:3] == [0.5, 0.0, 0.5]  # (class 1: 1, class 2: 0); false positive: 0; one of two pixels
    assert math.isnan(values[3])
    assert metric.compute().item() == pytest.approx(1 / 3)


def test_dice_by_hand_skips_what_is_absent_from_both() -> None:
    target = torch.tensor([[[1, 1], [1, 0]], [[1, 2], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    predicted = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]])
    metric = Dice(3)
    metric.update(predicted, target, torch.tensor([7, 3, 5, 9]))
    indices, values, _ = metric.per_sample()
    assert indices == [3, 5, 7, 9]
    assert values[:3] == pytest.approx([0.5, 0.0, 2 * 1 / (2 + 3)])
    assert math.isnan(values[3])
    assert metric.compute().item() == pytest.approx(0.3)
    assert (metric.name, metric.higher_is_better, metric.error(0.75)) == ("dice", True, 0.25)
    void = Dice(2, void=True).score(torch.ones(1, 2, 2), torch.tensor([[[1, 0], [255, 255]]]))
    assert void.tolist() == pytest.approx([2 / 3])


def test_dice_per_unit_pools_the_pixels_of_all_slices_and_a_slice_without_liver_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, said = (torch.rand(40, 8, 8, generator=generator) < 0.3 for _ in range(2))
    truth[::4] = False  # empty slices, in which something is said
    said[1::8] = False
    units = torch.tensor([0, 3, 3, 9, 20] * 8)
    truth[units == 20] = said[units == 20] = False  # nothing anywhere: undefined
    truth[units == 9] = False  # something is said of a patient without liver: 0
    metrics = {kind: kind(2, per_unit=True) for kind in (Dice, ForegroundIoU)}
    for kind, metric in metrics.items():
        for some in torch.randperm(40, generator=generator).split(7):
            metric.update(said[some].long(), truth[some].long(), units[some])
        indices, values, counts = metric.per_sample()
        assert (indices, counts) == ([0, 3, 9, 20], None)
        expected = []
        for unit in indices[:3]:
            a, b = (set(map(tuple, mask[units == unit].nonzero().tolist())) for mask in (said, truth))
            expected.append(2 * len(a & b) / (len(a) + len(b)) if kind is Dice else len(a & b) / len(a | b))
        assert values[:3] == pytest.approx(expected)
        assert math.isnan(values[3])
        assert metric.compute().item() == pytest.approx(sum(expected) / 3)
        assert metric.unit.startswith(f"foreground {kind.measure} per unit")
        assert metric.values[-1].shape == (40 % 7,), "each slice's own score is known too"
    assert expected[2] == 0


def test_dice_per_unit_is_the_same_from_two_shards() -> None:
    generator = torch.Generator().manual_seed(1)
    truth, said = (torch.randint(0, 3, (31, 6, 6), generator=generator) for _ in range(2))
    units = torch.arange(31) // 7 * 7
    whole, first, second = (Dice(3, per_unit=True) for _ in range(3))
    whole.update(said, truth, units)
    for rank, metric in enumerate((first, second)):
        metric.update(said[rank::2], truth[rank::2], units[rank::2])
    # As torchmetrics brings processes together: lists are concatenated.
    for name in ("indices", "values", "sizes"):
        setattr(first, name, [torch.cat([*getattr(first, name), *getattr(second, name)])])
    assert first.per_sample() == whole.per_sample()
    assert first.compute().item() == whole.compute().item()


def test_errors_by_hand_over_two_batches() -> None:
    for metric, expected in ((MeanSquaredError(), [0.25, 1.0]), (MeanAbsoluteError(), [0.5, 1.0])):
        for i, value in enumerate((0.5, 1.0)):
            metric.update(torch.full((1, 1, 2, 2), value), torch.zeros(1, 1, 2, 2), torch.tensor([i]))
        assert metric.per_sample() == ([0, 1], expected, None)
        assert metric.compute().item() == pytest.approx(sum(expected) / 2)


@pytest.mark.parametrize("scale", [1.0, 250.0])
@pytest.mark.parametrize("eyes", [(36, 45), (37, 46)])
def test_nrmse_of_a_constant_shift_d_is_d_over_the_distance_between_the_eyes(
    eyes: tuple[int, int], scale: float
) -> None:
    truth = torch.rand(4, 68, 2) * scale
    shift = torch.tensor([0.3, -0.4]) * scale
    metric = NRMSE(eyes)
    metric.update(truth + shift, truth, torch.arange(4))
    distance = (truth[:, eyes[0]] - truth[:, eyes[1]]).norm(dim=1)
    assert metric.per_sample()[1] == pytest.approx((0.5 * scale / distance).tolist(), rel=1e-4)


def test_nrmse_is_a_mean_of_distances_and_not_the_root_of_a_mean_square() -> None:
    truth = torch.zeros(1, 68, 2)
    truth[0, 45, 0] = 2.0  # the unit
    predicted = truth.clone()
    predicted[0, 0] = torch.tensor([3.0, 4.0])  # one of 68 points is off, by 5
    metric = NRMSE()
    metric.update(predicted, truth, torch.tensor([0]))
    assert metric.compute().item() == pytest.approx(5 / 68 / 2)


def test_nrmse_by_the_bounding_box_for_points_without_eyes() -> None:
    truth = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]])
    metric = NRMSE(None)
    metric.update(truth + torch.tensor([0.0, 1.0]), truth, torch.tensor([0]))
    assert metric.compute().item() == pytest.approx(1 / 5)


@pytest.mark.parametrize("metric", [ForegroundIoU(2), MeanSquaredError(), MeanAbsoluteError(), NRMSE()])
def test_every_metric_says_its_name_unit_and_direction(metric: ForegroundIoU) -> None:
    assert metric.name
    assert metric.unit
    assert metric.higher_is_better in (True, False)


def labels(*rows: list[int]) -> Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


def test_label_maps_are_scored_by_one_confusion_matrix_over_all_samples() -> None:
    """Two planted maps of classes 0 to 3, of which 3 never occurs; 255 is not counted."""
    truth = torch.cat([labels([0, 0, 0, 1]), labels([1, 2, 255, 255])])
    predicted = torch.cat([labels([0, 0, 1, 1]), labels([1, 0, 2, 3])])
    # Rows true, columns predicted: 0 → 2 right, 1 as 1; 1 → 2 right; 2 → 1 as 0.
    by_hand = {
        "zero": {"accuracy": 4 / 6, "class_accuracy": (2 / 3 + 1 + 0 + 0) / 4, "miou": (2 / 4 + 2 / 3 + 0 + 0) / 4},
        "ignore": {"accuracy": 4 / 6, "class_accuracy": (2 / 3 + 1 + 0) / 3, "miou": (2 / 4 + 2 / 3 + 0) / 3},
    }
    for absent, expected in by_hand.items():
        for kind in (PixelAccuracy, ClassAccuracy, MeanIoU):
            metric = kind(4, absent)  # type: ignore[arg-type]
            for i in (0, 1):
                metric.update(predicted[i : i + 1], truth[i : i + 1], torch.tensor([i]))
            assert metric.pooled() == pytest.approx(expected[metric.name])
            assert metric.compute().item() == pytest.approx(expected[metric.name])
    accuracy = PixelAccuracy(4)
    accuracy.update(predicted, truth, torch.tensor([5, 3]))
    indices, values, counts = accuracy.per_sample()
    assert (indices, values) == ([3, 5], [0.5, 0.75])
    assert counts is not None
    assert (counts.sum(0) == sum(accuracy.confusions).sum(0).numpy()).all()


def test_the_pooled_iou_counts_pixels_of_all_samples_and_averages_the_foreground() -> None:
    """Σ|A∩B| / Σ|A∪B| of each class but the background, then their mean; single samples keep their own."""
    target = torch.tensor([[[1, 1], [1, 0]], [[1, 2], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    predicted = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [0, 0]], [[2, 0], [0, 0]], [[0, 0], [0, 0]]])
    metric = PooledIoU(4)  # class 3 is nowhere
    for i in (2, 0, 3, 1):
        metric.update(predicted[i : i + 1], target[i : i + 1], torch.tensor([i]))
    both = [sum(int(((p == c) & (t == c)).sum()) for p, t in zip(predicted, target, strict=True)) for c in (1, 2)]
    either = [sum(int(((p == c) | (t == c)).sum()) for p, t in zip(predicted, target, strict=True)) for c in (1, 2)]
    assert (both, either) == ([2, 0], [5, 2])
    assert metric.pooled() == metric.compute().item() == pytest.approx((2 / 5 + 0 / 2) / 2)
    indices, values, counts = metric.per_sample()
    assert indices == [0, 1, 2, 3]
    assert values[:3] == pytest.approx([1 / 4, (1 + 0) / 2, 0])
    assert math.isnan(values[3]), "a sample with background alone"
    assert counts is not None
    assert counts.shape == (4, 4, 4)
    assert values[:3] == pytest.approx(ForegroundIoU(4).score(predicted, target)[:3].tolist())
    assert PooledIoU(4, "zero").of_sums(torch.from_numpy(counts.sum(0)[None])).item() == pytest.approx(2 / 5 / 3)
    assert (metric.name, metric.error(0.25)) == ("pooled_iou", 0.75)


@pytest.mark.parametrize("background", [0, 2, None])
def test_scores_of_folds_are_pooled_by_the_background_that_gives_their_own(background: int | None) -> None:
    folds = torch.from_numpy(np.random.default_rng(0).integers(1, 50, (3, 4, 4)))
    metric = PooledIoU(4, "ignore", background)
    own = metric.of_sums(folds).tolist()
    (way, *_) = [
        way for way in ways_to_pool("pooled_iou", 4) if way(folds.numpy()).tolist() == pytest.approx(own, abs=1e-6)
    ]
    whole = folds.sum(0, keepdim=True)
    assert way(whole.numpy()).tolist() == pytest.approx(metric.of_sums(whole).tolist())
    mean_iou = MeanIoU(4).of_sums(folds).tolist()
    assert [way(folds.numpy()).tolist() for way in ways_to_pool("miou", 4)] == [mean_iou] * 2


def test_a_sample_without_a_counted_pixel_is_undefined_and_changes_nothing() -> None:
    metric = PixelAccuracy(3)
    metric.update(labels([0, 1], [2, 2]), labels([0, 1], [2, 0]), torch.tensor([0]))
    metric.update(labels([0, 1], [2, 2]), labels([255, 255], [255, 255]), torch.tensor([1]))
    assert metric.pooled() == 0.75
    assert math.isnan(metric.per_sample()[1][1])


def test_a_difference_of_19_is_right_and_of_20_is_wrong_in_any_channel() -> None:
    truth = torch.full((1, 3, 1, 4), 100 / 255)
    prediction = truth.clone()
    prediction[0, 0, 0, 0] += 19 / 255
    prediction[0, 1, 0, 1] -= 20 / 255
    prediction[0, :, 0, 2] -= 19 / 255
    prediction[0, 2, 0, 3] += 20 / 255
    assert ColourAccuracy().score(prediction, truth).tolist() == [0.5]
    assert ColourAccuracy(21).score(prediction, truth).tolist() == [1.0]
