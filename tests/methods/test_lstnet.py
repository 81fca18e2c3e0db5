"""LSTNet: losses by independent formulas, gradient routes, order of updates, roles of the domains, pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.data.dataset import Arrays, Dataset
from lsmbench.data.module import Batch
from lsmbench.data.pools import Pool
from lsmbench.datasets import DATASETS
from lsmbench.domains import Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.methods.lstnet import LSTNet, LSTNetConfig
from lsmbench.methods.phases import only
from lsmbench.options import option
from lsmbench.runs.config import Machine
from lsmbench.runs.run import execute
from lsmbench.sweeps.search import searches
from lsmbench.sweeps.space import load
from tests.conftest import Make
from tests.methods.test_gans import fit, pairs, unpaired, views, watching

DIGITS: dict[str, Domain] = {"x": Image(1, 28), "y": Image(1, 16)}
MASKS: dict[str, Domain] = {"x": Image(3, 32), "y": Mask(3, 32, void=True)}


def lstnet(domains: dict[str, Domain] = DIGITS, source: str = "x", **options: Any) -> LSTNet:
    target = "y" if source == "x" else "x"
    return LSTNet(domains, LSTNetConfig(**{"network": "tiny", **options}), source, target)


def digits(x: int = 3, y: int = 2) -> Batch:
    """Different numbers of x and y, of different sides."""
    return {("x",): {"x": views(DIGITS["x"], x, 0)}, ("y",): {"y": views(DIGITS["y"], y, 1)}}


def values(method: LSTNet, batch: Batch) -> dict[str, float]:
    prepared = method.prepare(batch)
    terms = {**method.losses_discriminators(prepared), **method.losses_translators(prepared)}
    return {name: term().item() for name, term in terms.items()}


def in_words(method: LSTNet, batch: Batch) -> dict[str, NDArray[np.float64]]:
    """All that eq. 1 is made of, computed network by network, in evaluation mode; images in [-1, 1]."""
    net = method.translators

    def e(i: str, images: Tensor) -> Tensor:
        return net.shared_encoder(net.own_encoders[i](images))

    def g(i: str, codes: Tensor) -> Tensor:
        return torch.tanh(net.own_generators[i](net.shared_generator(codes)))

    with torch.no_grad():
        x = {i: 2 * batch[i,][i] - 1 for i in ("x", "y")}
        made = {
            "D1(x1)": method.discriminators["x"](x["x"]),
            "D1(G1(E2(x2)))": method.discriminators["x"](g("x", e("y", x["y"]))),
            "D2(x2)": method.discriminators["y"](x["y"]),
            "D2(G2(E1(x1)))": method.discriminators["y"](g("y", e("x", x["x"]))),
            "Dl(E1(x1))": method.latent_discriminator(e("x", x["x"])),
            "Dl(E2(x2))": method.latent_discriminator(e("y", x["y"])),
        }
        probabilities = {name: 1 / (1 + np.exp(-logits.double().numpy())) for name, logits in made.items()}
        images = {
            "x1": x["x"],
            "x2": x["y"],
            "G1(E1(x1))": g("x", e("x", x["x"])),
            "G2(E2(x2))": g("y", e("y", x["y"])),
            "G1(E2(G2(E1(x1))))": g("x", e("y", g("y", e("x", x["x"])))),
            "G2(E1(G1(E2(x2))))": g("y", e("x", g("x", e("y", x["y"])))),
        }
        return {**probabilities, **{name: image.double().numpy() for name, image in images.items()}}


# Losses


def test_the_objective_is_that_of_the_paper() -> None:
    method, batch = lstnet().eval(), digits()
    d = in_words(method, batch)
    objective = {
        "an1": np.log(d["D1(x1)"]).mean() + np.log(1 - d["D1(G1(E2(x2)))"]).mean(),
        "an2": np.log(d["D2(x2)"]).mean() + np.log(1 - d["D2(G2(E1(x1)))"]).mean(),
        "anl": np.log(d["Dl(E1(x1))"]).mean() + np.log(1 - d["Dl(E2(x2))"]).mean(),
    }
    expected = {f"{name}_judged": -value for name, value in objective.items()} | {
        "an1": -np.log(d["D1(G1(E2(x2)))"]).mean(),
        "an2": -np.log(d["D2(G2(E1(x1)))"]).mean(),
        "anl": -np.log(1 - d["Dl(E1(x1))"]).mean() - np.log(d["Dl(E2(x2))"]).mean(),
        "cc1": np.abs(d["x1"] - d["G1(E1(x1))"]).mean(),
        "cc2": np.abs(d["x2"] - d["G2(E2(x2))"]).mean(),
        "cc3": np.abs(d["x1"] - d["G1(E2(G2(E1(x1))))"]).mean(),
        "cc4": np.abs(d["x2"] - d["G2(E1(G1(E2(x2))))"]).mean(),
        "pairs": 0.0,
    }
    assert values(method, batch) == pytest.approx(expected, rel=1e-4)
    saturating = lstnet(saturating=True).eval()
    expected |= {
        "an1": np.log(1 - d["D1(G1(E2(x2)))"]).mean(),
        "an2": np.log(1 - d["D2(G2(E1(x1)))"]).mean(),
        "anl": objective["anl"],
    }
    assert values(saturating, batch) == pytest.approx(expected, rel=1e-4)


def test_the_weights_are_the_papers_for_both_teams() -> None:
    method = lstnet()
    found = {name: method.weight(name) for name in values(method, digits())}
    adversarial = {"an1": 20, "an2": 20, "anl": 30}
    cycles = dict.fromkeys(("cc1", "cc2", "cc3", "cc4"), 100)
    assert found == {**adversarial, **{f"{k}_judged": w for k, w in adversarial.items()}, **cycles, "pairs": 0}
    assert lstnet(w_an2=3.0).weight("an2_judged") == 3
    config = LSTNetConfig()
    assert (config.learning_rate, config.beta1, config.beta2) == (1e-4, 0.8, 0.999)


def test_encoders_want_the_labels_exchanged_and_both_forms_pull_the_same_way() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    slopes = {}
    for saturating in (False, True):
        for label in (0.0, 1.0):
            (slope,) = torch.autograd.grad(lstnet(saturating=saturating).fooling(logits, label), logits)
            slopes[saturating, label] = slope
            assert ((slope > 0) == (label == 1.0)).all(), "logits of what should have label 1 are pulled down"
    p = torch.sigmoid(logits.detach())
    torch.testing.assert_close(slopes[False, 0.0], -(1 - p) / 3)
    torch.testing.assert_close(slopes[True, 0.0], -p / 3)


def test_masks_are_probabilities_and_void_neither_counts_nor_tells_fakes_apart() -> None:
    method = lstnet(MASKS).eval()
    batch = unpaired(MASKS, 2)
    batch["y",]["y"][:, :16] = 255
    prepared = method.prepare(batch)
    torch.testing.assert_close(prepared.fake["y"].sum(1), torch.ones(2, 32, 32))
    assert prepared.fake["x"].min() < 0
    seen = method.veiled(prepared.fake["y"], prepared.real, "y")
    assert (seen[:, :, :16] == 1 / 3).all()
    assert torch.equal(seen[:, :, 16:], prepared.fake["y"][:, :, 16:])
    own = (prepared.own["y"] - prepared.real["y"]).abs()[:, :, 16:].mean()
    found = method.losses_translators(prepared)
    assert found["cc2"]().item() == pytest.approx(own.item(), rel=1e-5)
    predicted = method.predict({"x": batch["x",]["x"]}, "x", "y")
    assert predicted.shape == (2, 32, 32)
    assert predicted.max() < 3


# Gradients and order


def reached(method: LSTNet) -> set[str]:
    """The networks that have a gradient, by the paper's names."""
    words = {"own_encoders.x": "E1*", "own_encoders.y": "E2*", "shared_encoder": "Es", "shared_generator": "Gs",
             "own_generators.x": "G1*", "own_generators.y": "G2*", "discriminators.x": "D1", "discriminators.y": "D2",
             "latent_discriminator": "Dl"}  # fmt: skip
    touched = [
        n.removeprefix("translators.") for n, p in method.named_parameters() if p.grad is not None and p.grad.any()
    ]
    return {word for name, word in words.items() if any(n.startswith(name) for n in touched)}


