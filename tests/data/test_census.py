"""The census: what the files of a set hold together."""

from pathlib import Path

import numpy as np
import pytest

from lsmbench.data.census import (
    Levels,
    MaskFile,
    Wanted,
    labels_of,
    odd_points,
    parse_window,
    reach_of,
    two_levels,
)
from lsmbench.data.files import Findings
from lsmbench.errors import UserError
from lsmbench.palettes import IGNORED

BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def mask(name, numbers, palette=None, **more):
    """A mask with so many pixels of each number."""
    counts = np.zeros(256, np.int64)
    for number, count in numbers.items():
        counts[number] = count
    colours = None if palette is None else np.array(palette, np.uint8)
    return MaskFile(Path("masks") / name, counts, colours, **more)


def settled(*files, **wanted):
    findings = Findings()
    return labels_of(files, Wanted(**wanted), findings), findings


# Palettes


def test_palettes_that_agree_are_left_alone():
    found, findings = settled(
        mask("a.png", {0: 9, 1: 1}, [BLACK, RED]),
        mask("b.png", {0: 5, 2: 5}, [BLACK, RED, GREEN]),
        mask("c.png", {0: 10}),
    )
    assert not findings.problems + findings.notes
    assert all((table == np.arange(256)).all() for table in found.tables)
    assert found.colours.tolist() == [list(BLACK), list(RED), list(GREEN)]


def test_the_same_colours_in_another_order_are_renumbered():
    found, findings = settled(
        *(mask(f"{i}.png", {0: 8, 1: 2}, [BLACK, RED]) for i in range(3)), mask("odd.png", {0: 2, 1: 8}, [RED, BLACK])
    )
    assert found.tables[3][:2].tolist() == [1, 0]
    assert found.counts[:3].tolist() == [32, 8, 0]
    assert not findings.problems
    assert "1 of 4 palette masks store the same colours in another order (odd.png)" in findings.notes[0]


def test_palettes_that_contradict_each_other_are_refused_by_name():
    found, findings = settled(
        *(mask(f"{i}.png", {0: 8, 1: 2}, [BLACK, RED]) for i in range(3)), mask("odd.png", {0: 8, 1: 2}, [BLACK, GREEN])
    )
    assert found.tables[3] is None
    assert len(findings.problems) == 1
    assert "1 is the colour (0, 255, 0) in odd.png, and most others show 1 as (255, 0, 0)" in findings.problems[0]


def test_classes_of_one_colour_are_not_taken_for_one_class():
    alike = [BLACK, RED, RED]
    found, findings = settled(mask("a.png", {0: 9, 1: 1}, alike), mask("b.png", {0: 9, 2: 1}, alike))
    assert not findings.problems + findings.notes
    assert found.counts[:3].tolist() == [18, 1, 1]


# Levels


def edges(low, high, share, levels=None):
    """Pixels of two grey levels, and a share of them anywhere between."""
    numbers = {low: 6000, high: 4000}
    for level in range(low + 1, high) if levels is None else levels:
        numbers[level] = max(1, round(share * 10000 / (high - low)))
    return numbers


def test_smoothed_masks_are_no_255_classes():
    findings = settled(mask("a.png", edges(0, 254, 0.05)))[1]
    assert len(findings.problems) == 1
    assert "hold 255 grey levels" in findings.problems[0]
    assert "smoothed" in findings.problems[0]
    assert not settled(mask("many.png", dict.fromkeys(range(150), 100)))[1].problems


@pytest.mark.parametrize("high", [255, 180])
def test_two_levels_of_a_jpeg_are_cut_in_the_middle(high):
    rng = np.random.default_rng(0)
    flat = np.where(rng.random(20000) < 0.3, high, 0) + rng.normal(0, 4, 20000)
    values = np.concatenate([flat, rng.uniform(0, high, 400)]).clip(0, 255).round().astype(int)
    low, peak, doubt = two_levels(np.bincount(values, minlength=256))
    assert abs(low) <= 8
    assert abs(peak - high) <= 8
    assert doubt == pytest.approx(200 / 20400, abs=0.003)


def test_more_or_fewer_than_two_levels_are_refused():
    rng = np.random.default_rng(0)
    for values in ((0, 128, 255), (0,), (100, 140)):
        flat = rng.choice(
            values, 20000, p=np.array([0.9, 0.07, 0.03][: len(values)]) / sum([0.9, 0.07, 0.03][: len(values)])
        )
        counts = np.bincount((flat + rng.normal(0, 3, 20000)).clip(0, 255).round().astype(int), minlength=256)
        assert two_levels(counts) is None, values
    assert two_levels(np.full(256, 10)) is None


# Labels


def test_masks_of_one_label():
    for numbers, label in (({255: 10}, 255), ({0: 10}, 0), ({3: 10}, 3)):
        problems = settled(mask("a.png", numbers), mask("b.png", numbers))[1].problems
        assert [f"all masks hold class {label} only" in problem for problem in problems] == [True]


