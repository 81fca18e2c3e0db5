"""The hybrid and Tripathy's method: losses by independent formulas, gradient routes, turns, stages, ablations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsmbench.data.supervision import ViewSet
from lsmbench.domains import Domain, Image, LabelColours, Mask
from lsmbench.errors import UserError
from lsmbench.losses import relativistic
from lsmbench.methods import Hybrid, Method, Tripathy
from lsmbench.methods.gan import TwoWayViews
from lsmbench.methods.hybrid import HybridConfig
from lsmbench.methods.tripathy import TripathyConfig
from lsmbench.palettes import FACADES
from lsmbench.runs.run import data_of, execute
from tests.conftest import Make
from tests.methods.test_gans import IMAGES, MASKS, pairs, unpaired

LABELS: dict[str, Domain] = {"x": Image(3, 32), "y": LabelColours(3, 32, palette=FACADES)}


def hybrid(domains: dict[str, Domain] = IMAGES, **options: Any) -> Hybrid:
    return Hybrid(domains, HybridConfig(**{"network": "tiny", "pool": 0, **options}))


def signed(view: Tensor) -> Tensor:
    return view * 2 - 1


def values(method: Method, batch: Any, group: str) -> dict[str, float]:
    return {t: term().item() for t, term in getattr(method, f"losses_{group}")(method.prepare(batch)).items()}


def test_swapping_real_and_fake_swaps_the_relativistic_losses() -> None:
    g = torch.Generator().manual_seed(0)
    real, fake = torch.randn(3, 1, 4, 4, generator=g), torch.randn(2, 1, 4, 4, generator=g)
    method = hybrid()
    method.discriminators["y"] = nn.Identity()  # views are taken for their own logits
    there, swapped = (TwoWayViews({"y": a}, {"y": b}) for a, b in ((real, fake), (fake, real)))
    assert method.judge(there, "y") == method.adversarial(swapped, "y")
    assert method.adversarial(there, "y") == method.judge(swapped, "y")
    assert method.judge(there, "y") != method.adversarial(there, "y")
    discriminator = method.judge(there, "y")
    by_hand = -torch.stack([torch.log(torch.sigmoid(r - f)) for r in real for f in fake]).mean()
    assert discriminator.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert relativistic(real[:1], real[:1]).item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert relativistic(real + 100, fake).item() == pytest.approx(0.0, abs=1e-6)


def test_the_losses_are_those_of_the_paper() -> None:
    method = hybrid()
    batch = {**pairs(IMAGES, 2), **unpaired(IMAGES, 1, seed=7)}
    there, back = (method.generators[name] for name in ("xy", "yx"))
    px, py = signed(batch["x", "y"]["x"]), signed(batch["x", "y"]["y"])
    x, y = torch.cat([px, signed(batch["x",]["x"])]), torch.cat([py, signed(batch["y",]["y"])])
    with torch.no_grad():
        fake_y, fake_x = torch.tanh(there(x)), torch.tanh(back(y))
        judge = {v: method.discriminators[v] for v in "xy"}
        expected = {
            "adversarial": relativistic(judge["y"](fake_y), judge["y"](y))
            + relativistic(judge["x"](fake_x), judge["x"](x)),
            "cycle": (torch.tanh(back(fake_y)) - x).abs().mean() + (torch.tanh(there(fake_x)) - y).abs().mean(),
            "identity": (torch.tanh(there(y)) - y).abs().mean() + (torch.tanh(back(x)) - x).abs().mean(),
            "l1": (fake_y[:2] - py).abs().mean() + (fake_x[:2] - px).abs().mean(),
        }
        found = values(method, batch, "generators")
        assert found == pytest.approx({t: v.item() for t, v in expected.items()}, rel=1e-4)
        judged = values(method, batch, "discriminators")
        assert judged["judge_y"] == pytest.approx(relativistic(judge["y"](y), judge["y"](fake_y)).item(), rel=1e-4)
    assert [method.weight(t) for t in expected] == [1, 10, 10, 150]


def test_gradient_reaches_both_generators_through_the_cycle() -> None:
    method = hybrid()
    for view, through in (("x", "y"), ("y", "x")):
        method.zero_grad()
        method.cycle(method.prepare(unpaired(IMAGES, 1)), view, through).backward()
        for name, generator in method.generators.items():
            assert all(p.grad is not None for p in generator.parameters()), name
            assert sum(p.grad.abs().sum() for p in generator.parameters()) > 0, name  # type: ignore[union-attr,misc]


def test_only_pairs_teach_by_l1() -> None:
    method = hybrid()
    assert values(method, unpaired(IMAGES), "generators")["l1"] == 0
    assert values(method, pairs(IMAGES), "generators")["l1"] > 0
    both = method.prepare({**pairs(IMAGES, 2), **unpaired(IMAGES, 3)})
    assert both.pairs == 2
    assert {len(views) for views in both.real.values()} == {5}


@pytest.mark.parametrize(("ablation", "left_out"), [("without_cycle", "cycle"), ("without_identity", "identity")])
def test_the_papers_ablation(ablation: str, left_out: str) -> None:
    method = hybrid(ablation=ablation)
    weights = {t: method.weight(t) for t in ("adversarial", "cycle", "identity", "l1")}
    assert {t for t, w in weights.items() if w == 0} == {left_out}


def test_identity_needs_views_of_one_shape_and_is_switched_off_only_when_asked() -> None:
    three = {"x": Image(1, 32), "y": Mask(3, 32)}
    with pytest.raises(UserError, match=r"Hybrid has an identity loss.*\(1, 32, 32\) and \(3, 32, 32\)"):
        hybrid(three)
    for off in ({"w_identity": 0.0}, {"ablation": "without_identity"}):
        method = hybrid(three, **off)  # type: ignore[arg-type]
        terms = method.losses_generators(method.prepare(pairs(three)))
        assert [t for t in terms if not method.weight(t)] == ["identity"]
        assert terms["l1"]() > 0
    assert hybrid(LABELS).weight("identity") == 10


def test_order_says_how_updates_take_turns(make: Make) -> None:
    pair: ViewSet = ("x", "y")
    for order in ("interleaved", "sequential", "together"):
        options = {"supervision": {"protocol": "shared"}, "training": {"steps_per_epoch": 6}}
        config = make("hybrid", "facades", order=order, **options)
        data = data_of(config)
        data.learner = Hybrid(data.domains, config.method)  # type: ignore[arg-type]
        kinds = ["".join("p" if pair in b else "") + ("u" if ("x",) in b else "") for b in data.train_dataloader()]
        expected = {"interleaved": ["p", "u"] * 3, "sequential": ["p"] * 3 + ["u"] * 3, "together": ["pu"] * 6}
        assert kinds == expected[order]


def test_a_cycles_discriminator_is_conditioned_on_the_translation_or_on_a_pairs_true_view() -> None:
    method = Tripathy(IMAGES, TripathyConfig(network="tiny"))
    with torch.no_grad():
        views = method.prepare(unpaired(IMAGES, 2))
        assert torch.equal(method.condition(views, "x", "y"), views.fake["y"])
        views = method.prepare(pairs(IMAGES, 2))
        assert torch.equal(method.condition(views, "x", "y"), views.real["y"])
        judge = method.discriminators["cycle_x"]
        back = torch.tanh(method.generators["yx"](views.fake["y"]))
        real = judge(torch.cat([views.real["y"], views.real["x"]], 1))
        fake = judge(torch.cat([views.real["y"], back], 1))
        assert method.judge_cycle(views, "x", "y").item() == pytest.approx(
            (((real - 1) ** 2).mean() + (fake**2).mean()).item() / 2, rel=1e-5
        )
        assert method.fooling_cycle(views, "x", "y").item() == pytest.approx(((fake - 1) ** 2).mean().item(), rel=1e-5)


def test_a_quarter_of_the_epochs_is_paired_and_the_rest_unpaired(make: Make, tmp_path: Any) -> None:
    config = make("tripathy", "sit", training={"epochs": 4, "steps_per_epoch": 2})
    result = execute(config, tmp_path)
    assert [(s["stage"], s["epochs"]) for s in result.selection["stages"]] == [("paired", 1), ("unpaired", 3)]
    assert result.cost["updates"] == 8
    with pytest.raises(UserError, match="stage unpaired of method tripathy learns from x-only samples or y-only"):
        execute(make("tripathy", "sit", paired=100), tmp_path)


def test_masks_are_judged_too() -> None:
    terms = values(Tripathy(MASKS, TripathyConfig(network="tiny")), pairs(MASKS), "generators")
    assert all(math.isfinite(value) for value in terms.values())