@pytest.mark.parametrize(
    ("term", "networks"),
    [
        ("an1_judged", {"D1"}),
        ("an2_judged", {"D2"}),
        ("anl_judged", {"Dl"}),
        ("an1", {"E2*", "Es", "Gs", "G1*"}),
        ("an2", {"E1*", "Es", "Gs", "G2*"}),
        ("anl", {"E1*", "E2*", "Es"}),
        ("cc1", {"E1*", "Es", "Gs", "G1*"}),
        ("cc2", {"E2*", "Es", "Gs", "G2*"}),
        ("cc3", {"E1*", "E2*", "Es", "Gs", "G1*", "G2*"}),
        ("cc4", {"E1*", "E2*", "Es", "Gs", "G1*", "G2*"}),
    ],
)
@pytest.mark.parametrize("saturating", [False, True])
def test_each_term_reaches_its_networks(term: str, networks: set[str], saturating: bool) -> None:
    method = lstnet(saturating=saturating)
    prepared = method.prepare(digits())
    group = "discriminators" if term.endswith("_judged") else "translators"
    with only(method.parameters_of([group]), method.parameters()):
        getattr(method, f"losses_{group}")(prepared)[term]().backward()
    assert reached(method) == networks


def test_a_step_of_each_team_moves_that_team_alone() -> None:
    method = lstnet()
    prepared = method.prepare(digits())
    teams = {"discriminators": {"D1", "D2", "Dl"}, "translators": {"E1*", "E2*", "Es", "Gs", "G1*", "G2*"}}
    for group, networks in teams.items():
        method.zero_grad()
        with only(method.parameters_of([group]), method.parameters()):
            terms = getattr(method, f"losses_{group}")(prepared)
            sum(term() for name, term in terms.items() if method.weight(name)).backward()
        assert reached(method) == networks