def test_labels_from_1_say_which_class_is_background():
    found, findings = settled(mask("a.png", {1: 80, 2: 10, 3: 10}))
    assert found.background == 0
    assert "label 0 is taken for the background, which the IoU leaves out, but it never occurs" in findings.notes[0]
    assert "give background=1" in findings.notes[0]
    found, findings = settled(mask("a.png", {1: 80, 2: 10, 3: 10}), background=1, background_said=True)
    assert (found.background, found.labels) == (1, (0, 1, 2, 3))
    assert ["label 0 never occurs" in note for note in findings.notes] == [True]


def test_gaps_are_noted():
    found, findings = settled(mask("a.png", {0: 70, 1: 10, 2: 10, 4: 10}))
    assert len(found.labels) == 5
    assert findings.notes == [
        "masks: the label 3 never occurs and makes a class all the same; the labels are 0, 1, 2, 4."
    ]


def test_ignored_labels_have_no_class():
    found, findings = settled(mask("a.png", {0: 5, 1: 4, 255: 1}), ignore=(255,))
    assert not findings.problems + findings.notes
    assert (found.labels, found.void, found.tables[0][255]) == ((0, 1), True, IGNORED)
    assert found.counts[[0, 1, 255]].tolist() == [5, 4, 1]
    found, findings = settled(mask("a.png", {0: 5, 1: 4, 2: 1}), ignore=(0,))
    assert (found.background, found.tables[0][:3].tolist()) == (None, [IGNORED, 1, 2])
    assert "label 0 is ignored, so that there is no background" in findings.notes[0]
    assert "no mask holds a label of ignore=9" in settled(mask("a.png", {0: 5, 1: 4}), ignore=(9,))[1].notes[0]


def test_0_and_255_are_two_classes():
    found, findings = settled(
        mask("a.png", {0: 5, 255: 5}), mask("b.png", {0: 9, 1: 1}), background=255, background_said=True
    )
    assert not findings.problems
    assert (found.labels, found.background, found.tables[0][255]) == ((0, 255), 1, 1)


def test_wrong_backgrounds_and_names():
    _, findings = settled(mask("a.png", {0: 5, 1: 5}), background=7, background_said=True)
    assert "background=7, but there is no such label; the masks hold 0, 1" in findings.problems[0]
    _, findings = settled(mask("a.png", {0: 5, 1: 5, 2: 5}), names=("a", "b"))
    assert "class_names gives 2 names, but there are 3 classes" in findings.problems[0]


def test_partly_transparent_masks_are_asked_about():
    found, findings = settled(
        mask("a.png", {0: 5, 1: 5}, alpha=(0, 255)), mask("b.png", {0: 5, 1: 5}, alpha=(255, 255))
    )
    assert "1 of 2 masks are partly transparent (a.png)" in findings.problems[0]
    assert [table is None for table in found.tables] == [True, False]


# Intensities


def levels(low, high, deep=True, whole=True):
    return Levels(low, high, deep, whole, 1, None)


@pytest.mark.parametrize(
    ("seen", "reach"),
    [
        ([levels(0, 255, deep=False)], None),
        ([levels(90, 3000), levels(10, 4000)], (0, 4095)),
        ([levels(0, 40000)], (0, 65535)),
        ([levels(0, 200)], (0, 255)),
        ([levels(-1024, 3071), levels(0, 255, deep=False)], (-1024, 3071)),
        ([levels(0.1, 0.9, whole=False)], (0, 1)),
        ([levels(-1.5, 2, whole=False)], (-1.5, 2)),
        ([levels(7.5, 7.5, whole=False)], (7.5, 8.5)),
    ],
)
def test_one_range_for_the_whole_set(seen, reach):
    assert reach_of("auto", seen) == reach


def test_windows_that_are_named():
    assert reach_of("-100, 4e2", []) == (-100, 400)
    seen = [Levels.of(np.arange(1001, dtype=np.uint16), True), Levels.of(np.full(1, 60000, np.uint16), True)]
    low, high = reach_of("p1,p99", seen)
    assert (low, high) == (pytest.approx(10, abs=2), pytest.approx(990, abs=2)), "pixels count, not files"
    for word in ("", "5", "9,3", "p1,99", "p-1,p99", "p1,p101", "low,high", "1,2,3", "nan,inf"):
        with pytest.raises(UserError, match="expected auto, the numbers"):
            parse_window(word, "here")
    with pytest.raises(UserError, match="both percentiles of the pictures' numbers are 7"):
        reach_of("p1,p99", [Levels.of(np.full(9, 7, np.uint16), True)])


# Points


def test_points_that_nobody_set():
    points = np.random.default_rng(0).uniform(5, 30, (4, 3, 2))
    points[1, 2] = points[3, 2] = -0.5
    points[:, 0] = 9
    notes = odd_points(list(points), -0.5, list("abcd"), Path("landmarks"))
    assert "stored as 0,0, which often marks points that nobody set, in 2 of 4 files (b, d)" in notes[0]
    assert "2 in 2" in notes[0]
    assert "the points 0 (counted from 0) have the same position in all 4 files" in notes[1]
