"""U-Net and FCN-8s: losses by independent formulas, void, what is learnt, forms of predictions, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import lightning as L  # noqa: N812
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Arrays, Dataset
from lsmbench.data.module import Batch
from lsmbench.domains import Domain, Image, LabelColours, Landmarks, MapImage, Mask
from lsmbench.errors import UserError
from lsmbench.methods import fcn8s as fcn8s_method
from lsmbench.methods.fcn8s import FCN8s
from lsmbench.methods.segmentation import SegmentationMethod, cross_entropy, soft_dice
from lsmbench.methods.unet import UNet
from lsmbench.networks.fcn8s import FCN8s as FCN8sNetwork
from lsmbench.palettes import CITYSCAPES, FACADES
from tests.conftest import loader

COLOURS = LabelColours(3, 32, palette=FACADES)
TARGETS: list[Domain] = [Mask(2, 32), Mask(4, 32), COLOURS, Image(1, 32), MapImage(3, 32, signed=True)]
SEGMENTERS: list[type[SegmentationMethod]] = [UNet, FCN8s]


def made(kind: type[SegmentationMethod], source: Domain, target: Domain, **options: Any) -> SegmentationMethod:
    torch.manual_seed(0)
    return kind({"x": source, "y": target}, kind.Config(**{"network": "tiny", **options}))  # type: ignore[arg-type]


def views(domain: Domain, count: int) -> Tensor:
    if domain.label_count:
        return domain.from_labels(torch.randint(0, domain.label_count, (count, *domain.shape[1:])))
    return torch.rand(count, *domain.shape)


def pairs(source: Domain, target: Domain, count: int = 2) -> Batch:
    torch.manual_seed(1)
    return {("x", "y"): {"x": views(source, count), "y": views(target, count)}}


def total(method: SegmentationMethod, batch: Batch) -> Tensor:
    terms = method.losses_segmenter(method.prepare(batch))
    return torch.stack([method.weight(name) * term() for name, term in terms.items()]).sum()


def fit(method: SegmentationMethod, batches: list[Batch]) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    L.Trainer(accelerator="cpu", max_epochs=1, **quiet).fit(method, loader(batches))  # type: ignore[arg-type]


# Losses ---------------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_the_mean_over_the_counted_pixels() -> None:
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = labels[1, 3, 4] = 255
    expected = []
    for b, i, j in np.ndindex(2, 4, 5):
        if labels[b, i, j] != 255:
            z = logits[b, :, i, j].double()
            expected.append(math.log(z.exp().sum()) - z[labels[b, i, j]].item())
    assert len(expected) == 29
    assert cross_entropy(logits, labels).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_dice_is_the_mean_over_the_classes_that_occur() -> None:
    logits, labels = torch.randn(2, 4, 6, 6), torch.randint(0, 3, (2, 6, 6))  # class 3 does not occur
    labels[0, :2] = 255
    p = (logits.double().exp() / logits.double().exp().sum(1, keepdim=True)).movedim(1, -1)[labels != 255]
    t = labels[labels != 255]
    expected = [1 - 2 * p[t == c, c].sum() / (p[:, c].sum() + (t == c).sum()) for c in range(3)]
    assert soft_dice(logits, labels).item() == pytest.approx(float(sum(expected) / 3), rel=1e-5)


def test_dice_is_0_for_a_perfect_and_1_for_an_opposite_prediction() -> None:
    labels = torch.tensor([[[0, 0, 1], [1, 1, 255]]])
    right = torch.stack([labels == 0, labels == 1], 1) * 200.0
    assert soft_dice(right, labels).item() == pytest.approx(0, abs=1e-6)
    assert soft_dice(-right, labels).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice])
def test_losses_of_two_processes_are_that_of_the_whole_batch_also_when_they_count_other_numbers_of_pixels(
    loss: Callable[..., Tensor],
) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 3, 5, 5), torch.randint(3, (4, 5, 5))
    labels[:2, :4] = 255
    parts: list[list[Tensor]] = [[], []]
    for mine, process in zip(parts, (0, 1), strict=True):
        loss(logits[process::2], labels[process::2], lambda part, mine=mine: mine.append(part) or part)
    whole = loss(logits, labels).item()
    for process in (0, 1):
        sums = iter([first + second for first, second in zip(*parts, strict=True)])
        found = loss(logits[process::2], labels[process::2], lambda part, sums=sums: next(sums))
        assert found.item() == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice])
def test_void_pixels_count_nowhere(loss: Any) -> None:
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    labels[:, :3] = 255
    other = logits.clone()
    other[:, :, :3] += torch.randn(2, 3, 3, 8)
    assert loss(logits, labels) == loss(other, labels)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    assert not gradient[:, :, :3].any()
    assert gradient[:, :, 3:].all()
    nowhere = loss(logits, torch.full_like(labels, 255))
    (gradient,) = torch.autograd.grad(nowhere, logits)
    assert nowhere == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_a_method_takes_voids_colour_for_no_class(kind: type[SegmentationMethod]) -> None:
    cityscapes = LabelColours(3, 32, palette=CITYSCAPES)
    method = made(kind, Image(3, 32), cityscapes)
    batch = pairs(Image(3, 32), cityscapes)
    nn.init.normal_(method.segmenter.head.weight if kind is UNet else method.segmenter.score_pool3.weight)
    some = total(method, batch)
    batch["x", "y"]["y"][:] = 0  # black is void
    void = total(method, batch)
    assert some > 0.1
    assert void == 0
    void.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", SEGMENTERS)
@pytest.mark.parametrize("target", [Image(1, 32), MapImage(3, 32, signed=True)])
def test_images_are_learnt_by_their_own_loss(kind: type[SegmentationMethod], target: Domain) -> None:
    method = made(kind, Image(3, 32), target)
    batch = pairs(Image(3, 32), target)
    prepared = method.prepare(batch)
    terms = method.losses_segmenter(prepared)
    assert [term for term in terms if method.weight(term)] == ["xy"]
    assert torch.equal(terms["xy"](), target.loss(prepared["output"], batch["x", "y"]["y"]))


def test_the_dice_loss_is_for_classes_and_can_be_switched_off() -> None:
    batch = pairs(Image(3, 32), COLOURS)
    method = made(UNet, Image(3, 32), COLOURS)
    prepared = method.prepare(batch)
    terms = {name: term() for name, term in method.losses_segmenter(prepared).items()}
    labels = COLOURS.to_labels(batch["x", "y"]["y"])
    assert torch.equal(terms["xy"], cross_entropy(prepared["output"], labels))
    assert torch.equal(terms["dice"], soft_dice(prepared["output"], labels))
    assert method.remarks == []
    assert made(UNet, Image(3, 32), COLOURS, w_dice=0).weight("dice") == 0
    assert made(UNet, Image(3, 32), Image(1, 32)).remarks == ["w_dice does not apply: y is an image without classes"]
    assert made(FCN8s, Image(3, 32), COLOURS).weight("dice") == 0


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_a_batch_without_pairs_gives_zero_and_touches_all_parameters(kind: type[SegmentationMethod]) -> None:
    method = made(kind, Image(3, 32), COLOURS)
    assert method.uses == (("x", "y"),)
    nothing = total(method, {("x",): {"x": torch.rand(2, 3, 32, 32)}})
    nothing.backward()
    assert nothing == 0
    assert all(p.grad is not None and not p.grad.any() for p in method.segmenter.parameters())


# Training -------------------------------------------------------------------------------------------------------------


def learnable(block: int) -> Batch:
    """Two photos of coloured blocks of a side in pixels, and the blocks' classes."""
    torch.manual_seed(2)
    classes = 3 * torch.randint(0, 4, (2, 32 // block, 32 // block))
    labels = classes.repeat_interleave(block, 1).repeat_interleave(block, 2)
    y = COLOURS.from_labels(labels)
    return {("x", "y"): {"x": 0.6 * y.flip(1) + 0.2 + 0.02 * torch.randn_like(y), "y": y}}


def accuracy(method: SegmentationMethod, batch: Batch) -> float:
    method.eval()
    with torch.no_grad():
        predicted = method.predict(batch["x", "y"], "x", "y")
    method.train()
    return (COLOURS.to_labels(predicted) == COLOURS.to_labels(batch["x", "y"]["y"])).float().mean().item()


@pytest.mark.parametrize("w_dice", [0.0, 1.0])
def test_the_unet_learns_two_samples(w_dice: float) -> None:
    method = made(UNet, Image(3, 32), COLOURS, learning_rate=1e-2, w_dice=w_dice)
    batch = learnable(8)
    assert accuracy(method, batch) < 0.5
    fit(method, [batch] * 40)
    assert accuracy(method, batch) > 0.95


def test_fcn8s_learns_two_samples() -> None:
    options = {"optimizer": "adam", "learning_rate": 1e-3, "beta1": 0.9, "weight_decay": 0.0}
    method = made(FCN8s, Image(3, 32), COLOURS, **options)
    batch = learnable(16)  # its finest scores are of 8 px
    assert accuracy(method, batch) < 0.5
    fit(method, [batch] * 42)
    assert accuracy(method, batch) > 0.95


def test_the_optimisers_are_those_of_the_published_comparators() -> None:
    method = made(FCN8s, Image(3, 32), COLOURS)
    (sgd,) = method.configure_optimizers()
    assert isinstance(sgd, torch.optim.SGD)
    assert {k: sgd.defaults[k] for k in ("lr", "momentum", "weight_decay")} == {
        "lr": 1e-4, "momentum": 0.95, "weight_decay": 5e-4,
    }  # fmt: skip
    (adam,) = made(UNet, Image(3, 32), COLOURS).configure_optimizers()
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["lr"] == 2.5e-4


# Predictions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SEGMENTERS)
@pytest.mark.parametrize("target", TARGETS, ids=lambda d: f"{d.kind}{d.shape[0]}")
@pytest.mark.parametrize("source", [Image(1, 32), Mask(3, 32), COLOURS], ids=lambda d: d.kind)
def test_a_prediction_has_the_targets_form(kind: type[SegmentationMethod], source: Domain, target: Domain) -> None:
    method = made(kind, source, target).eval()
    batch = pairs(source, target)["x", "y"]
    with torch.no_grad():
        predicted = method.predict(batch, "x", "y")
        output = method.translate(batch["x"], "x", "y")
    assert predicted.shape == batch["y"].shape
    assert predicted.dtype == batch["y"].dtype
    assert output.shape == (2, target.label_count or target.shape[0], 32, 32)
    if target.label_count:
        assert torch.equal(target.to_labels(predicted), output.argmax(1))
    else:
        assert predicted.min() >= 0
        assert predicted.max() <= 1


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_sides_of_64_work_as_well(kind: type[SegmentationMethod]) -> None:
    source, target = Image(3, 64), Mask(3, 64)
    method = made(kind, source, target)
    fit(method, [pairs(source, target, count=1)])
    assert method.predict(pairs(source, target)["x", "y"], "x", "y").shape == (2, 64, 64)


def test_fcn8s_normalises_images_and_nothing_else() -> None:
    photo = torch.rand(2, 3, 32, 32)
    expected = (photo - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    for domain in (Image(3, 32), Image(3, 32, signed=True), COLOURS):
        torch.testing.assert_close(made(FCN8s, domain, COLOURS).feed(photo), expected)
    grey = made(FCN8s, Image(1, 32), COLOURS)
    assert grey.segmenter.blocks[0][0].in_channels == 1
    torch.testing.assert_close(grey.feed(photo[:, :1]), (photo[:, :1] - 0.449) / 0.226)
    mask = torch.randint(0, 3, (2, 32, 32))
    assert torch.equal(made(FCN8s, Mask(3, 32), COLOURS).feed(mask), Mask(3, 32).to_input(mask))
    many = torch.rand(2, 5, 32, 32)
    assert torch.equal(made(FCN8s, Image(5, 32), COLOURS).feed(many), many)


# What is refused ------------------------------------------------------------------------------------------------------


@dataclass
class Given(Dataset):
    """A dataset of given domains, without samples."""

    name: ClassVar[str] = "given"
    x: Domain = Image(3, 32)  # noqa: RUF009 (frozen)
    y: Domain = Mask(2, 32)  # noqa: RUF009

    @property
    def domains(self) -> dict[str, Domain]:
        return {"x": self.x, "y": self.y}

    @classmethod
    def example(cls, folder: Any) -> Given:
        return cls()

    def load(self) -> Arrays:
        return {}


@pytest.mark.parametrize(
    ("kind", "x", "y", "reason"),
    [
        (UNet, Image(3, 32), Mask(2, 32), ""),
        (UNet, Image(3, 48), COLOURS, "needs source and target of one size, and they have 48×48 and 32×32 px"),
        (UNet, Image(3, 40), Mask(2, 40), "needs sides that are multiples of 16 px from 32 px, and the views have 40"),
        (UNet, Image(3, 16), Mask(2, 16), "needs sides that are multiples of 16 px from 32 px, and the views have 16"),
        (UNet, Image(3, 48), Mask(2, 48), ""),
        (UNet, Image(3, 32), Landmarks(68), "translates maps to maps, and y is landmarks"),
        (FCN8s, Landmarks(68), Image(3, 32), "translates maps to maps, and x is landmarks"),
        (FCN8s, Image(3, 48), Mask(2, 48), "needs sides that are multiples of 32 px, and the views have 48 px"),
        (FCN8s, Mask(2, 64), Image(3, 64), ""),
    ],
)
def test_what_is_not_supported_is_said(kind: type[SegmentationMethod], x: Domain, y: Domain, reason: str) -> None:
    supported, said = kind.supports(Given(x=x, y=y), kind.Config())
    assert supported == (not reason)
    assert said.startswith(reason)


def test_imagenets_weights_need_the_papers_width_and_an_image() -> None:
    with pytest.raises(UserError, match="found tiny"):
        made(FCN8s, Image(3, 32), COLOURS, pretrained="imagenet")
    for source in (Mask(2, 32), Image(4, 32)):
        with pytest.raises(UserError, match=f"view x is {source.kind} of {source.shape[0]} channels"):
            made(FCN8s, source, COLOURS, pretrained="imagenet", network="paper")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pretrained_network_gets_three_channels_and_the_weights(
    monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    weights = FCN8sNetwork(3, 2, 2)
    nn.init.constant_(weights.blocks[0][0].bias, 3.0)
    monkeypatch.setattr(FCN8sNetwork, "transplant", lambda self, vgg16: self.load_state_dict(vgg16, strict=False))
    monkeypatch.setattr(fcn8s_method, "imagenet_vgg16", lambda: dict(weights.blocks.state_dict(prefix="blocks.")))
    monkeypatch.setitem(fcn8s_method.FILTERS, "paper", 2)
    method = made(FCN8s, Image(channels, 32), COLOURS, pretrained="imagenet", network="paper")
    assert (method.segmenter.blocks[0][0].bias == 3).all()
    assert method.saw.startswith("VGG-16 starts from imagenet (SHA-256 ")
    assert method.segmenter.blocks[0][0].in_channels == 3
    photo = torch.rand(2, channels, 32, 32)
    colour = made(FCN8s, Image(3, 32), COLOURS)
    torch.testing.assert_close(method.feed(photo), colour.feed(photo.expand(-1, 3, -1, -1)))
    method.eval()
    assert method.predict({"x": photo}, "x", "y").shape == (2, 3, 32, 32)