def test_discriminators_are_updated_first_and_judge_the_same_batch_again() -> None:
    method = lstnet()
    with watching(
        method, ("discriminators.x", "discriminators.y", "latent_discriminator", "translators.shared_encoder")
    ) as calls:
        fit(method, [digits()])
    names = ["discriminators.x"] * 2 + ["discriminators.y"] * 2 + ["latent_discriminator"] * 2
    judging = [(name, True) for name in names]
    fooling = [(name, False) for name in (names[0], names[2], *names[4:])]
    encoder = ("translators.shared_encoder", True)
    expected = [encoder, encoder, *judging, *fooling, encoder, encoder]
    assert calls == expected, "one forward of each domain for both teams, and one more for the cycles"


# Roles of the domains


def test_domain_1_is_the_larger_one_whichever_view_is_asked_for() -> None:
    there, back = lstnet(), lstnet(source="y")
    assert (there.first, there.second) == (back.first, back.second) == ("x", "y")
    assert values(there.eval(), digits()) == pytest.approx(values(back.eval(), digits()))
    assert there.directions == (("x", "y"), ("y", "x"))
    assert back.directions == (("y", "x"), ("x", "y"))
    exchanged = lstnet({"x": DIGITS["y"], "y": DIGITS["x"]})
    assert (exchanged.first, exchanged.second) == ("y", "x")
    equal = lstnet({"x": Image(1, 32), "y": Image(3, 32)}, source="y")
    assert (equal.first, equal.second) == ("x", "y")


def test_translations_have_the_other_views_form_and_latents_meet() -> None:
    method = lstnet().eval()
    x, y = (views(DIGITS[view], 2, 0) for view in ("x", "y"))
    assert method.predict({"x": x}, "x", "y").shape == y.shape
    back = method.predict({"y": y}, "y", "x")
    assert back.shape == x.shape
    assert 0 <= back.min() <= back.max() <= 1
    assert method.encode(x, "x").shape == method.encode(y, "y").shape == (2, 16, 7, 7)


def test_views_that_do_not_fit_are_refused_with_the_nearest_sides() -> None:
    class Odd:
        source, target = "x", "y"
        domains: ClassVar[dict[str, Domain]] = {"x": Image(1, 17), "y": Image(1, 30)}

    supported, reason = LSTNet.supports(Odd(), LSTNetConfig())  # type: ignore[arg-type]
    assert not supported
    assert "x (17 px) and y (30 px)" in reason
    assert reason.endswith("the nearest sides that work are 16 and 30, 17 and 32, 15 and 30 px")
    with pytest.raises(UserError, match="LSTNet has no strides by which"):
        lstnet(Odd.domains)
    with pytest.raises(UserError, match=r"translates maps to maps, and y is landmarks\."):
        lstnet({"x": Image(3, 32), "y": Landmarks(68)})


# Pairs


IMAGES: dict[str, Domain] = {"x": Image(1, 32), "y": Image(3, 32)}


def test_which_x_and_y_belong_together_is_not_used_unless_it_is_asked_for() -> None:
    batch = {**pairs(IMAGES, 2), **unpaired(IMAGES, 1, seed=5)}
    shuffled = {**batch, ("x", "y"): {"x": batch["x", "y"]["x"], "y": batch["x", "y"]["y"].flip(0)}}
    found = [values(lstnet(IMAGES), one) for one in (batch, shuffled)]
    assert found[0].pop("pairs") != pytest.approx(found[1].pop("pairs"))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert lstnet(IMAGES).weight("pairs") == 0


def test_pairs_are_learnt_by_l1_both_ways() -> None:
    method = lstnet(IMAGES, w_pairs=5.0).eval()
    batch = {**pairs(IMAGES, 2), **unpaired(IMAGES, 1, seed=5)}
    x, y = (2 * batch["x", "y"][view] - 1 for view in ("x", "y"))
    there, back = torch.tanh(method.translators(x, "x", "y")), torch.tanh(method.translators(y, "y", "x"))
    expected = (there - y).abs().mean() + (back - x).abs().mean()
    assert values(method, batch)["pairs"] == pytest.approx(expected.item(), rel=1e-4)
    assert method.weight("pairs") == 5
    method.losses_translators(method.prepare(batch))["pairs"]().backward()
    assert reached(method) == {"E1*", "E2*", "Es", "Gs", "G1*", "G2*"}


