"""Losses and gradient routes of the LSM family (methods' acceptance checks 4, 5 and 7)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from lsmbench.data.module import Batch
from lsmbench.datasets.digits import Digits
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.methods import IODA, LSM, SOP, Baseline, Method
from lsmbench.methods.latent import LatentConfig, LatentMethod, LatentViews
from lsmbench.methods.lsm import LSMConfig
from lsmbench.methods.phases import only
from lsmbench.methods.sop import SOPConfig
from lsmbench.networks.convnet import ConvEncoder
from lsmbench.networks.links import ResnetLink
from lsmbench.networks.mlp import VectorDiscriminator
from tests.conftest import loader

DOMAINS = {"x": Image(1, 32), "y": Mask(2, 32)}


def batch(pairs: int = 3, x_only: int = 2, y_only: int = 2, seed: int = 0, size: int = 32) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def x(n: int) -> Tensor:
        return torch.rand(n, 1, size, size, generator=g)

    def y(n: int) -> Tensor:
        return torch.randint(0, 2, (n, size, size), generator=g)

    groups: Batch = {}
    if pairs:
        groups["x", "y"] = {"x": x(pairs), "y": y(pairs)}
    if x_only:
        groups["x",] = {"x": x(x_only)}
    if y_only:
        groups["y",] = {"y": y(y_only)}
    return groups


def lsm(**options: Any) -> LSM:
    return LSM(DOMAINS, LSMConfig(network="tiny", **options))


def touched(method: nn.Module) -> set[str]:
    """Networks that hold a gradient other than zero."""
    names = (n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0)
    return {".".join(n.removeprefix("translator.").split(".")[:2]) for n in names}


def backward_of(method: LatentMethod, group: str, term: str, frozen: tuple[str, ...] = ()) -> set[str]:
    views = method.prepare(batch())
    for module in frozen:
        getattr(method, module).requires_grad_(False)
    getattr(method, f"losses_{group}")(views)[term]().backward()
    return touched(method)


X, Y, LXY, LYX = "encoders.x", "encoders.y", "links.xy", "links.yx"


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("xx", {X, "decoders.x"}),
        ("yy", {Y, "decoders.y"}),
        ("xy", {X, LXY, "decoders.y"}),
        ("yx", {Y, LYX, "decoders.x"}),
        ("distance", {X, Y, LXY, LYX}),
        ("confusion", {X, Y, LXY, LYX}),
    ],
)
def test_each_term_reaches_exactly_the_networks_of_its_equation(term: str, expected: set[str]) -> None:
    assert backward_of(lsm(), "mappers", term, frozen=("classifiers",)) == expected


@pytest.mark.parametrize("view", ["x", "y"])
def test_the_classifiers_loss_reaches_its_classifier_alone(view: str) -> None:
    assert backward_of(lsm(), "classifiers", f"classify_{view}") == {f"classifiers.{view}"}


@pytest.mark.parametrize(
    ("adversarial", "expected"),
    [
        ("confusion", {X, Y, LXY, LYX}),
        ("gradient_reversal", {X, Y, LXY, LYX}),
        ("non_saturating", {X, Y, LXY, LYX}),
        ("saturating", {X, Y, LXY, LYX}),
    ],
)
def test_adversarial_variants_never_touch_decoders_or_classifiers(adversarial: Any, expected: set[str]) -> None:
    assert backward_of(lsm(adversarial=adversarial), "mappers", "confusion", ("classifiers",)) == expected


def test_only_confusion_and_reversal_move_the_own_codes() -> None:
    for adversarial, moves in (("confusion", True), ("gradient_reversal", True), ("saturating", False)):
        method = lsm(adversarial=adversarial)
        views = method.prepare(batch())
        method.confusion(views, "x", "y").backward()
        assert (Y in touched(method)) == moves, adversarial


def test_terms_by_an_independent_formula() -> None:
    method, data = lsm(), batch()
    x = torch.cat([data["x", "y"]["x"], data["x",]["x"]])
    y = torch.cat([data["x", "y"]["y"], data["y",]["y"]])
    hot = y[:, None].float()
    cx, cy = method.translator.encoders["x"](x), method.translator.encoders["y"](hot)
    mxy, myx = method.translator.links["xy"](cx), method.translator.links["yx"](cy)

    def bce(logits: Tensor, t: float) -> Tensor:
        return (F.softplus(logits) - t * logits).mean()

    def judged(view: str, codes: Tensor) -> Tensor:
        return method.classifiers[view](codes)  # type: ignore[no-any-return]

    sigmoid = torch.sigmoid
    expected = {
        "xx": (sigmoid(method.translator.decoders["x"](cx)) - x).square().mean(),
        "yy": F.binary_cross_entropy(sigmoid(method.translator.decoders["y"](cy)), hot),
        "xy": F.binary_cross_entropy(sigmoid(method.translator.decoders["y"](mxy[:3])), hot[:3]),
        "yx": (sigmoid(method.translator.decoders["x"](myx[:3])) - x[:3]).square().mean(),
        "distance": (mxy[:3] - cy[:3]).abs().mean() + (myx[:3] - cx[:3]).abs().mean(),
        "confusion": sum(bce(judged(v, c), 0.5) for v, c in (("y", mxy), ("y", cy), ("x", myx), ("x", cx))),
        "classify_y": bce(judged("y", mxy), 0) + bce(judged("y", cy), 1),
        "classify_x": bce(judged("x", myx), 0) + bce(judged("x", cx), 1),
    }
    views = method.prepare(data)
    found = {**method.losses_mappers(views), **method.losses_classifiers(views)}
    assert found.keys() == expected.keys()
    for term, value in expected.items():
        assert found[term]().item() == pytest.approx(float(value), rel=1e-4), term


def test_the_adversarial_variants_by_an_independent_formula() -> None:
    reference = lsm()
    views = reference.prepare(batch())
    fake = reference.classifiers["y"](views.mapped("x", "y", pairs_only=False))
    real = reference.classifiers["y"](views.code("y"))
    expected = {
        "non_saturating": F.softplus(-fake).mean(),
        "saturating": -F.softplus(fake).mean(),
        "gradient_reversal": F.softplus(fake).mean() + F.softplus(-real).mean(),
    }
    for adversarial, value in expected.items():
        method = lsm(adversarial=adversarial)
        assert method.confusion(method.prepare(batch()), "x", "y").item() == pytest.approx(value.item(), rel=1e-4)


def test_gradient_reversal_ascends_what_the_classifier_descends() -> None:
    gradients = {}
    for adversarial in ("gradient_reversal", "confusion"):
        method = lsm(adversarial=adversarial)
        views = method.prepare(batch())
        if adversarial == "gradient_reversal":
            method.confusion(views, "x", "y").backward()
        else:  # eq. 8 without detaching: the gradient that is to be reversed
            fake = method.classifiers["y"](views.mapped("x", "y", pairs_only=False))
            real = method.classifiers["y"](views.code("y"))
            (F.softplus(fake).mean() + F.softplus(-real).mean()).backward()
        gradients[adversarial] = method.translator.links["xy"].get_parameter(
            next(iter(dict(method.translator.links["xy"].named_parameters())))
        )
    reversed_, plain = (gradients[k].grad for k in ("gradient_reversal", "confusion"))
    assert reversed_ is not None
    assert plain is not None
    assert torch.allclose(reversed_, -plain, rtol=1e-3, atol=1e-8)


def test_confusion_can_leave_pairs_out() -> None:
    whole = lsm().confusion(lsm().prepare(batch(pairs=0)), "x", "y")
    method = lsm(adv_on_pairs=False)
    unpaired = batch()
    alone: Batch = {("x",): unpaired["x",], ("y",): unpaired["y",]}
    assert method.confusion(method.prepare(unpaired), "x", "y").item() == pytest.approx(
        method.confusion(method.prepare(alone), "x", "y").item(), rel=1e-5
    )
    assert math.isfinite(whole.item())
    only_pairs: Batch = {("x", "y"): unpaired["x", "y"]}
    assert method.confusion(method.prepare(only_pairs), "x", "y").item() == 0.0


def steps(method: Method, batches: list[Batch]) -> dict[str, Tensor]:
    import lightning as L  # noqa: N812

    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, loader(batches))
    return method.state_dict()


def test_lsm_without_its_own_terms_is_sop_step_for_step() -> None:
    batches = [batch(seed=s) for s in range(4)]
    off = {"w_distance": 0.0, "w_confusion": 0.0, "w_yx": 0.0}
    sop = steps(SOP(DOMAINS, SOPConfig(network="tiny", learning_rate=1e-3)), batches)
    mine = steps(lsm(learning_rate=1e-3, **off), batches)
    untrained = SOP(DOMAINS, SOPConfig(network="tiny")).state_dict()
    assert any(not torch.equal(sop[k], untrained[k]) for k in sop)
    for name, value in sop.items():
        assert torch.equal(value, mine[name]), name


@pytest.mark.parametrize("ablated", [True, False])
def test_lsm_without_all_terms_but_supervision_is_the_baseline(ablated: bool) -> None:
    batches = [batch(seed=s) for s in range(4)]
    off = {f"w_{t}": 0.0 for t in ("xx", "yy", "yx", "distance", "confusion")}
    options: dict[str, Any] = {"ablation": "0000"} if ablated else off
    method = lsm(learning_rate=1e-3, w_xy=1.0, **options)
    assert method.uses == Baseline(DOMAINS, Baseline.Config(network="tiny")).uses
    baseline = steps(Baseline(DOMAINS, Baseline.Config(network="tiny", learning_rate=1e-3)), batches)
    mine = steps(method, batches)
    for name, value in baseline.items():
        assert torch.equal(value, mine[name]), name


@pytest.mark.parametrize(
    ("flags", "on"),
    [
        ("0000", {"xy"}),
        ("1000", {"xx", "xy", "yx"}),
        ("1100", {"xx", "yy", "xy", "yx"}),
        ("1110", {"xx", "yy", "xy", "yx", "distance"}),
        ("1111", {"xx", "yy", "xy", "yx", "distance", "confusion"}),
    ],
)
def test_ablation_flags_of_tables_5_to_7(flags: Any, on: set[str]) -> None:
    method = lsm(ablation=flags)
    assert {t for t in method.losses_mappers(method.prepare(batch())) if method.weight(t)} == on
    assert ("classifiers" in [phase.name for phase in method.stages[0].phases]) == (flags == "1111")


def test_ioda_fine_tunes_the_autoencoders_best_weights_with_a_new_link() -> None:
    method = IODA(DOMAINS, IODA.Config(network="tiny"))
    assert [s.name for s in method.stages] == ["pretrain_x", "pretrain_y", "translate"]
    moved = {s.name: {id(m) for p in s.phases for g in p.groups for m in method.modules_of(g)} for s in method.stages}
    made = method.translator
    assert moved["translate"] == {id(made.encoders["x"]), id(made.links["xy"]), id(made.decoders["y"])}
    assert id(made.links["xy"]) not in moved["pretrain_x"] | moved["pretrain_y"]


def flops_of(module: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *shape))
    return counter.get_total_flops()


def counted(method: LSM, data: Batch) -> int:
    with FlopCounterMode(display=False) as counter:
        views: LatentViews = method.prepare(data)
        for phase in method.stage.phases:
            with only(method.parameters_of(phase.groups), method.parameters()):
                terms = getattr(method, phase.terms_of)(views)
                sum(method.weight(t) * term() for t, term in terms.items()).backward()
    return counter.get_total_flops()


def test_no_work_is_thrown_away_in_a_step() -> None:
    """The count of a step is that of the networks that its losses need, as often as they need them.

    At paper size (64 filters, 128 px) the same batch counts 1,523 GFLOP; the authors' code counts 4,377.
    """
    domains = {"x": Image(1, 64), "y": Mask(2, 64)}
    method = LSM(domains, LSMConfig(network="small"))
    pairs, x_only, y_only = 5, 6, 5
    xs, ys, both = pairs + x_only, pairs + y_only, 2 * pairs + x_only + y_only
    code = (64, 16, 16)
    made = method.translator
    encoder, decoder = flops_of(made.encoders["x"], 1, 64, 64), flops_of(made.decoders["x"], *code)
    link, judge = flops_of(made.links["xy"], *code), flops_of(method.classifiers["x"], *code)
    trained = encoder * both + link * both + decoder * (xs + ys + 2 * pairs)  # forward, and twice that backward
    needed = 3 * trained + 3 * judge * 2 * both + 2 * judge * 2 * both  # judged detached, then without its gradients
    found = counted(method, batch(pairs, x_only, y_only, size=64))
    assert found <= needed
    assert found >= 0.9 * needed, "the reckoning is off: first layers save their input's gradient, nothing else does"


# Landmarks

FACES = {"x": Image(3, 64), "y": Landmarks(68)}


def test_landmarks_bring_the_native_encoder_and_linear_links() -> None:
    method = LSM(FACES, LSMConfig(network="small"))
    assert method.translator.image_encoder == "native"
    assert method.translator.code_shape("x") == (256, 2, 2)
    assert method.translator.code_shape("y") == (1024,)
    assert isinstance(method.translator.encoders["x"], ConvEncoder)
    assert method.translator.links["xy"].linear.weight.shape == (1024, 1024)
    assert {type(c) for c in method.classifiers.values()} == {VectorDiscriminator}
    assert LSM(DOMAINS, LSMConfig(network="tiny")).translator.image_encoder == "resnet"
    native = Baseline(DOMAINS, LatentConfig(network="tiny", image_encoder="native"))
    assert native.translator.code_shape("x") == (128, 1, 1)


def test_a_resnet_of_faces_needs_a_link_of_67_million_weights() -> None:
    made = Baseline(FACES, LatentConfig(image_encoder="resnet")).translator
    assert made.links["xy"].linear.weight.numel() == 65_536 * 1024


def test_a_step_on_faces_costs_no_more_than_its_losses_need() -> None:
    """LSM at paper size, 64 px, 11 pairs, 10 x-only, 11 y-only; the authors' step counts 563 GFLOP."""
    shown = {"x": torch.rand(32, 3, 64, 64), "y": torch.rand(32, 68, 2)}
    faces: Batch = {
        ("x", "y"): {v: shown[v][:11] for v in shown},
        ("x",): {"x": shown["x"][11:21]},
        ("y",): {"y": shown["y"][11:22]},
    }
    assert counted(LSM(FACES, LSMConfig()), faces) / 1e9 <= 236


