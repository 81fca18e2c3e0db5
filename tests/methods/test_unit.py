"""UNIT: terms by independent formulas, gradient routes, noise, sharing, views of different sides, schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.methods import UNIT
from lsmbench.methods.unit import UNITConfig
from lsmbench.networks.vae import CoupledVAEs
from tests.methods.test_gans import FACES, IMAGES, MASKS, fit, pairs, unpaired, watching

DIGITS: dict[str, Domain] = {"x": Image(1, 28), "y": Image(1, 16)}


def unit(domains: dict[str, Domain] = IMAGES, **options: Any) -> UNIT:
    return UNIT(domains, UNITConfig(network="tiny", **options))


def quiet(method: UNIT, monkeypatch: pytest.MonkeyPatch) -> UNIT:
    """The method with a noise that a test can repeat: 0.1 everywhere."""
    monkeypatch.setattr(method, "normal", lambda like: torch.full_like(like, 0.1))
    return method


def values(method: UNIT, batch: Batch) -> dict[str, float]:
    views = method.prepare(batch)
    terms = {**method.losses_discriminators(views), **method.losses_vaes(views)}
    return {name: term().item() for name, term in terms.items()}


def touched(method: UNIT) -> set[str]:
    """Networks in which there is a gradient: `discriminators.x`, `vaes.encoders`, …"""
    names = [n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    return {".".join(name.split(".")[:2]) for name in names}


@pytest.mark.parametrize("domains", [IMAGES, DIGITS], ids=["one-side", "two-sides"])
def test_terms_by_an_independent_formula(domains: dict[str, Domain], monkeypatch: pytest.MonkeyPatch) -> None:
    method = quiet(unit(domains), monkeypatch)
    batch = unpaired(domains)
    x, y = (batch[(v,)][v] * 2 - 1 for v in ("x", "y"))  # the code's range
    e_x, e_y = (lambda v, e=e: method.vaes.encode(v, e) for e in ("x", "y"))
    g_x, g_y = (lambda z, g=g: torch.tanh(method.vaes.generate(z + 0.1, g)) for g in ("x", "y"))
    d_x, d_y = method.discriminators["x"], method.discriminators["y"]
    fake_x, fake_y = g_x(e_y(y)), g_y(e_x(x))
    expected = {
        "vae_kl": (e_x(x) ** 2).mean() + (e_y(y) ** 2).mean(),
        "vae_l1": (g_x(e_x(x)) - x).abs().mean() + (g_y(e_y(y)) - y).abs().mean(),
        "gan": sum(((d - 1) ** 2).mean() for d in d_x(fake_x) + d_y(fake_y)),
        "cc_kl": (e_x(fake_x) ** 2).mean() + (e_y(fake_y) ** 2).mean(),
        "cc_l1": (g_x(e_y(fake_y)) - x).abs().mean() + (g_y(e_x(fake_x)) - y).abs().mean(),
        "judge_x": sum(((r - 1) ** 2).mean() + (f**2).mean() for r, f in zip(d_x(x), d_x(fake_x), strict=True)),
        "judge_y": sum(((r - 1) ** 2).mean() + (f**2).mean() for r, f in zip(d_y(y), d_y(fake_y), strict=True)),
    }
    assert values(method, batch) == pytest.approx({t: v.item() for t, v in expected.items()}, rel=1e-4)
    assert len(d_x(x)) == len(d_y(y)) == (2 if domains is IMAGES else 1)


def test_the_papers_adversarial_loss_is_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    method = quiet(unit(gan="vanilla"), monkeypatch)
    views, found = method.prepare(unpaired(IMAGES)), values(method, unpaired(IMAGES))
    bce = F.binary_cross_entropy_with_logits
    fakes = [d for v in "xy" for d in method.discriminators[v](views.fake[v])]
    assert found["gan"] == pytest.approx(sum(bce(d, torch.ones_like(d)).item() for d in fakes), rel=1e-4)
    judged = zip(method.discriminators["y"](views.real["y"]), method.discriminators["y"](views.fake["y"]), strict=True)
    expected = sum((bce(r, torch.ones_like(r)) + bce(f, torch.zeros_like(f))).item() for r, f in judged)
    assert found["judge_y"] == pytest.approx(expected, rel=1e-4)


def test_weights_are_the_released_ones() -> None:
    method = unit()
    terms = ("vae_kl", "vae_l1", "gan", "cc_kl", "cc_l1", "judge_x", "judge_y")
    assert [method.weight(t) for t in terms] == [0.01, 10, 1, 0.01, 10, 1, 1]
    config = UNITConfig()
    assert (config.learning_rate, config.beta1, config.beta2, config.weight_decay) == (1e-4, 0.5, 0.999, 1e-4)


def test_which_x_and_y_belong_together_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pairs(IMAGES)
    shuffled: Batch = {("x", "y"): {"x": batch["x", "y"]["x"], "y": batch["x", "y"]["y"].flip(0)}}
    apart: Batch = {(v,): {v: batch["x", "y"][v]} for v in ("x", "y")}
    first, *others = (values(quiet(unit(), monkeypatch), shown) for shown in (batch, shuffled, apart))
    for other in others:
        assert other == pytest.approx(first, rel=1e-5)


# Gradients and order


@pytest.mark.parametrize("domains", [IMAGES, MASKS, DIGITS], ids=["images", "masks", "digits"])
def test_where_each_term_leaves_gradients(domains: dict[str, Domain]) -> None:
    method = unit(domains)
    encoders, generators = {"vaes.encoders"}, {"vaes.generators"}
    routes = {
        "judge_x": {"discriminators.x"}, "judge_y": {"discriminators.y"}, "vae_kl": encoders,
        "vae_l1": encoders | generators, "cc_kl": encoders | generators, "cc_l1": encoders | generators,
        "gan": encoders | generators | {"discriminators.x", "discriminators.y"},
    }  # fmt: skip
    for name, expected in routes.items():
        method.zero_grad()
        views = method.prepare(unpaired(domains))
        {**method.losses_discriminators(views), **method.losses_vaes(views)}[name]().backward()
        assert touched(method) == expected, name


def test_one_views_cycle_reaches_all_encoders_and_generators() -> None:
    method = unit()
    views = method.prepare({("x",): unpaired(IMAGES)[("x",)]})
    method.losses_vaes(views)["cc_l1"]().backward()
    reached = {n.split(".body")[0] for n, p in method.named_parameters() if p.grad is not None}
    assert reached == {f"vaes.{part}.{v}" for part in ("encoders", "generators") for v in "xy"}


def test_what_is_shared_learns_from_both_views() -> None:
    method = unit(shared=2)
    assert len(method.vaes.shared_encoder) == len(method.vaes.shared_generator) == 2
    found = []
    for view in "xy":
        method.zero_grad()
        method.divergence({view: method.prepare(unpaired(IMAGES)).mean[view]}).backward()
        assert touched(method) == {"vaes.encoders", "vaes.shared_encoder"}
        names = [n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        found.append({n.split(".body")[0] for n in names if n.startswith("vaes.encoders")})
    assert found == [{"vaes.encoders.x"}, {"vaes.encoders.y"}]
    assert unit(shared=1).size < unit().size
    with pytest.raises(UserError, match=r"method.shared: expected 0 to 4 residual blocks, found 5"):
        unit(shared=5)
    with pytest.raises(UserError, match=r"method.decay_every: expected 0 or more updates, found -1"):
        unit(decay_every=-1)


def test_discriminators_are_updated_first_and_one_forward_serves_both_phases() -> None:
    method = unit()
    names = ("vaes.encoders.x", "vaes.generators.x", "discriminators.x")
    with watching(method, names) as calls:
        fit(method, [unpaired(IMAGES)])
    encode, generate = ("vaes.encoders.x", True), ("vaes.generators.x", True)
    assert sorted(calls[:5]) == sorted([encode] * 2 + [generate] * 3), "x again, y's fake, x there and back"
    assert calls[5:] == [("discriminators.x", True)] * 2 + [("discriminators.x", False)]


# Noise


def test_codes_are_noisy_in_training_only() -> None:
    method = unit()
    views, again = (method.prepare(unpaired(IMAGES)) for _ in range(2))
    assert torch.equal(views.mean["x"], again.mean["x"])
    assert not torch.equal(views.fake["y"], again.fake["y"])
    _, code = method.coded(views.real["x"], "x")
    noise = code - views.mean["x"]
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    x = unpaired(IMAGES)[("x",)]
    assert torch.equal(method.predict(x, "x", "y"), method.predict(x, "x", "y"))
    expected = method.vaes.generate(method.vaes.encode(x["x"] * 2 - 1, "x"), "y")
    assert torch.equal(method.translate(x["x"], "x", "y"), expected)
    assert not method.random_at_test


def test_a_view_is_reconstructed_and_translated_by_one_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eqs. 2 and 4 have one z ~ q(z | x), and the cycle draws anew."""
    method, seen = unit(), []
    generate = CoupledVAEs.generate

    def watched(vaes: CoupledVAEs, code: Tensor, view: str) -> Tensor:
        seen.append(code)
        return generate(vaes, code, view)

    monkeypatch.setattr(CoupledVAEs, "generate", watched)
    method.prepare({("x",): unpaired(IMAGES)[("x",)]})
    again, fake, back = seen
    assert again is fake
    assert not torch.equal(again, back)


