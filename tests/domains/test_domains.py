from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains import Category, Domain, Image, LabelColours, Landmarks, MapImage, Mask
from lsmbench.errors import UserError
from lsmbench.metrics import ColourAccuracy
from lsmbench.palettes import CITYSCAPES, FACADES, Palette, read_palette

DOMAINS: list[Domain] = [
    Image(1, 8),
    Image(3, 8, signed=True),
    Image(1, 8, reconstruction="l1"),
    MapImage(3, 8),
    LabelColours(3, 8, palette=FACADES),
    Mask(2, 8),
    Mask(4, 8),
    Landmarks(68),
    Landmarks(5, eyes=None),
    Category(("cat", "dog", "owl")),
]


def stored(domain: Domain, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    if isinstance(domain, LabelColours):
        return domain.palette.encode(rng.integers(0, len(domain.palette), (count, 8, 8)))
    if isinstance(domain, Image):
        return rng.integers(0, 256, (count, domain.channels, 8, 8), dtype=np.uint8)
    if isinstance(domain, Landmarks):
        return rng.random((count, domain.points, 2), dtype=np.float32)
    if isinstance(domain, Category):
        return rng.integers(0, len(domain.names), count)
    assert isinstance(domain, Mask)
    return rng.integers(0, domain.classes, (count, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_a_perfect_output_decides_to_the_view_and_scores_best(domain: Domain) -> None:
    array = stored(domain)
    domain.check(array, "here")
    view = domain.unpack(domain.views(array))
    fed = domain.to_input(view)
    assert fed.shape == (5, *domain.shape)
    if isinstance(domain, Image):
        output = torch.atanh(fed.clamp(-0.999999, 0.999999)) if domain.signed else torch.logit(fed, 1e-6)
    elif isinstance(domain, Landmarks):
        output = torch.logit(fed, 1e-6)
    else:
        output = (fed - 0.5) * 50
    assert torch.allclose(domain.activate(output), fed, atol=1e-4)
    assert torch.allclose(domain.decide(output).float(), view.float(), atol=1e-4)
    assert domain.loss(output, view) < domain.loss(torch.zeros_like(output), view)
    metric = domain.metrics()[0]
    metric.update(*domain.comparable(domain.decide(output), view), torch.arange(5))
    best = metric.compute()
    metric.reset()
    metric.update(*domain.comparable(domain.decide(-output), view), torch.arange(5))
    assert (best > metric.compute()) == metric.higher_is_better


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_activations_have_the_range_of_inputs_and_pictures_are_rgb(domain: Domain) -> None:
    output = torch.randn(2, *domain.shape) * 5
    activated = domain.activate(output)
    low = -1 if isinstance(domain, Image) and domain.signed else 0
    assert low <= activated.min() < activated.max() <= 1
    if isinstance(domain, Mask) and not domain.binary:
        assert torch.allclose(activated.sum(1), torch.ones(2, 8, 8))
    picture = domain.draw(domain.unpack(domain.views(stored(domain))))
    assert picture.shape == (5, *(256, 256) * domain.is_vector, *(8, 8) * (not domain.is_vector), 3)
    assert picture.dtype == np.uint8


def test_mask_losses_are_cross_entropies_of_probabilities_taken_once() -> None:
    view = torch.randint(0, 4, (3, 8, 8))
    output = torch.randn(3, 4, 8, 8)
    by_hand = -torch.log_softmax(output, 1).gather(1, view[:, None]).mean()
    assert torch.allclose(Mask(4, 8).loss(output, view), by_hand)
    assert Mask(4, 8).loss((F.one_hot(view, 4).movedim(-1, 1).float() - 0.5) * 100, view) < 1e-6  # no second softmax
    binary, logits = torch.randint(0, 2, (3, 8, 8)), torch.randn(3, 1, 8, 8)
    p = torch.sigmoid(logits[:, 0])
    by_hand = -(binary * p.log() + (1 - binary) * (1 - p).log()).mean()
    assert torch.allclose(Mask(2, 8).loss(logits, binary), by_hand)


def test_image_losses_by_hand() -> None:
    view, output = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    assert torch.allclose(Image(1, 8).loss(output, view), (torch.sigmoid(output) - view).pow(2).mean())
    l1 = Image(1, 8, signed=True, reconstruction="l1")
    assert torch.allclose(l1.loss(output, view), (torch.tanh(output) - (2 * view - 1)).abs().mean())


def test_landmark_loss_by_hand_with_one_sigmoid() -> None:
    view, output = torch.rand(3, 68, 2), torch.randn(3, 136) * 9
    points = Landmarks(68).decide(output)
    assert torch.allclose(Landmarks(68).loss(output, view), (torch.sigmoid(output).view(3, 68, 2) - view).pow(2).mean())
    assert points.min() < 0.01
    assert points.max() > 0.99, "a second sigmoid would confine points to (.5, .73)"
    assert torch.equal(Landmarks(68).to_input(points), torch.sigmoid(output)), "x and y in turn, both ways"


def test_landmarks_are_scored_by_both_units_the_chosen_one_first() -> None:
    assert [m.name for m in Landmarks(68).metrics()] == ["nrmse", "nrmse_released"]
    assert [m.name for m in Landmarks(68, eyes="released_code").metrics()] == ["nrmse_released", "nrmse"]
    assert [m.name for m in Landmarks(21, eyes=(0, 5)).metrics()] == ["nrmse"]
    truth = torch.rand(1, 68, 2)
    values = []
    for metric in Landmarks(68).metrics():
        metric.update(truth + torch.tensor([0.03, 0.04]), truth, torch.tensor([0]))
        values.append(metric.compute().item())
    expected = [0.05 / (truth[0, a] - truth[0, b]).norm().item() for a, b in ((36, 45), (37, 46))]
    assert values == pytest.approx(expected, rel=1e-4)


def test_overlays_put_points_where_they_are() -> None:
    truth = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    guess = torch.tensor([[[0.75, 0.25], [0.5, 0.5]]])
    ground = np.zeros((1, 64, 64, 3), np.uint8)
    alone = Landmarks(2, eyes=None).overlay(truth, ground)[0]
    both = Landmarks(2, eyes=None).overlay(guess, ground, truth)[0]
    assert alone[192, 64, 2] > 200  # row, column: y, x; blue
    assert not alone[64, 192].any()
    assert both[192, 64, 2] > 200
    assert both[64, 192, 0] > 200  # the prediction, orange
    assert both[128 + 30, 128 - 30].any(), "a line joins a prediction to where it belongs"
    mask = torch.zeros(1, 8, 8, dtype=torch.long)
    assert np.array_equal(Mask(2, 8).overlay(mask, ground), Mask(2, 8).draw(mask))


def test_the_constant_shape_is_the_mean() -> None:
    array = stored(Landmarks(68))
    assert np.allclose(Landmarks(68).constant(torch.from_numpy(array))[0], array.mean(0))


@pytest.mark.parametrize("names", [["iou"], ["dice", "iou"], ["pooled_iou", "iou"]], ids=lambda names: names[0])
def test_the_constant_mask_is_the_best_of_all_thresholded_frequencies(names: list[str]) -> None:
    rng = np.random.default_rng(1)
    # Masks of quite different sizes, where the best thresholds for IoU and Dice differ.
    masks = torch.from_numpy((rng.random((40, 6, 6)) < rng.random((6, 6)) * rng.random((40, 1, 1))).astype(np.uint8))
    masks[:3] = 0  # which a pooled score counts, and a mean over the samples with the class does not
    masks[3:, 0, 0] = 1
    domain = Mask(2, 6, dice=names[0] == "dice", pooled=names[0] == "pooled_iou")
    assert [metric.name for metric in domain.metrics()] == names
    counted = masks if domain.pooled else masks[3:]
    frequency = counted.float().mean(0)

    def mean_score(candidate: torch.Tensor) -> float:
        first = domain.metrics()[0]
        first.update(candidate.expand(counted.shape), counted, torch.arange(len(counted)))
        return first.compute().item()

    best = max(mean_score((frequency >= t).long()) for t in frequency.unique())
    assert mean_score(domain.constant(masks)[0]) == pytest.approx(best, abs=1e-6)


def test_the_constant_of_several_classes_puts_each_where_it_is_frequent() -> None:
    masks = torch.zeros(10, 4, 4, dtype=torch.uint8)
    masks[:, 0] = 1
    masks[:, 3] = 2
    masks[0, 1, 1] = 1
    assert torch.equal(Mask(3, 4).constant(masks)[0].to(torch.uint8), masks[1])


def test_the_constant_image_is_the_mean() -> None:
    array = stored(Image(1, 8))
    assert torch.allclose(
        Image(1, 8).constant(torch.from_numpy(array))[0], torch.from_numpy(array).float().mean(0) / 255
    )


@pytest.mark.parametrize(
    ("domain", "array", "message"),
    [
        (Mask(2, 4), np.full((3, 4, 4), 255, np.uint8), r"here: .*0 to 1.*3 of 3.*255.*dividing by 255"),
        (Mask(2, 4), np.zeros((3, 4, 5), np.uint8), r"here: expected masks of 4×4"),
        (Mask(2, 4), np.zeros((3, 4, 4), np.float32), r"here: .*uint8.*float32"),
        (Image(1, 4), np.zeros((3, 3, 4, 4), np.uint8), r"here: .*\(1, 4, 4\).*\(3, 4, 4\)"),
        (Image(1, 4), np.full((3, 1, 4, 4), 2.0, np.float32), r"here: .*\[0, 1\].*2"),
        (Image(1, 4), np.zeros((3, 1, 4, 4), np.int64), r"here: .*int64"),
        (Landmarks(68), np.zeros((3, 67, 2), np.float32), r"here: expected 68 points.*\(67, 2\)"),
        (Landmarks(68), np.zeros((3, 68, 2), np.int64), r"here: .*floats.*int64"),
        (Landmarks(2, eyes=None), np.full((3, 2, 2), 1.5, np.float32), r"here: .*\[0, 1\].*3 of 3.*sample 0"),
        (Landmarks(2, eyes=None), np.full((3, 2, 2), np.nan, np.float32), r"here: .*\[0, 1\]"),
        (Landmarks(68), np.full((3, 68, 2), 0.5, np.float32), r"here: the errors of sample 0 have no unit.*36 and 45"),
    ],
)
def test_unexpected_values_are_refused_by_name(domain: Domain, array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        domain.check(array, "here")


STREETS = LabelColours(3, 32, palette=CITYSCAPES)


def scores(domain: Domain, prediction: Tensor, truth: Tensor) -> list[float]:
    found = []
    for metric in domain.metrics():
        metric.update(*domain.comparable(prediction, truth), torch.arange(len(truth)))
        found.append(metric.compute().item())
    return found


@pytest.mark.parametrize("palette", [CITYSCAPES, FACADES])
def test_exact_palettes_score_one_and_survive_the_way_through_a_network(palette: Palette) -> None:
    domain = LabelColours(3, 32, palette=palette, signed=True)
    truth = torch.arange(32 * 32).remainder(len(palette)).reshape(1, 32, 32)
    view = domain.from_labels(truth)
    assert torch.equal(domain.to_labels(view), truth)
    assert scores(domain, view, view) == [1, 1, 1]
    output = torch.atanh(domain.to_input(view).clamp(-0.9999, 0.9999))
    assert scores(domain, domain.decide(output), view) == [1, 1, 1]
    noisy = view + (torch.rand(view.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * 10 / 255
    assert scores(domain, noisy, view) == [1, 1, 1], "closest two colours of Cityscapes are 20 apart"


def test_void_is_black_to_networks_never_predicted_and_never_truck() -> None:
    truth = torch.full((1, 32, 32), 255)
    truth[:, :16] = 0
    view = STREETS.from_labels(truth)
    assert (view[:, :, 16:] == 0).all()
    assert torch.equal(STREETS.to_labels(view), truth)
    predicted, true = STREETS.comparable(view, view)
    assert CITYSCAPES.names[int(predicted[0, -1, -1])] == "truck", "black lies nearest to it"
    assert true[0, -1, -1] == 255
    assert scores(STREETS, view, view)[0] == 1, "so that black pixels are not counted rather than trucks"


def test_label_colours_are_compared_at_the_truths_resolution() -> None:
    low = torch.arange(32 * 32).reshape(1, 32, 32).div(512, rounding_mode="floor")
    full = low.repeat_interleave(2, 1).repeat_interleave(4, 2).to(torch.uint8)
    predicted, truth = STREETS.comparable(STREETS.from_labels(low), full)
    assert predicted.shape == truth.shape == (1, 64, 128)
    upsampled = torch.nn.functional.interpolate(STREETS.from_labels(low), (64, 128), mode="bilinear")
    distance = (upsampled * 255 - torch.tensor(CITYSCAPES.colours)[:, :, None, None].float()).square().sum(1)
    assert torch.equal(predicted[0].long(), distance.argmin(0))


def test_the_constant_of_label_colours_is_each_pixels_most_frequent_class() -> None:
    labels = torch.zeros(5, 32, 32, dtype=torch.long)
    labels[:3, 0, 0] = 7
    labels[:, 1, 1] = 255
    labels[4, 1, 1] = 2
    stored = (STREETS.from_labels(labels) * 255).round().to(torch.uint8)
    constant = STREETS.to_labels(STREETS.constant(stored))
    assert constant[0, 0, 0] == 7
    assert constant[0, 1, 1] == 2, "void counts for nothing"
    assert constant[0, 5:].eq(0).all()


def test_a_colour_that_is_not_in_the_palette_is_named() -> None:
    stored = CITYSCAPES.encode(np.zeros((3, 32, 32), np.uint8))
    stored[2, :, 4, 4] = (1, 2, 69)
    with pytest.raises(UserError, match=r"sample 2 holds the colour \(1, 2, 69\).*nearest: truck"):
        STREETS.check(stored, "dataset streets, view y")


def test_a_maps_constant_is_the_frequent_colour_that_is_right_most_often() -> None:
    domain = MapImage(3, 16)
    stored = torch.full((10, 3, 16, 16), 240, dtype=torch.uint8)
    stored[:7, 0, :8] = 100
    stored[:3, 2, 8:] = 30
    constant = domain.constant(stored)
    floor = ColourAccuracy().score(constant.expand(10, -1, -1, -1), domain.unpack(stored)).mean()
    assert floor.item() == pytest.approx(0.7)


def test_palettes_are_read_from_files_and_mistakes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("name,r,g,b\n# ground\nroad,10,20,30\nlight pole,1,2,3\nvoid,0,0,0\n")
    palette = read_palette(file)
    assert (palette.names, palette.colours) == (("road", "light pole"), ((10, 20, 30), (1, 2, 3)))
    assert palette.void == ((0, 0, 0),)
    for text, message in (
        ("road,1,2,3\ntree,1,2,3\n", r"line 2.*named twice"),
        ("road,1,2,3\ntree,1,2,300\n", "line 2: expected name,r,g,b"),
        ("road,1,2,3\n", "found 1"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_palette(file)
    with pytest.raises(UserError, match="cannot be read as a palette"):
        read_palette(tmp_path / "none.csv")


def test_categories_by_hand() -> None:
    domain = Category(("cat", "dog", "owl"))
    view, output = torch.tensor([0, 2, 2, 1]), torch.randn(4, 3)
    by_hand = -torch.log_softmax(output, 1)[torch.arange(4), view].mean()
    assert torch.allclose(domain.loss(output, view), by_hand)
    assert domain.constant(view).tolist() == [2]
    (accuracy,) = domain.metrics()
    accuracy.update(torch.tensor([0, 2, 1, 1]), view, torch.arange(4))
    assert accuracy.compute() == 0.75
    assert accuracy.per_sample()[1] == [1, 1, 0, 1]
    assert accuracy.confusion() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]], "the third is an owl that is called a dog"
    accuracy.update(torch.tensor([0]), torch.tensor([1]), torch.tensor([4]))
    assert accuracy.confusion() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    accuracy.reset()
    assert not np.any(accuracy.confusion())
    drawn = domain.overlay(torch.tensor([0, 1]), np.zeros((2, 8, 8, 3), np.uint8), torch.tensor([0, 2]))
    assert np.ptp(drawn[0].astype(int), axis=2).max() == 0, "a right answer is grey"
    assert np.ptp(drawn[1].astype(int), axis=2).max() > 100, "a wrong one is red"
    for wrong, why in ((np.array([0, 3]), r"sample 1 with 3"), (np.array([0.5]), "one integer a sample")):
        with pytest.raises(UserError, match=why):
            domain.check(wrong, "here")


# Void, background, names


def test_masks_at_their_defaults_are_called_as_ever() -> None:
    assert repr(Mask(4, 8)) == "Mask(classes=4, size=8)" == repr(Mask(4, 8, detailed=True, dice=True, pooled=True))
    assert repr(Mask(2, 8, void=True, background=None, names=("a", "b"))) == (
        "Mask(classes=2, size=8, void=True, background=None, names=('a', 'b'))"
    )
    assert repr(Landmarks(68)) == "Landmarks(points=68, eyes='outer')"
    assert repr(Landmarks(5, (0, 1), proportions=True)) == "Landmarks(points=5, eyes=(0, 1), proportions=True)"


@pytest.mark.parametrize("classes", [2, 4])
def test_void_pixels_teach_nothing(classes: int) -> None:
    domain = Mask(classes, 8, void=True)
    view = torch.randint(0, classes, (3, 8, 8))
    output = torch.randn(3, *domain.shape, requires_grad=True)
    assert torch.allclose(domain.loss(output, view), Mask(classes, 8).loss(output, view))
    view[:, :4] = 255
    domain.check(view.numpy().astype(np.uint8), "here")
    domain.loss(output, view).backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert (output.grad[:, :, :4] == 0).all()
    assert (output.grad[:, :, 4:] != 0).any()
    fed = domain.to_input(view)
    assert (fed[:, :, :4] == 1 / classes).all()
    made = torch.rand_like(fed)
    assert torch.allclose(domain.l1(made, fed), (made - fed)[:, :, 4:].abs().mean())
    assert torch.equal(domain.veil(made, fed)[:, :, :4], fed[:, :, :4])
    assert torch.equal(domain.veil(made, fed)[:, :, 4:], made[:, :, 4:])
    assert domain.loss(output, torch.full_like(view, 255)) == 0
    assert domain.constant(domain.views(view.numpy().astype(np.uint8))).max() < classes


def test_backgrounds_other_than_the_first_class() -> None:
    truth, predicted = torch.tensor([[[0, 1, 2, 2]]]), torch.tensor([[[0, 1, 1, 2]]])
    scores = {}
    for background in (0, 2, None):
        metric = Mask(3, 8, background=background).metrics()[0]
        metric.update(predicted, truth, torch.arange(1))
        scores[background] = metric.compute().item()
    assert scores == pytest.approx({0: (1 / 2 + 1 / 2) / 2, 2: (1 + 1 / 2) / 2, None: (1 + 1 / 2 + 1 / 2) / 3})


def test_class_colours_differ_and_have_a_legend() -> None:
    domain = Mask(40, 8, void=True)
    legend = domain.legend()
    assert len({colour for _, colour in legend}) == len(legend) == 41
    assert legend[1] == ("class 1", (230, 159, 0)), "the first colours stay"
    assert (domain.draw(torch.full((1, 8, 8), 255)) == legend[-1][1]).all()
    assert Image(1, 8).legend() == []


@pytest.mark.parametrize("void", [False, True])
def test_the_constant_of_masks_scored_per_unit_is_best_over_all_of_them_together(void: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    chance = torch.linspace(0, 0.9, 64).reshape(8, 8)
    views = (torch.rand(60, 8, 8, generator=generator) < chance).to(torch.uint8)
    views[::2] = 0  # half of the slices are empty, which the mean over slices leaves out
    if void:
        views[:, 0] = 255
    domain = Mask(2, 8, void=void, dice=True, per_unit=True)
    found = domain.constant(views).bool()
    present, counted = views == 1, views != 255

    def dice(mask: torch.Tensor) -> float:
        said = mask.expand_as(present) & counted
        return float(2 * (said & present).sum() / (said.sum() + present.sum()))

    frequency = present.float().mean(0)
    best = max(dice((frequency >= level)[None]) for level in frequency.unique() if level > 0)
    assert dice(found) == pytest.approx(best, abs=0.01)
    assert dice(found) > dice(Mask(2, 8, void=void, dice=True).constant(views).bool()) - 1e-6
    assert repr(domain) == repr(Mask(2, 8, void=void))
