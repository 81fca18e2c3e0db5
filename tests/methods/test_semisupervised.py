"""Methods that learn masks from pairs and photos: losses by independent formulas, who is taught by whom, ramps, EMA."""

from __future__ import annotations

import math
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.losses import pseudo_cross_entropy, ramp_up
from lsmbench.methods import METHODS
from lsmbench.methods.advssl import AdvSSL
from lsmbench.methods.base import Method
from lsmbench.methods.gct import blurred, flaws, spanned, taken
from lsmbench.methods.linear import Linear
from lsmbench.methods.mean_teacher import MeanTeacher
from lsmbench.methods.segmentation import class_weights, cross_entropy
from lsmbench.methods.unet import UNet
from tests.conftest import Make, loader
from tests.methods.test_contract import built
from tests.methods.test_segmentation import Given

PHOTO, MASK = Image(3, 32), Mask(3, 32)
NAMES = ("mean_teacher", "advssl", "gct", "cps", "fixmatch", "unimatch")


def made(name: str, target: Domain = MASK, source: Domain = PHOTO, **options: Any) -> Any:
    torch.manual_seed(0)
    kind = METHODS[name]
    return kind({"x": source, "y": target}, kind.Config(**{"network": "tiny", "segmenter": "unet", **options}))


def batch(count: int = 3, alone: int = 4, target: Domain = MASK) -> Batch:
    torch.manual_seed(1)
    pairs = {"x": torch.rand(count, 3, 32, 32), "y": target.from_labels(torch.randint(0, 3, (count, 32, 32)))}
    return {("x", "y"): pairs, ("x",): {"x": torch.rand(alone, 3, 32, 32)}}


def terms(method: Method, given: Batch, phase: str = "segmenter") -> dict[str, Tensor]:
    found = getattr(method, f"losses_{phase}")(method.prepare(given))
    return {name: term() for name, term in found.items() if method.weight(name)}


def fit(method: Method, batches: list[Batch], epochs: int = 1) -> L.Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=epochs, **quiet)  # type: ignore[arg-type]
    trainer.fit(method, loader(batches))
    return trainer


# Shared ---------------------------------------------------------------------------------------------------------------


def test_the_ramp_rises_from_e_to_the_minus_5_to_1() -> None:
    assert [ramp_up(t, 0.4) for t in (-1, 0, 0.2, 0.4, 1)] == pytest.approx(
        [math.exp(-5), math.exp(-5), math.exp(-1.25), 1, 1]
    )


def test_pseudo_labels_count_where_they_are_sure_and_the_mean_is_over_all_pixels() -> None:
    logits, labels, sure = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4)), torch.rand(2, 4, 4) > 0.5
    total = 0.0
    for b, i, j in np.ndindex(2, 4, 4):
        if sure[b, i, j]:
            z = logits[b, :, i, j].double()
            total += math.log(z.exp().sum()) - z[labels[b, i, j]].item()
    assert pseudo_cross_entropy(logits, labels, sure).item() == pytest.approx(total / 32, rel=1e-5)


def test_classes_are_weighted_by_their_inverse_frequency() -> None:
    weights = class_weights(torch.tensor([6.0, 3.0, 0.0]))
    assert weights.tolist() == pytest.approx([9 / (3 * 6), 9 / (3 * 3), 1])
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 2, (2, 4, 4))
    labels[0, 0] = 255
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255)
    assert cross_entropy(logits, labels, weights=weights).item() == pytest.approx(expected.item(), rel=1e-6)