# Views


def test_views_of_different_sides_and_channels() -> None:
    domains: dict[str, Domain] = {"x": Image(3, 32), "y": Mask(4, 20)}
    method = unit(domains)
    fit(method, [unpaired(domains)])
    for source, target in method.directions:
        given = unpaired(domains)[(source,)]
        found = method.predict(given, source, target)
        assert found.shape == unpaired(domains)[(target,)][target].shape
    assert all(math.isfinite(value) for value in values(method, unpaired(domains)).values())


@pytest.mark.parametrize(
    ("domains", "reason"),
    [
        (FACES, r"cannot make or read landmarks \(y\)"),
        ({"x": Image(1, 28), "y": Image(1, 12)}, "needs sides of 16 px for its discriminators, and y has 12"),
        ({"x": Image(1, 30), "y": Image(1, 16)}, "multiple of 4 px, such as 28 or 32, and x has 30 px"),
        ({"x": Image(1, 28), "y": Image(1, 17)}, ""),
    ],
)
def test_views_that_do_not_fit_are_refused_with_what_would(domains: dict[str, Domain], reason: str) -> None:
    class Views:
        source, target = "x", "y"

    Views.domains = {**domains, "z": Landmarks(5)}  # type: ignore[attr-defined]
    supported, said = UNIT.supports(Views(), UNITConfig())  # type: ignore[arg-type]
    assert supported == (not reason)
    if not reason:
        assert unit(domains).vaes.side == 28
        return
    with pytest.raises(UserError, match=f"UNIT .*{reason}"):
        unit(domains)
    assert said.startswith(("needs", "cannot"))


