"""pix2pix and CycleGAN: losses by independent formulas, order of updates, who receives a gradient, schedule, pools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import lightning as L  # noqa: N812
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.flop_counter import FlopCounterMode

from lsmbench.data.module import Batch
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.losses import fooling, judged_as
from lsmbench.methods import LSM, Baseline, CycleGAN, Method, Pix2Pix
from lsmbench.methods.cyclegan import CycleGANConfig
from lsmbench.methods.latent import LatentConfig
from lsmbench.methods.pix2pix import Pix2PixConfig
from tests.conftest import loader

IMAGES: dict[str, Domain] = {"x": Image(3, 32), "y": Image(3, 32)}
MASKS: dict[str, Domain] = {"x": Image(1, 32), "y": Mask(3, 32)}
FACES: dict[str, Domain] = {"x": Image(3, 32), "y": Landmarks(68)}


def views(domain: Domain, count: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    match domain:
        case Mask():
            return torch.randint(0, domain.classes, (count, domain.size, domain.size), generator=g)
        case Landmarks():
            return torch.rand(count, domain.points, 2, generator=g)
    return torch.rand(count, *domain.shape, generator=g)


def pairs(domains: dict[str, Domain], count: int = 3, seed: int = 0) -> Batch:
    return {("x", "y"): {"x": views(domains["x"], count, seed), "y": views(domains["y"], count, seed + 1)}}


def unpaired(domains: dict[str, Domain], count: int = 3, seed: int = 0) -> Batch:
    return {("x",): {"x": views(domains["x"], count, seed)}, ("y",): {"y": views(domains["y"], count, seed + 1)}}


def pix2pix(domains: dict[str, Domain] = IMAGES, **options: Any) -> Pix2Pix:
    return Pix2Pix(domains, Pix2PixConfig(network="tiny", **options))


def cyclegan(domains: dict[str, Domain] = IMAGES, **options: Any) -> CycleGAN:
    if domains["x"].shape != domains["y"].shape:
        options = {"w_identity": 0.0, **options}
    return CycleGAN(domains, CycleGANConfig(network="tiny", **options))


def fit(method: Method, batches: list[Batch], epochs: int = 1) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, loader(batches))


@contextmanager
def watching(method: nn.Module, names: tuple[str, ...]) -> Iterator[list[tuple[str, bool]]]:
    """Notes each call of the networks that begin with one of the names, and whether their parameters learn from it."""
    calls: list[tuple[str, bool]] = []
    hooks = []
    for name, module in method.named_modules():
        if name in names:

            def note(m: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                calls.append((name, any(p.requires_grad for p in m.parameters())))

            hooks.append(module.register_forward_hook(note))
    yield calls
    for hook in hooks:
        hook.remove()


# Losses


def test_adversarial_losses_by_their_formulas() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0])
    p = torch.sigmoid(logits)
    assert judged_as(logits, True, "vanilla") == pytest.approx(float(-p.log().mean()))
    assert judged_as(logits, False, "vanilla") == pytest.approx(float(-(1 - p).log().mean()))
    assert judged_as(logits, True, "lsgan") == pytest.approx(float(((logits - 1) ** 2).mean()))
    assert judged_as(logits, False, "lsgan") == pytest.approx(float((logits**2).mean()))
    assert fooling(logits, "vanilla") == pytest.approx(float(-p.log().mean()))
    assert fooling(logits, "lsgan") == pytest.approx(float(((logits - 1) ** 2).mean()))
    assert fooling(logits, "saturating") == pytest.approx(float((1 - p).log().mean()))


def test_pix2pix_terms_by_an_independent_formula() -> None:
    method = pix2pix(generator="resnet6")
    method.eval()
    batch = pairs(IMAGES)
    x, y = (batch["x", "y"][v] * 2 - 1 for v in ("x", "y"))  # the papers' range
    prepared = method.prepare(batch)
    fake = torch.tanh(method.generators["xy"](x))
    real, false = (method.discriminators["y"](torch.cat([x, v], 1)) for v in (y, fake))
    bce = F.binary_cross_entropy_with_logits
    judge = 0.5 * (bce(real, torch.ones_like(real)) + bce(false, torch.zeros_like(false)))
    found = method.losses_discriminators(prepared)["judge"]()
    assert found.item() == pytest.approx(judge.item(), rel=1e-5)
    terms = {name: term().item() for name, term in method.losses_generators(prepared).items()}
    assert terms["adversarial"] == pytest.approx(bce(false, torch.ones_like(false)).item(), rel=1e-5)
    assert terms["xy"] == pytest.approx((fake - y).abs().mean().item(), rel=1e-5)
    assert method.weight("xy") == 100
    assert method.weight("adversarial") == 1


def test_pix2pix_can_have_the_targets_own_loss_instead_of_l1() -> None:
    method = pix2pix(MASKS, generator="resnet6", supervised="task").eval()
    batch = pairs(MASKS)
    output = method.generators["xy"](batch["x", "y"]["x"] * 2 - 1)
    found = method.losses_generators(method.prepare(batch))["xy"]().item()
    assert found == pytest.approx(F.cross_entropy(output, batch["x", "y"]["y"]).item(), rel=1e-5)


def test_cyclegan_terms_by_an_independent_formula() -> None:
    method = cyclegan(generator="resnet6", pool=0)
    batch = unpaired(IMAGES)
    x, y = (batch[(v,)][v] * 2 - 1 for v in ("x", "y"))
    prepared = method.prepare(batch)
    there, back = (lambda v, d=d: torch.tanh(method.generators[d](v)) for d in ("xy", "yx"))
    d_x, d_y = method.discriminators["x"], method.discriminators["y"]
    terms = {name: term().item() for name, term in method.losses_generators(prepared).items()}
    adversarial = ((d_y(there(x)) - 1) ** 2).mean() + ((d_x(back(y)) - 1) ** 2).mean()
    assert terms["adversarial"] == pytest.approx(adversarial.item(), rel=1e-4)
    assert terms["cycle_x"] == pytest.approx((back(there(x)) - x).abs().mean().item(), rel=1e-4)
    assert terms["cycle_y"] == pytest.approx((there(back(y)) - y).abs().mean().item(), rel=1e-4)
    identity = 10 * (there(y) - y).abs().mean() + 10 * (back(x) - x).abs().mean()
    assert terms["identity"] == pytest.approx(identity.item(), rel=1e-4)
    assert [method.weight(t) for t in ("adversarial", "cycle_x", "cycle_y", "identity")] == [1, 10, 10, 0.5]
    judged = {name: term().item() for name, term in method.losses_discriminators(prepared).items()}
    assert judged["judge_y"] == pytest.approx(
        0.5 * (((d_y(y) - 1) ** 2).mean() + (d_y(there(x)) ** 2).mean()).item(), rel=1e-4
    )
    assert judged["judge_x"] == pytest.approx(
        0.5 * (((d_x(x) - 1) ** 2).mean() + (d_x(back(y)) ** 2).mean()).item(), rel=1e-4
    )


def test_an_identity_loss_between_views_of_different_shapes_is_refused_until_it_is_switched_off() -> None:
    with pytest.raises(UserError, match=r"identity loss.*\(1, 32, 32\) and \(3, 32, 32\).*w_identity=0"):
        cyclegan(MASKS, w_identity=0.5)
    assert cyclegan(MASKS, w_identity=0.0).weight("identity") == 0
    assert cyclegan(IMAGES).weight("identity") == 0.5


def test_which_x_and_y_belong_together_is_never_used_by_cyclegan() -> None:
    batch = pairs(IMAGES)
    shuffled: Batch = {("x", "y"): {"x": batch["x", "y"]["x"], "y": batch["x", "y"]["y"].flip(0)}}
    apart: Batch = {(v,): {v: batch["x", "y"][v]} for v in ("x", "y")}
    found = []
    for shown in (batch, shuffled, apart):
        method = cyclegan(pool=0)
        prepared = method.prepare(shown)
        terms = {**method.losses_generators(prepared), **method.losses_discriminators(prepared)}
        found.append({name: term().item() for name, term in terms.items()})
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-5)


# Order and gradients


def test_pix2pix_updates_the_discriminator_first_and_it_judges_again() -> None:
    method = pix2pix(generator="resnet6")
    with watching(method, ("discriminators.y", "generators.xy")) as calls:
        fit(method, [pairs(IMAGES)])
    judge, frozen, make = ("discriminators.y", True), ("discriminators.y", False), ("generators.xy", True)
    assert calls == [make, judge, judge, frozen], "one forward; D on real and fake; then the updated D, frozen"


def test_cyclegan_updates_the_generators_first() -> None:
    method = cyclegan(generator="resnet6", w_identity=0.0)
    names = ("generators.xy", "generators.yx", "discriminators.x", "discriminators.y")
    with watching(method, names) as calls:
        fit(method, [unpaired(IMAGES)])
    made, judged = calls[:6], calls[6:]
    assert made[:2] == [("generators.xy", True), ("generators.yx", True)], "fakes, once, for both groups"
    assert [name for name, learns in made if not learns] == ["discriminators.y", "discriminators.x"], "frozen judges"
    assert sorted(judged) == [("discriminators.x", True)] * 2 + [("discriminators.y", True)] * 2


@pytest.mark.parametrize("domains", [IMAGES, MASKS, FACES], ids=["images", "masks", "faces"])
@pytest.mark.parametrize("make", [pix2pix, cyclegan])
def test_fakes_reach_generators_in_their_own_step_only(make: Any, domains: dict[str, Domain]) -> None:
    method = make(domains)
    batch = {**pairs(domains), **unpaired(domains)}
    prepared = method.prepare(batch)
    sum(term() for term in method.losses_discriminators(prepared).values()).backward()
    touched = {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched == {"discriminators"}
    method.zero_grad()
    method.discriminators.requires_grad_(False)
    terms = method.losses_generators(method.prepare(batch))
    sum(term() for name, term in terms.items() if method.weight(name)).backward()
    untouched = [
        n for n, p in method.named_parameters()
        if not n.startswith("discriminators") and (p.grad is None or not p.grad.abs().sum() > 0)
    ]  # fmt: skip
    # A bias before a normalisation has no effect and so a gradient of rounding errors or zero.
    assert not [n for n in untouched if not n.endswith("bias")]


def test_the_cycle_reaches_both_generators() -> None:
    method = cyclegan(generator="resnet6")
    method.losses_generators(method.prepare(unpaired(IMAGES)))["cycle_x"]().backward()
    touched = {".".join(n.split(".")[:2]) for n, p in method.named_parameters() if p.grad is not None}
    assert touched == {"generators.xy", "generators.yx"}


# Networks


@pytest.mark.parametrize("domains", [MASKS, FACES], ids=["masks", "faces"])
@pytest.mark.parametrize("make", [pix2pix, cyclegan])
def test_the_latent_generator_is_the_baselines_network(make: Any, domains: dict[str, Domain]) -> None:
    method = make(domains, generator="latent").eval()
    baseline = Baseline(domains, LatentConfig(network="tiny")).eval()
    x = views(domains["x"], 2, 5)
    assert torch.equal(method.translate(x, "x", "y"), baseline.translate(x, "x", "y"))


def test_landmarks_are_judged_as_planes_repeated_over_the_image() -> None:
    method = Pix2Pix({"x": Image(3, 64), "y": Landmarks(68)}, Pix2PixConfig(network="tiny"))
    discriminator = method.discriminators["y"]
    assert next(discriminator.parameters()).shape[1] == 3 + 136
    x, y = torch.rand(2, 3, 64, 64), torch.rand(2, 136)
    repeated = torch.cat([x, y[:, :, None, None].expand(-1, -1, 64, 64)], 1)
    torch.testing.assert_close(method.verdict(x, y), discriminator(repeated))


@pytest.mark.parametrize(("norm", "visible"), [("auto", True), ("none", True), ("instance", False)])
def test_instance_normalisation_would_hide_landmarks_from_the_discriminator(norm: str, visible: bool) -> None:
    domains: dict[str, Domain] = {"x": Image(3, 64), "y": Landmarks(68)}
    judge = Pix2Pix(domains, Pix2PixConfig(discriminator_norm=norm)).discriminators["y"]
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(8, 3, 64, 64, generator=g), torch.rand(8, 136, generator=g)
    base = judge(x, y)
    by_y = (judge(x, y.flip(0)) - base).abs().mean()
    by_x = (judge(x.flip(0), y) - base).abs().mean()
    assert (by_y > by_x) == visible


@pytest.mark.parametrize(
    ("generator", "parameters"), [("unet", 41_828_995 + 2_768_705), ("resnet6", 7_837_699 + 2_767_809)]
)
def test_pix2pix_has_as_many_parameters_as_the_released_one(generator: Any, parameters: int) -> None:
    """Batch normalisation beside the U-Net of 128 px, instance normalisation beside the ResNet."""
    domains: dict[str, Domain] = {"x": Image(3, 128), "y": Image(3, 128)}
    method = Pix2Pix(domains, Pix2PixConfig(generator=generator))
    assert sum(p.numel() for p in method.parameters()) == parameters


def test_own_generators_work_in_the_papers_range() -> None:
    own, latent = pix2pix(generator="unet"), pix2pix(generator="latent")
    assert own.domains["x"] == Image(3, 32, signed=True)
    assert latent.domains["x"] == Image(3, 32)
    fake = own.prepare(pairs(IMAGES))["fake"]
    assert fake.min() < 0
    assert fake.abs().max() <= 1
    predicted = own.predict(dict(pairs(IMAGES)["x", "y"]), "x", "y")
    assert predicted.min() >= 0
    assert predicted.max() <= 1


def test_dropout_at_test_time_is_asked_for() -> None:
    batch = {"x": torch.rand(2, 3, 64, 64), "y": torch.rand(2, 3, 64, 64)}
    domains: dict[str, Domain] = {"x": Image(3, 64), "y": Image(3, 64)}
    for on in (False, True):
        method = Pix2Pix(domains, Pix2PixConfig(network="tiny", generator="unet", test_time_dropout=on)).eval()
        assert torch.equal(method.predict(batch, "x", "y"), method.predict(batch, "x", "y")) == (not on)


def test_generators_of_images_refuse_landmarks_and_say_what_to_use() -> None:
    class Faces:
        source, target, domains = "x", "y", FACES

    for kind, config in ((Pix2Pix, Pix2PixConfig(generator="unet")), (CycleGAN, CycleGANConfig(generator="resnet9"))):
        supported, reason = kind.supports(Faces(), config)  # type: ignore[arg-type]
        assert not supported
        assert "generator=latent" in reason


@pytest.mark.parametrize(("kind", "least"), [(Pix2Pix, 12), (CycleGAN, 12), (LSM, 24)])
def test_images_too_small_for_a_discriminator_are_refused_before_training(kind: type[Method], least: int) -> None:
    class Small:
        source, target = "x", "y"
        domains: ClassVar[dict[str, Domain]] = {"x": Image(1, least - 4), "y": Mask(2, least - 4)}

    supported, reason = kind.supports(Small(), kind.Config(generator="latent") if kind is not LSM else kind.Config())  # type: ignore[arg-type,call-arg]
    assert not supported
    assert f"{least} px" in reason


@pytest.mark.parametrize("kind", [Baseline, LSM, Pix2Pix, CycleGAN])
def test_views_beside_source_and_target_change_nothing(kind: type[Method]) -> None:
    class Three:
        source, target, domains = "x", "y", {**IMAGES, "z": Landmarks(5)}

    config = kind.Config(network="tiny")
    assert kind.supports(Three(), config) == (True, "")  # type: ignore[arg-type]
    two, three = kind(IMAGES, config).state_dict(), kind(Three.domains, config).state_dict()
    assert two.keys() == three.keys()
    assert all(torch.equal(two[name], three[name]) for name in two)


@pytest.mark.parametrize("kind", [Pix2Pix, CycleGAN])
def test_a_gan_made_by_hand_refuses_views_that_do_not_fit(kind: type[Method]) -> None:
    with pytest.raises(UserError, match=rf"{kind.__name__} cannot make or read landmarks \(y\).*generator=latent"):
        kind(FACES, kind.Config(network="tiny", generator="resnet6"))  # type: ignore[call-arg]


# Learning rate, pool, cost


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear_released", {1: 1, 99: 1, 100: 0.9901, 150: 0.495, 199: 0.0099, 200: 0}),
        ("linear", {1: 1, 100: 1, 101: 0.9901, 151: 0.495, 200: 0.0099}),
        ("constant", {1: 1, 200: 1}),
    ],
)
def test_learning_rate_multipliers(schedule: str, expected: dict[int, float]) -> None:
    method = cyclegan(schedule=schedule)
    for epoch, factor in expected.items():
        assert method.learning_rate_factor(epoch - 1, 200) == pytest.approx(factor, abs=5e-5)


def test_the_schedule_reaches_both_optimisers() -> None:
    method = cyclegan(learning_rate=1e-3, generator="resnet6")
    seen: list[list[float]] = []
    judge = method.losses_discriminators

    def note(prepared: Any) -> Any:
        seen.append([g["lr"] for o in method.trainer.optimizers for g in o.param_groups])
        return judge(prepared)

    method.losses_discriminators = note  # type: ignore[method-assign]
    fit(method, [unpaired(IMAGES)], epochs=4)
    assert [lrs[0] for lrs in seen] == pytest.approx([1e-3, 1e-3, 1e-3 * 2 / 3, 1e-3 / 3])
    assert all(len(lrs) == 2 and lrs[0] == lrs[1] for lrs in seen)


def test_cyclegan_judges_fakes_through_its_pools_which_are_part_of_the_state() -> None:
    method = cyclegan(generator="resnet6", pool=2)
    fit(method, [unpaired(IMAGES, seed=s) for s in range(3)])
    assert int(method.pools["y"].count) == 2
    again = cyclegan(generator="resnet6", pool=2)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.pools["x"].stored, method.pools["x"].stored)
    assert method.pools["x"].stored.abs().sum() > 0


@pytest.mark.parametrize(("kind", "limit"), [(CycleGAN, 235), (Pix2Pix, 65)])
def test_a_full_size_step_costs_no_more_than_its_losses_need(kind: type[Method], limit: float) -> None:
    """ResNet-6, 128 px, one sample of each, float32, no identity loss; counted, not timed."""
    domains: dict[str, Domain] = {"x": Image(3, 128), "y": Image(3, 128)}
    if kind is CycleGAN:
        method: Method = CycleGAN(domains, CycleGANConfig(generator="resnet6", w_identity=0.0))
        batch = unpaired(domains, 1)
    else:
        method, batch = Pix2Pix(domains, Pix2PixConfig(generator="resnet6")), pairs(domains, 1)
    with FlopCounterMode(display=False) as counter:
        fit(method, [batch])
    assert counter.get_total_flops() / 1e9 <= limit


def test_views_of_different_sides_are_translated_at_the_greater_one() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 28)}
    method = CycleGAN(domains, CycleGANConfig(network="tiny", w_identity=0.0))
    assert [d.layers for d in method.discriminators.values()] == [3, 2], "24 px are too many for a small view"
    seen: list[int] = []
    for generator in method.generators.values():
        generator.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[-1]))
    fit(method, [unpaired(domains)])
    assert set(seen) == {28}
    assert method.predict({"x": torch.rand(2, 1, 16, 16)}, "x", "y").shape == (2, 1, 28, 28)
    assert method.predict({"y": torch.rand(2, 1, 28, 28)}, "y", "x").shape == (2, 1, 16, 16)
    with pytest.raises(UserError, match="needs views of one side, and these have 16 and 28 px"):
        pix2pix(domains, generator="resnet6")


def test_latent_generators_take_views_of_different_sides() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 28)}
    method = cyclegan(domains, generator="latent")
    fit(method, [unpaired(domains)])
    for source, target in method.directions:
        made = method.predict(unpaired(domains)[source,], source, target)
        assert made.shape == unpaired(domains)[target,][target].shape