def benchmark(tmp_path: Path) -> definition.Benchmark:
    file = tmp_path / "both.yaml"
    file.write_text(
        "{name: both, title: Both, dataset: {name: sit, size: 32, samples: 60}, paired: [100, 50], seeds: [0], "
        "selection: [random, k_medoids], method: {network: tiny}, supervision: {features: pixels}, "
        "methods: {lstnet: null, with-pairs: {name: lstnet, w_pairs: 10}}}"
    )
    return definition.load(str(file))


def test_a_benchmark_trains_it_once_and_with_a_weight_of_pairs_at_every_n(tmp_path: Path) -> None:
    grid = grids.expand(benchmark(tmp_path))
    cells = [(run.label, run.paired, run.config.supervision.paired) for run in grid.runs]
    assert cells == [
        ("lstnet", None, 0), ("with-pairs", 100, 100), ("with-pairs-k_medoids", 100, 100),
        ("with-pairs", 50, 50), ("with-pairs-k_medoids", 50, 50),
    ]  # fmt: skip
    found = searches(grid.benchmark, ["lstnet", "with-pairs"], {"lstnet": load("lstnet")})
    assert [search.name for search in found] == ["both/lstnet/any", "both/with-pairs/N100", "both/with-pairs/N50"]


def test_all_epochs_are_trained_and_the_last_can_be_taken(make: Make, tmp_path: Path) -> None:
    config = make("lstnet", training={"epochs": 3, "patience": 1, "selection": "last"})
    result = execute(config, tmp_path, Machine("cpu", 1))
    (stage,) = result.selection["stages"]
    assert (stage["epochs"], stage["epoch"]) == (3, 2)


# Two sets of images of different sides


@dataclass
class TwoSides(Dataset):
    """Rings of 28 px and discs of 16 px, more of the one than of the other; few of both kinds are for evaluation."""

    name: ClassVar[str] = "two-sides"
    size: ClassVar[int] = 28
    turned: bool = option(False, "Whether y is the source")

    @property
    def source(self) -> str:
        return "y" if self.turned else "x"

    @property
    def domains(self) -> dict[str, Domain]:
        return DIGITS

    @classmethod
    def example(cls, folder: Path) -> TwoSides:
        return cls()

    def load(self) -> Arrays:
        raise TypeError("it has pools instead")

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        radii = np.random.default_rng(0).uniform(0.2, 0.9, 40)

        def drawn(side: int, inner: float) -> NDArray[np.uint8]:
            at = np.linspace(-1, 1, side)
            distance = np.hypot(*np.meshgrid(at, at))
            shapes = (distance <= radii[:, None, None]) & (distance >= inner * radii[:, None, None])
            return (255 * shapes[:, None]).astype(np.uint8)

        x, y = drawn(28, 0.5), drawn(16, 0.0)
        return (
            Pool("rings", {"x": x[:20]}, {"train": np.arange(20)}, None),
            Pool("discs", {"y": y[20:30]}, {"train": np.arange(10)}, None),
            Pool("both", {"x": x[30:], "y": y[30:]}, {"val": np.arange(4), "test": np.arange(4, 10)}, None),
        )


@pytest.mark.parametrize("turned", [False, True])
def test_views_of_different_sides_and_numbers_are_trained_tested_and_drawn(
    turned: bool, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "two-sides", TwoSides)
    config = make("lstnet", "two-sides", paired=0, training={"batch_size": 7})
    config.dataset = TwoSides(turned)
    result = execute(config, tmp_path, Machine("cpu", 1))
    there, back = ("y", "x") if turned else ("x", "y")
    assert {(s.source, s.target, len(s.values)) for s in result.scores} == {(there, back, 6), (back, there, 6)}
    assert result.primary.source == there
    assert all(np.isfinite(s.values).all() for s in result.scores)
    assert (result.supervision["x"], result.supervision["y"], result.supervision["pairs"]) == (20, 10, 0)
    with np.load(tmp_path / result.id / "panel.npz") as panel:
        assert panel["source"].shape[1:3] == ((16, 16) if turned else (28, 28))
        assert panel["prediction"].shape[1:3] == ((28, 28) if turned else (16, 16))


def test_the_rate_is_one_as_in_the_paper_or_decays() -> None:
    rates = {
        word: [LSTNet(DIGITS, LSTNetConfig(network="tiny", schedule=word)).learning_rate_factor(e, 4) for e in range(4)]
        for word in ("constant", "linear")
    }
    assert rates == {"constant": [1.0] * 4, "linear": pytest.approx([1.0, 1.0, 2 / 3, 1 / 3])}