def test_class_weights_are_of_the_visible_masks_alone(make: Make) -> None:
    method, data = built(make("unet", "sss", paired=50, class_weights="visible"))
    pairs = data.supervision.pairs
    counts = np.bincount(np.asarray(data.pools.take("y", pairs)).ravel(), minlength=4)
    method.learn(data)
    assert method.learnt["class_weights"].tolist() == pytest.approx((counts.sum() / (4 * counts)).tolist(), rel=1e-6)
    everything = np.bincount(np.asarray(data.pools.take("y", data.train)).ravel(), minlength=4)
    assert not np.allclose(counts / counts.sum(), everything / everything.sum())
    alone = UNet({"x": PHOTO, "y": MASK}, UNet.Config(network="tiny", class_weights="visible"))
    with pytest.raises(UserError, match=r"call method\.learn"):
        terms(alone, batch())


@pytest.mark.parametrize("name", NAMES)
def test_without_photos_only_the_pairs_teach(name: str) -> None:
    method = made(name)
    both, pairs = batch(), {("x", "y"): batch()["x", "y"]}
    supervised = terms(method, pairs)
    assert supervised["xy"] > 0
    assert set(supervised) == set(terms(method, both))
    for term in ("strong", "perturbed", "adv_photos", "semi", *(("cross",) if name == "cps" else ())):
        if term in supervised:
            assert supervised[term] == 0


@pytest.mark.parametrize("name", NAMES)
def test_photos_move_the_segmenter(name: str) -> None:
    method = made(name, **({"threshold": 0.0} if name in ("fixmatch", "unimatch") else {}))
    found = terms(method, {("x",): batch()["x",]})
    assert found["xy"] == 0
    sum(method.weight(t) * v for t, v in found.items()).backward()  # type: ignore[union-attr]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.segmenter.parameters())


@pytest.mark.parametrize("name", [*NAMES, "deeplabv2"])
def test_deeplabv2_is_the_papers_network(name: str) -> None:
    kind: Any = METHODS[name]
    method = kind({"x": PHOTO, "y": MASK}, kind.Config(network="tiny"))
    assert type(method.segmenter.decoder).__name__ == "AtrousPyramid"
    assert method.predict(batch()["x", "y"], "x", "y").shape == (3, 32, 32)


@pytest.mark.parametrize("name", [*NAMES])
def test_targets_without_classes_are_for_mean_teacher_alone(name: str) -> None:
    supported, reason = METHODS[name].supports(Given(y=Image(1, 32)), METHODS[name].Config(network="tiny"))
    assert supported == (name == "mean_teacher")
    assert supported or reason == "learns classes of pixels, and y is image without classes"


@pytest.mark.parametrize("name", ["fixmatch", "unimatch"])
def test_strong_views_are_of_photos(name: str) -> None:
    kind = METHODS[name]
    found = kind.supports(Given(x=Mask(2, 32)), kind.Config(network="tiny"))
    assert found == (False, "makes strong views of photos, and x is mask")
    assert made(name, source=Image(5, 32)).remarks == [
        "strong views of 5 channels are blurred alone, without changes of colour"
    ]
    assert made(name).remarks == []


# FixMatch and UniMatch ------------------------------------------------------------------------------------------------