def test_void_pixels_do_not_tell_translations_from_masks() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 32), "y": Mask(3, 32, void=True)}
    method, batch = unit(domains), unpaired(domains)
    batch[("y",)]["y"][:, :8] = 255
    views = method.prepare(batch)
    shown = method.veiled(views.fake["y"], views.real, "y")
    assert torch.equal(shown[:, :, :8], views.real["y"][:, :, :8])
    assert torch.equal(shown[:, :, 8:], views.fake["y"][:, :, 8:])


# Learning rate


def test_the_learning_rate_is_halved_every_so_many_updates() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 16)}
    method = unit(domains, decay_every=4, learning_rate=1e-3)
    seen: list[list[float]] = []
    judge = method.losses_discriminators

    def note(views: Any) -> Any:
        seen.append([g["lr"] * 1e3 for o in method.trainer.optimizers for g in o.param_groups])
        return judge(views)

    method.losses_discriminators = note  # type: ignore[method-assign]
    fit(method, [unpaired(domains, 1)] * 3, epochs=4)
    assert [rates[0] for rates in seen[::3]] == pytest.approx([1, 1, 0.5, 0.25]), "epochs begin at 0, 3, 6 and 9"
    assert all(len(rates) == 2 and rates[0] == rates[1] for rates in seen)
    assert unit(domains, decay_every=0).learning_rate_factor(3, 4) == 1.0
