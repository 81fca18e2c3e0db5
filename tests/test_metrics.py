from __future__ import annotations

import math

import pytest
import torch

from lsmbench.metrics import ForegroundIoU, MeanAbsoluteError, MeanSquaredError


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


@pytest.mark.parametrize("metric", [ForegroundIoU(2), MeanSquaredError(), MeanAbsoluteError()])
def test_every_metric_says_its_name_unit_and_direction(metric: ForegroundIoU) -> None:
    assert metric.name
    assert metric.unit
    assert metric.higher_is_better in (True, False)