def _still(method: Any, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Strong views are half as bright, and one box is the same everywhere."""
    inside = torch.zeros(4, 32, 32, dtype=torch.bool)
    inside[:, 4:20, 8:30] = True
    monkeypatch.setattr(method, "strong", lambda photos: photos / 2)
    monkeypatch.setattr(method, "boxes", lambda photos: inside[: len(photos)])
    return inside


def test_fixmatch_teaches_strong_views_what_is_sure_of_weak_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("fixmatch", threshold=0.4).eval()
    inside = _still(method, monkeypatch)
    given = batch()
    photos = given["x",]["x"]
    with torch.no_grad():
        weak = torch.softmax(method.segmenter(photos), 1)
        before = weak.roll(1, 0)
        mixed_photo = torch.where(inside[:, None], photos.roll(1, 0) / 2, photos / 2)
        said = torch.log_softmax(method.segmenter(mixed_photo), 1)
    target = torch.where(inside[:, None], before, weak)
    total, counted = 0.0, 0
    for b, i, j in np.ndindex(4, 32, 32):
        p, c = target[b, :, i, j].max(0)
        if p >= 0.4:
            counted += 1
            total -= said[b, c, i, j].item()
    assert 0 < counted < 4 * 32 * 32
    assert terms(method, given)["strong"].item() == pytest.approx(total / (4 * 32 * 32), rel=1e-4)


def test_the_weak_view_teaches_and_is_not_taught() -> None:
    for name, term in (("fixmatch", "strong"), ("unimatch", "perturbed")):
        method = made(name, threshold=0.0)
        views = method.prepare(batch())
        assert not views["said"].requires_grad
        assert method.losses_segmenter(views)[term]().requires_grad


def test_unimatch_decodes_maps_of_which_half_of_the_channels_are_dropped() -> None:
    method = made("unimatch", threshold=0.0)
    maps = torch.ones(64, 50, 2, 2)
    torch.manual_seed(0)
    dropped = method.dropped(maps)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.flatten(2).std(2).max() == 0  # whole channels
    assert 0.45 < (dropped == 0).float().mean() < 0.55
    assert len({tuple(row.tolist()) for row in dropped[:, :, 0, 0]}) == 64
    # Without dropping, what is decoded is the weak view itself.
    method.dropped = lambda maps: maps
    views = method.eval().prepare(batch())
    expected = F.cross_entropy(views["said"], views["said"].argmax(1))
    assert method.losses_segmenter(views)["perturbed"]().item() == pytest.approx(expected.item(), rel=1e-4)


def test_unimatch_weighs_its_terms_as_eq_8_does() -> None:
    method = made("unimatch")
    assert [method.weight(t) for t in ("xy", "strong", "perturbed")] == [1, 0.5, 0.5]


# Mean Teacher ---------------------------------------------------------------------------------------------------------


def test_the_teachers_average_follows_by_its_decay_and_predicts() -> None:
    method = made("mean_teacher", learning_rate=1e-2, ema=0.9, ema_ramp=0.6, ramp=0.5)
    student = [p.clone().double() for p in method.segmenter.parameters()]
    average = [p.clone() for p in student]
    seen: list[float] = []

    def follow() -> None:
        decay = min(1 - 1 / (len(seen) + 2), 0.6 if len(seen) + 1 < 4 else 0.9)
        seen.append(decay)
        for a, p in zip(average, method.segmenter.parameters(), strict=True):
            a.mul_(decay).add_((1 - decay) * p.detach().double())

    class Watch(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            follow()

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    L.Trainer(accelerator="cpu", max_epochs=2, callbacks=[Watch()], **quiet).fit(method, loader([batch()] * 4))  # type: ignore[arg-type]
    assert seen == pytest.approx([0.5, 0.6, 0.6, 0.8, 5 / 6, 6 / 7, 7 / 8, 8 / 9])
    for found, expected in zip(method.averages["segmenter"].module.parameters(), average, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
    x = batch()["x", "y"]["x"]
    method.eval()
    (teacher,) = method.averaged_networks("segmenter")
    predicted = method.predictions({"x": x, "index": torch.arange(3)}, "x", "y")
    assert torch.equal(predicted, teacher.eval()(x).argmax(1))


def test_no_gradient_reaches_the_teacher() -> None:
    method = made("mean_teacher")
    views = method.prepare(batch())
    assert not views["taught"].requires_grad
    assert not views["taught_alone"].requires_grad
    assert all(not p.requires_grad for p in method.averages.parameters())


@pytest.mark.parametrize("variant", ["paper", "pixelssl"])
def test_the_consistency_is_the_squared_difference_of_what_both_say(variant: str) -> None:
    method = made("mean_teacher", variant=variant, noise=0.0).eval()
    (teacher,) = method.averaged_networks("segmenter")
    for p in teacher.parameters():
        p.data.mul_(1.3)
    given = batch()
    x = torch.cat([given["x", "y"]["x"], given["x",]["x"]])
    with torch.no_grad():
        one, other = method.segmenter(x), teacher.eval()(x)
    if variant == "paper":
        one, other = one.softmax(1), other.softmax(1)
    expected = (one - other).square().mean()
    assert expected > 1e-5
    assert terms(method, given)["consistency"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_noise_differs_between_student_and_teacher_and_has_its_size() -> None:
    method = made("mean_teacher", noise=0.15)
    x = torch.zeros(50, 3, 32, 32)
    torch.manual_seed(3)
    first, second = method.feed(x), method.feed(x)
    assert first.std().item() == pytest.approx(0.15, rel=0.02)
    assert not torch.equal(first, second)
    assert torch.equal(made("mean_teacher", variant="pixelssl").feed(x), x)
    assert torch.equal(method.eval().feed(x), x)


@pytest.mark.parametrize("target", [Landmarks(68), Image(1, 32), Image(3, 16)])
def test_mean_teacher_translates_to_landmarks_and_images(target: Domain) -> None:
    method = MeanTeacher({"x": PHOTO, "y": target}, MeanTeacher.Config(network="tiny", segmenter="unet", noise=0.0))
    y = torch.rand(2, 68, 2) if isinstance(target, Landmarks) else torch.rand(2, *target.shape)
    given: Batch = {("x", "y"): {"x": torch.rand(2, 3, 32, 32), "y": y}, ("x",): {"x": torch.rand(2, 3, 32, 32)}}
    found = terms(method, given)
    views = method.prepare(given)
    assert found["xy"].item() == pytest.approx(target.loss(views["output"], y).item(), rel=1e-5)
    assert list(found) == ["xy", "consistency"]
    assert method.predict(given["x", "y"], "x", "y").shape == y.shape
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in method.segmenter.parameters())


# AdvSSL ---------------------------------------------------------------------------------------------------------------


def test_advssl_by_its_equations() -> None:
    method = made("advssl").eval()
    given = batch()
    x, y, u = given["x", "y"]["x"], given["x", "y"]["y"], given["x",]["x"]
    y[0, :5] = 255
    with torch.no_grad():
        p, q = method.segmenter(x).softmax(1), method.segmenter(u).softmax(1)
        judge = method.discriminator
        sure = judge(q)[:, 0].sigmoid() > 0.2
        counted = y != 255
        mask = F.one_hot(y.where(counted, 0), 3).movedim(-1, 1).float() * counted[:, None]
        expected = {
            "adv": -judge(p).sigmoid().log().mean(),
            "adv_photos": -judge(q).sigmoid().log().mean(),
            "semi": -(q.max(1).values.log() * sure).mean(),
        }
        true = -judge(mask)[:, 0].sigmoid().log()[counted].mean()
        predicted = -(1 - judge(p * counted[:, None])[:, 0].sigmoid()).log()[counted].mean()
    found = terms(method, given)
    assert {k: found[k].item() for k in expected} == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)
    judged = terms(method, given, "discriminator")
    assert judged["true"].item() == pytest.approx(true.item(), rel=1e-4)
    assert judged["predicted"].item() == pytest.approx(predicted.item(), rel=1e-4)
    assert [method.weight(t) for t in ("xy", "adv", "adv_photos", "semi")] == [1, 0.01, 0.001, 0.1]
    assert made("advssl", variant="pixelssl").weight("semi") == 0


def test_photos_without_a_mask_teach_the_discriminator_nothing() -> None:
    method = made("advssl")
    one, other = batch(), batch()
    other["x",]["x"] = torch.rand(4, 3, 32, 32)
    views, changed = method.eval().prepare(one), method.prepare(other)
    for name in ("true", "predicted"):
        assert torch.equal(method.losses_discriminator(views)[name](), method.losses_discriminator(changed)[name]())
    alone = terms(method, {("x",): one["x",]}, "discriminator")
    assert all(v == 0 for v in alone.values())
    loss = method.losses_discriminator(views)["predicted"]()
    (gradient,) = torch.autograd.grad(loss, views["output"], allow_unused=True)
    assert gradient is None


def test_trusted_predictions_teach_after_their_share_of_the_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("advssl", semi_after=0.25)
    for progress, there in ((0.0, False), (0.24, False), (0.25, True), (1.0, True)):
        monkeypatch.setattr(AdvSSL, "progress", progress)
        assert bool(terms(method, batch())["semi"] > 0) == there


# CPS ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cutmix", [False, True])
def test_each_network_of_cps_is_taught_by_the_others_classes(cutmix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("cps", cutmix=cutmix).eval()
    inside = _still(method, monkeypatch)
    given = batch()
    x, u = given["x", "y"]["x"], given["x",]["x"]
    with torch.no_grad():
        if cutmix:
            first, second = method.segmenter(u).argmax(1), method.second(u).argmax(1)
            first, second = (torch.where(inside, c.roll(1, 0), c) for c in (first, second))
            shown = torch.where(inside[:, None], u.roll(1, 0), u)
        else:
            shown = torch.cat([x, u])
            first, second = method.segmenter(shown).argmax(1), method.second(shown).argmax(1)
        one, two = method.segmenter(shown).log_softmax(1), method.second(shown).log_softmax(1)
        expected = -(one.gather(1, second[:, None]).mean() + two.gather(1, first[:, None]).mean())
        supervised = F.cross_entropy(method.segmenter(x), given["x", "y"]["y"])
        supervised += F.cross_entropy(method.second(x), given["x", "y"]["y"])
    found = terms(method, given)
    assert found["cross"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert found["xy"].item() == pytest.approx(supervised.item(), rel=1e-4)
    assert method.weight("cross") == 1.5


@pytest.mark.parametrize("name", ["cps", "gct"])
def test_two_networks_start_apart_and_the_first_predicts(name: str) -> None:
    method = made(name).eval()
    first, second = list(method.segmenter.parameters()), list(method.second.parameters())
    assert [p.shape for p in first] == [p.shape for p in second]
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True) if a.ndim > 1)
    x = batch()["x", "y"]
    assert torch.equal(method.predict(x, "x", "y"), method.segmenter(x["x"]).argmax(1))


# GCT ------------------------------------------------------------------------------------------------------------------


def test_a_flaw_is_where_the_prediction_is_wrong() -> None:
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    right = F.one_hot(labels, 3).movedim(-1, 1).float()
    wrong = right.clone()
    wrong[0, :, 4:8, 4:8] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    found = flaws(wrong, labels)
    assert found.shape == (2, 1, 32, 32)
    assert found[0].max() == pytest.approx(1)
    assert found[0].min() == pytest.approx(0)
    assert found[0, 0, 4:8, 4:8].min() > found[0, 0, 20:].max()
    assert not found[1].any()
    # |p − t| by hand: half of the sum over classes is 1 where all is wrong.
    size, width = 5, 0.3 * ((5 - 1) * 0.5 - 1) + 0.8
    error = torch.zeros(2, 1, 32, 32)
    error[0, 0, 4:8, 4:8] = 1
    once = F.max_pool2d(F.pad(_gauss(error, size, width), (1, 1, 1, 1), mode="reflect"), 3, 1)
    size, width = 9, 0.3 * ((9 - 1) * 0.5 - 1) + 0.8
    twice = _gauss(once, size, width)
    expected = (twice[0] - twice[0].min()) / (twice[0].max() - twice[0].min())
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=0)
    labels[0, 4:8, 4:8] = 255
    assert not flaws(wrong, labels).any()


def _gauss(maps: Tensor, size: int, width: float) -> Tensor:
    offsets = torch.arange(size) - size // 2
    line = torch.exp(-0.5 * (offsets / width) ** 2)
    kernel = torch.outer(line, line)
    padded = F.pad(maps, (size // 2,) * 4, mode="reflect")
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])


def test_detected_flaws_are_spanned_and_bad_ones_are_1() -> None:
    maps = torch.rand(3, 1, 32, 32)
    maps[1] = 0.05  # nothing to speak of
    maps[2] -= 2.0
    found = taken(maps, 0.6)
    assert not found[1:].any()
    smooth = spanned(blurred(maps[:1], 1 / 16))
    assert torch.equal(found[:1] == 1, smooth > 0.6)
    torch.testing.assert_close(found[:1][smooth <= 0.6], smooth[smooth <= 0.6])


def test_gct_by_its_equations() -> None:
    method = made("gct").eval()
    nn.init.normal_(method.detector.layers[-1].weight, std=1.0)
    given = batch()
    x, y, u = given["x", "y"]["x"], given["x", "y"]["y"], given["x",]["x"]
    both = torch.cat([x, u])
    with torch.no_grad():
        p, q = method.segmenter(both).softmax(1), method.second(both).softmax(1)
        f, g = method.detector(both, p), method.detector(both, q)
        a, b = taken(f, 0.6), taken(g, 0.6)
        apart = (p - q).square()
        # The worse one comes closer to the better one; where both are as bad, neither moves.
        worse_p, worse_q = (a > b).expand_as(p), (b > a).expand_as(p)
        consistency = (apart * worse_p).mean() + (apart * worse_q).mean()
        bad = (a >= 1) & (b >= 1)
        correction = (f.square() * bad).mean() + (g.square() * bad).mean()
        detector = [(method.detector(x, one) - flaws(one, y)).square().mean() for one in (p[: len(x)], q[: len(x)])]
    assert worse_p.any()
    assert worse_q.any()
    assert bad.any()
    found = terms(method, given)
    assert found["consistency"].item() == pytest.approx(consistency.item(), rel=1e-4)
    assert found["correction"].item() == pytest.approx(correction.item(), rel=1e-4)
    assert terms(method, given, "detector")["flaws"].item() == pytest.approx(sum(detector).item() / 2, rel=1e-4)
    assert [method.weight(t) for t in ("consistency", "correction", "flaws")] == [100, 1, 10]


def test_the_better_prediction_is_not_moved_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("gct").eval()
    views = method.prepare(batch())
    nn.init.normal_(method.detector.layers[-1].weight, std=1.0)
    loss = method.losses_segmenter(views)["consistency"]()
    first, second = torch.autograd.grad(loss, [views["said"], views["said2"]])
    moved = first.abs().sum(1) > 0, second.abs().sum(1) > 0
    assert moved[0].any()
    assert moved[1].any()
    assert not (moved[0] & moved[1]).any()


# Encoders -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["resnet18", "vit_dinov2_s"])
@pytest.mark.parametrize("name", ["unet", "deeplabv2", "linear"])
def test_every_network_takes_any_encoder(name: str, word: str) -> None:
    if word.startswith("vit"):
        pytest.importorskip("timm")
    side = {"resnet18": 64, "vit_dinov2_s": 28}[word]
    kind: Any = METHODS[name]
    source, target = Image(1, side), Mask(3, side)
    config = kind.Config(network="tiny", encoder=word)
    assert kind.supports(Given(x=source, y=target), config) == (True, "")
    method = kind({"x": source, "y": target}, config)
    grey = torch.rand(2, 1, side, side)
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(method.feed(grey), (grey - mean[:, None, None]) / sd[:, None, None])
    given: Batch = {("x", "y"): {"x": grey, "y": torch.randint(0, 3, (2, side, side))}}
    total = sum(terms(method, given).values())
    total.backward()
    frozen = [p.grad is None for p in method.segmenter.encoder.parameters()]
    assert all(frozen) if name == "linear" else not any(frozen[:1])


@pytest.mark.parametrize(
    ("word", "side", "reason"),
    [
        ("vit_dinov2_s", 32, "needs sides that are multiples of 14 px from 28 px"),
        ("resnet18", 32, "needs sides that are multiples of 4 px from 64 px"),
    ],
)
def test_sides_that_an_encoder_cannot_take_are_said(word: str, side: int, reason: str) -> None:
    found = UNet.supports(Given(x=Image(3, side), y=Mask(2, side)), UNet.Config(encoder=word))
    assert found == (False, f"with encoder={word} {reason}, and the views have {side} px")


def test_what_pretrained_and_encoder_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match=r"method\.encoder=vgg: expected own or one of resnet18"):
        UNet.Config(encoder="vgg")
    with pytest.raises(UserError, match=r"method\.pretrained=coco: expected one of none, imagenet, lvd142m, or a file"):
        UNet.Config(pretrained="coco")
    with pytest.raises(UserError, match="the U-Net's own is none"):
        UNet({"x": PHOTO, "y": MASK}, UNet.Config(network="tiny", pretrained="mine.pt"))
    config = UNet.Config(network="tiny", encoder="resnet18", pretrained="mine.pt")
    with pytest.raises(UserError, match="learnt from photos; view x is mask of"):
        UNet({"x": Mask(3, 64), "y": Mask(3, 64)}, config)


def test_a_frozen_encoders_weights_change_the_score_and_are_told(make: Make, tmp_path: Any) -> None:
    """The path of `linear`: an encoder is trained for a few steps on other labels, saved, frozen and probed."""
    config = make("linear", "sss", paired=20, training={"epochs": 3, "steps_per_epoch": 10}, learning_rate=1e-2)
    teacher, data = built(make("deeplabv2", "sss", paired=100))
    half = teacher.segmenter.encoder
    fit(teacher, [*data.train_dataloader()] * 8)
    # The ResNet of stride 8 has the weights of that of stride 32.
    torch.save(half.state_dict(), tmp_path / "mine.pt")
    scores, methods = {}, {}
    for word in ("none", str(tmp_path / "mine.pt")):
        config.method.pretrained = word  # type: ignore[attr-defined]
        method, data = built(config)
        before = {k: v.clone() for k, v in method.segmenter.encoder.state_dict().items()}
        data.learner = method
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = L.Trainer(accelerator="cpu", max_epochs=3, **quiet)  # type: ignore[arg-type]
        trainer.fit(method, datamodule=data)
        changed = [k for k, v in method.segmenter.encoder.state_dict().items() if not torch.equal(before[k], v)]
        assert not changed
        trainer.test(method, datamodule=data, verbose=False)
        scores[word] = method.all_metrics()[0][1].compute().item()
        methods[word] = method
    first, second = scores.values()
    assert first != second
    assert methods["none"].saw == ""
    assert methods["none"].remarks == ["the encoder is frozen at random weights: freeze without pretrained"]
    assert methods[str(tmp_path / "mine.pt")].saw.startswith("encoder own starts from mine.pt (SHA-256 ")


def test_a_trained_method_is_made_again_without_the_file_of_its_first_weights(tmp_path: Any) -> None:
    first = Linear({"x": PHOTO, "y": MASK}, Linear.Config(network="tiny"))
    torch.save(first.segmenter.encoder.state_dict(), tmp_path / "mine.pt")
    config = Linear.Config(network="tiny", pretrained=str(tmp_path / "mine.pt"))
    told = Linear({"x": PHOTO, "y": MASK}, config)
    (tmp_path / "mine.pt").unlink()
    again = Linear({"x": PHOTO, "y": MASK}, config, fresh=False)
    again.load_state_dict(told.state_dict())
    x = batch()["x", "y"]
    assert torch.equal(again.eval().predict(x, "x", "y"), told.eval().predict(x, "x", "y"))
    with pytest.raises(UserError, match="no such file"):
        Linear({"x": PHOTO, "y": MASK}, config)