# Views of different sides

DIGITS: dict[str, Domain] = {"x": Image(1, 16), "y": Mask(2, 28)}


def digits(kind: type[LatentMethod] = LSM, domains: dict[str, Domain] = DIGITS, **options: Any) -> Any:
    return kind(domains, kind.Config(network="tiny", **options))


def shown(counts: dict[tuple[str, ...], int]) -> Batch:
    g = torch.Generator().manual_seed(0)
    made = {
        "x": lambda n: torch.rand(n, 1, 16, 16, generator=g),
        "y": lambda n: torch.randint(2, (n, 28, 28), generator=g),
    }
    return {views: {view: made[view](n) for view in views} for views, n in counts.items()}


def test_terms_of_views_of_different_sides_by_an_independent_formula() -> None:
    method, data = digits(), shown({("x",): 3, ("y",): 2, ("x", "y"): 2})
    x = torch.cat([data["x", "y"]["x"], data["x",]["x"]])
    hot = torch.cat([data["x", "y"]["y"], data["y",]["y"]])[:, None].float()

    def resized(pictures: Tensor, side: int) -> Tensor:
        return F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)

    made = method.translator
    cx, cy = made.encoders["x"](resized(x, 28)), made.encoders["y"](hot)
    mxy, myx = made.links["xy"](cx), made.links["yx"](cy)
    assert cx.shape == mxy.shape == (5, 32, 7, 7)
    assert myx.shape[1:] == cx.shape[1:] == made.code_shape("x") == made.code_shape("y")
    assert method.classifiers["y"](mxy).shape == (5, 1, 1, 1)
    decoded_x = {name: torch.sigmoid(resized(made.decoders["x"](code), 16)) for name, code in (("x", cx), ("y", myx))}
    expected = {
        "xx": (decoded_x["x"] - x).square().mean(),
        "yx": (decoded_x["y"][:2] - x[:2]).square().mean(),
        "yy": F.binary_cross_entropy_with_logits(made.decoders["y"](cy), hot),
        "xy": F.binary_cross_entropy_with_logits(made.decoders["y"](mxy[:2]), hot[:2]),
        "distance": (mxy[:2] - cy[:2]).abs().mean() + (myx[:2] - cx[:2]).abs().mean(),
    }
    found = method.losses_mappers(method.prepare(data))
    for term, value in expected.items():
        assert found[term]().item() == pytest.approx(value.item(), rel=1e-4), term


