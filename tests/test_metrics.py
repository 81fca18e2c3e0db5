from __future__ import annotations

import math

import pytest
import torch

from lsmbench.metrics import NRMSE, ForegroundIoU, MeanAbsoluteError, MeanSquaredError


def test_foreground_iou_by_hand_skips_background_and_absent_classes() -> None:
    target = torch.tensor([[[1, 1], [0, 0]], [[1, 2], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    predicted = torch.tensor([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]])
    metric = ForegroundIoU(3)
    metric.update(predicted, target, torch.tensor([7, 3, 5, 9]))
    indices, values = metric.per_sample()
    assert indices == [3, 5, 7, 9]
    assert values[:3] == [0.5, 0.0, 0.5]  # (class 1: 1, class 2: 0); false positive: 0; one of two pixels
    assert math.isnan(values[3])
    assert metric.compute().item() == pytest.approx(1 / 3)


def test_errors_by_hand_over_two_batches() -> None:
    for metric, expected in ((MeanSquaredError(), [0.25, 1.0]), (MeanAbsoluteError(), [0.5, 1.0])):
        for i, value in enumerate((0.5, 1.0)):
            metric.update(torch.full((1, 1, 2, 2), value), torch.zeros(1, 1, 2, 2), torch.tensor([i]))
        assert metric.per_sample() == ([0, 1], expected)
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