@pytest.mark.parametrize("kind", [LSM, SOP, IODA, Baseline])
def test_networks_for_views_of_different_sides_are_those_for_the_greater_one(kind: type[LatentMethod]) -> None:
    method, alike = digits(kind), digits(kind, {"x": Image(1, 28), "y": Mask(2, 28)})
    mine, other = method.state_dict(), alike.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert {type(link) for link in method.translator.links.values()} == {ResnetLink}
    data = shown({("x",): 2, ("y",): 2})
    for source, target in method.directions:
        predicted = method.predict(data[source,], source, target)
        assert predicted.shape == data[target,][target].shape
        logits = method.logits(data[source,], source, target)
        assert target == "x" or (logits is not None and logits.shape == (2, 2, 28, 28))


@pytest.mark.parametrize("direction", ["x_to_y", "y_to_x"])
def test_digits_are_translated_without_a_pair(direction: Any) -> None:
    dataset = Digits(files="sklearn", samples=40, val=8, direction=direction)
    assert LSM.fits(dataset, LSMConfig()) == (True, "")
    assert not SOP.fits(dataset, SOPConfig())[0], "learns from pairs alone"
    method = LSM(DIGITS, LSMConfig(network="tiny"), source=dataset.source, target=dataset.target)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    after = steps(method, [shown({("x",): 3, ("y",): 2})])
    moved = {".".join(name.split(".")[:3]) for name in before if not torch.equal(before[name], after[name])}
    mappers = {f"translator.{part}.{view}" for part in ("encoders", "decoders") for view in "xy"}
    links, classifiers = {f"translator.links.{way}" for way in ("xy", "yx")}, {f"classifiers.{v}.body" for v in "xy"}
    assert moved == mappers | links | classifiers, "reconstruction and confusion teach all networks"


@pytest.mark.parametrize(
    ("sides", "options", "reason"),
    [
        ((16, 20), {}, "needs a greatest side of 24 px or more for its domain classifiers, and y has 20 px"),
        ((30, 16), {}, "needs a greatest side that is a multiple of 4 px, such as 28 or 32, and x has 30 px"),
        ((16, 28), {"image_encoder": "native"}, "that is a multiple of 32 px, such as 32, and y has 28 px"),
        ((17, 24), {}, ""),
        ((48, 64), {"image_encoder": "native"}, ""),
    ],
)
def test_sides_that_do_not_fit_are_refused_with_the_nearest_that_do(
    sides: tuple[int, int], options: dict[str, Any], reason: str
) -> None:
    class Views:
        source, target = "x", "y"
        domains: ClassVar[dict[str, Domain]] = {v: Image(1, side) for v, side in zip("xy", sides, strict=True)}

    supported, said = LSM.supports(Views(), LSMConfig(**options))  # type: ignore[arg-type]
    assert supported == (not reason)
    assert said.endswith(reason)
    if supported:
        method = digits(LSM, Views.domains, **options)
        assert method.predict({"x": torch.rand(2, 1, sides[0], sides[0])}, "x", "y").shape == (2, 1, sides[1], sides[1])
