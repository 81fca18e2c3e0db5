"""CoGAN and DeepJDOT: networks, terms by independent formulas, gradient routes, transport plans, answers for files."""

from __future__ import annotations

from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.datasets import DATASETS
from lsmbench.domains import Category, Domain, Image, Landmarks
from lsmbench.errors import UserError
from lsmbench.methods import METHODS, CoGAN, DeepJDOT
from lsmbench.methods.classifying import ClassifyingMethod
from lsmbench.methods.cogan import CoGANConfig
from lsmbench.methods.deepjdot import DeepJDOTConfig, transport
from lsmbench.networks.cogan import CoupledDiscriminators, CoupledGenerators
from lsmbench.networks.deepjdot import Features
from lsmbench.runs.config import Machine
from lsmbench.runs.run import execute
from lsmbench.runs.translator import Member, Translator
from tests.conftest import Make
from tests.methods.test_contract import built

DOMAINS: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 28), "label": Category(tuple("abc"))}
BOTH = [name for name, kind in METHODS.items() if issubclass(kind, ClassifyingMethod)]


def batch(unlabelled: int = 4, labelled: int = 4) -> Batch:
    torch.manual_seed(0)
    y = {"y": torch.rand(labelled, 1, 28, 28), "label": torch.arange(labelled) % 3}
    return {("x",): {"x": torch.rand(unlabelled, 1, 16, 16)}, ("label", "y"): y}


def at28(view: Tensor) -> Tensor:
    return F.interpolate(view, (28, 28), mode="bilinear", antialias=True)


def cogan(**options: Any) -> CoGAN:
    return CoGAN(DOMAINS, CoGANConfig(network="tiny", noise=5, **options))


def deepjdot(stage: int = 1, **options: Any) -> DeepJDOT:
    method = DeepJDOT(DOMAINS, DeepJDOTConfig(network="tiny", **options))
    method.stage = method.stages[stage]
    return method


def touched(method: ClassifyingMethod) -> set[str]:
    """Networks in which there is a gradient: `generators.last.x`, `discriminators.kind`, …"""
    names = [n for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    return {".".join(n.split(".")[: 3 if n.split(".")[1] in ("first", "last") else 2]) for n in names}


# Networks


def test_cogans_discriminators_have_the_papers_parameters_and_share_all_but_the_first_layers() -> None:
    network = CoupledDiscriminators({"x": 1, "y": 1}, 10)
    first, shared, heads = 20 * 25 + 20, 50 * 20 * 25 + 50 + 500 * 50 * 16 + 500 + 1, 501 + 5010
    assert sum(p.numel() for p in network.parameters()) == 2 * first + shared + heads == 432_102
    assert network.features(torch.rand(2, 1, 28, 28), "x").shape == (2, 500)


def test_cogans_generators_have_the_papers_widths_and_share_all_but_the_last_layers() -> None:
    network = CoupledGenerators({"x": 1, "y": 3}, 64, 100)
    widths = [100, 1024, 512, 256, 128]
    kernels = [16, 9, 9, 9]
    body = sum(k * a * b + b + 1 for k, a, b in zip(kernels, widths[:-1], widths[1:], strict=True))
    assert sum(p.numel() for p in network.body.parameters()) == body
    assert sum(p.numel() for p in network.last.parameters()) == 128 * 36 * 4 + 4
    images = network(torch.randn(2, 100))
    assert {view: made.shape for view, made in images.items()} == {"x": (2, 1, 28, 28), "y": (2, 3, 28, 28)}


@pytest.mark.parametrize("side", [16, 28])
def test_deepjdots_features_have_the_papers_widths(side: int) -> None:
    network = Features(1, side)
    widths = [1, 32, 32, 64, 64, 128, 128]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    assert sum(p.numel() for p in network.parameters()) == convolutions + 128 * (side - 3) ** 2 * 128 + 128
    features = network(torch.rand(2, 1, side, side))
    assert features.shape == (2, 128)
    assert 0 < features.min() < features.max() < 1


# Terms


def test_cogans_terms_by_an_independent_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    method, given = cogan(), batch()
    noise = [torch.randn(4, 5), torch.randn(4, 5)]
    draws = iter(noise)
    monkeypatch.setattr(method, "normal", lambda like: next(draws))
    views = method.prepare(given)
    found = {**method.losses_discriminators(views), **method.losses_generators(views)}
    values = {name: term().item() for name, term in found.items()}
    d = method.discriminators
    x, y, labels = at28(given["x",]["x"]), given["label", "y"]["y"], given["label", "y"]["label"]

    def h(image: Tensor, view: str) -> Tensor:
        return d.body(d.first[view](image))

    first, second = ({v: torch.sigmoid(made) for v, made in method.generators(z).items()} for z in noise)
    fakes, later = ({v: h(image, v) for v, image in made.items()} for made in (first, second))
    log = F.logsigmoid
    expected = {
        "real": -(log(d.real(h(x, "x"))).mean() + log(d.real(h(y, "y"))).mean()) / 2,
        "fake": -(log(-d.real(fakes["x"])).mean() + log(-d.real(fakes["y"])).mean()) / 2,
        "features": (fakes["x"] - fakes["y"]).pow(2).sum() / 4,
        "class": -torch.log_softmax(d.kind(h(y, "y")), 1)[range(4), labels].mean(),
        "gan": -(log(d.real(later["x"])).mean() + log(d.real(later["y"])).mean()) / 2,
    }
    assert values == pytest.approx({t: v.item() for t, v in expected.items()}, rel=1e-4)
    assert [method.weight(t) for t in expected] == [1, 1, 0.01, 10, 1]


def test_where_cogans_terms_leave_gradients() -> None:
    method = cogan()
    firsts, body = {f"discriminators.first.{v}" for v in "xy"}, {"discriminators.body"}
    generators = {"generators.body", "generators.last.x", "generators.last.y"}
    routes = {
        "real": {*firsts, *body, "discriminators.real"},
        "fake": {*firsts, *body, "discriminators.real"},
        "features": {*firsts, *body},
        "class": {"discriminators.first.y", *body, "discriminators.kind"},
        "gan": {*generators, *firsts, *body, "discriminators.real"},
    }
    for name, expected in routes.items():
        method.zero_grad()
        views = method.prepare(batch())
        {**method.losses_discriminators(views), **method.losses_generators(views)}[name]().backward()
        assert touched(method) == expected, name


def test_cogan_reads_the_source_by_its_own_first_layer_and_the_shared_ones() -> None:
    method, x = cogan().eval(), batch()["x",]["x"]
    d = method.discriminators
    expected = d.kind(d.body(d.first["x"](at28(x))))
    assert torch.allclose(method.classify(x, "x"), expected, atol=1e-6)
    assert torch.equal(method.predict({"x": x}, "x", "y"), expected.argmax(1))


@pytest.mark.parametrize(("unlabelled", "labelled"), [(4, 4), (3, 5)])
def test_deepjdots_terms_by_an_independent_formula(unlabelled: int, labelled: int) -> None:
    method, given = deepjdot(w_features=0.3, w_classes=0.7), batch(unlabelled, labelled)
    views = method.prepare(given)
    values = {name: term().item() for name, term in method.losses_transport(views).items()}
    labels = given["label", "y"]["label"]
    g_y, g_x = method.features(given["label", "y"]["y"]), method.features(at28(given["x",]["x"]))
    said = torch.log_softmax(method.classifier(g_x), 1)
    plan = views.plan
    assert plan is not None
    features = classes = 0.0
    for i in range(labelled):
        for j in range(unlabelled):
            distance, error = (g_y[i] - g_x[j]).norm().item() ** 2, -said[j, labels[i]].item()
            features += plan[i, j].item() * distance
            classes += plan[i, j].item() * error
    own = torch.log_softmax(method.classifier(g_y), 1)
    expected = {"features": features, "classes": classes, "labels": -own[range(labelled), labels].mean().item()}
    assert values == pytest.approx(expected, rel=1e-4)
    cost = 0.3 * torch.cdist(g_y, g_x) ** 2 - 0.7 * said.T[labels]
    cheapest = linprog(cost.detach().double().flatten(), **marginals(labelled, unlabelled)).fun
    assert 0.3 * features + 0.7 * classes == pytest.approx(cheapest, rel=1e-4)


def marginals(rows: int, columns: int) -> dict[str, Any]:
    """The conditions of a plan for scipy's linear programs."""
    over, down = np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))
    return {"A_eq": np.vstack([over, down]), "b_eq": [*[1 / rows] * rows, *[1 / columns] * columns]}


def test_a_plan_of_equal_numbers_is_the_cheapest_assignment() -> None:
    cost = np.random.default_rng(0).random((5, 5))
    plan = transport(cost).numpy()
    assert set(np.unique(plan)) == {0, 0.2}
    cheapest = min(sum(cost[i, j] for i, j in enumerate(order)) for order in permutations(range(5)))
    assert (plan * cost).sum() * 5 == pytest.approx(cheapest)


@pytest.mark.parametrize("shape", [(3, 4), (6, 4), (1, 5)])
def test_a_plan_carries_equal_shares(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(0).random(shape)
    plan = transport(cost).numpy()
    assert plan.sum(1) == pytest.approx(1 / shape[0])
    assert plan.sum(0) == pytest.approx(1 / shape[1])
    assert (plan * cost).sum() == pytest.approx(linprog(cost.ravel(), **marginals(*shape)).fun)


def test_deepjdots_plan_passes_no_gradient_and_labels_alone_need_no_source() -> None:
    method = deepjdot()
    views = method.prepare(batch())
    assert views.plan is not None
    assert not views.plan.requires_grad
    method.losses_transport(views)["features"]().backward()
    assert touched(method) == {"features.body"}, "the classifier has no part in the distance of features"
    first = deepjdot(stage=0)
    alone = first.prepare({("label", "y"): batch()["label", "y"]})
    both = first.prepare(batch())
    assert both.plan is None
    assert first.losses_labels(both)["labels"]() == first.losses_labels(alone)["labels"]()


# Data


def test_deepjdots_batches_show_all_classes_equally_often(make: Make) -> None:
    _, data = built(make("deepjdot", training={"batch_size": 36}))
    for part in data.train_dataloader():
        counts = np.bincount(part["label", "y"]["label"].numpy(), minlength=10)
        assert counts.sum() == 18
        assert counts.max() - counts.min() == 1
    method_of_all, data = built(make("cogan", training={"batch_size": 36}))
    assert method_of_all.balanced is None
    spreads = [np.bincount(p["label", "y"]["label"].numpy(), minlength=10) for p in data.train_dataloader()]
    assert any(counts.max() - counts.min() > 1 for counts in spreads)


@pytest.mark.parametrize("name", BOTH)
def test_a_dataset_without_classes_of_the_target_is_refused(name: str, tmp_path: Path) -> None:
    kind = METHODS[name]
    supported, reason = kind.fits(DATASETS["sit"].example(tmp_path), kind.Config())
    assert not supported
    assert reason == "learns from classes of the target, and sit has none"
    with pytest.raises(UserError, match="no view of classes"):
        kind({"x": Image(1, 28), "y": Image(1, 28)})
    with pytest.raises(UserError, match="reads maps, and x is landmarks"):
        kind({**DOMAINS, "x": Landmarks(3, 28)})


def test_options_out_of_range_and_views_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"method.noise: expected at least 1"):
        CoGAN(DOMAINS, CoGANConfig(noise=0))
    with pytest.raises(UserError, match="as many channels, and x has 3, y 1"):
        DeepJDOT({**DOMAINS, "x": Image(3, 16)}, DeepJDOTConfig(network="tiny"))
    with pytest.raises(UserError, match="sides of 8 px, and y has 4"):
        DeepJDOT({**DOMAINS, "y": Image(1, 4)}, DeepJDOTConfig(network="tiny"))
    CoGAN({**DOMAINS, "x": Image(3, 16)}, CoGANConfig(network="tiny"))


def test_files_are_answered_by_classes(make: Make, tmp_path: Path) -> None:
    result = execute(make("cogan"), tmp_path / "runs", Machine("cpu", 1))
    assert set(result.scores[0].values) <= {0.0, 1.0}
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        Picture.fromarray(np.random.default_rng(i).integers(0, 255, (20, 20), np.uint8)).save(paths[-1])
    translator = Translator([Member.of(tmp_path / "runs" / result.id)])
    assert isinstance(translator.target, Category)
    assert translator.target.names == tuple("0123456789")
    answers = translator.translate_files(paths)
    assert len(answers) == 3
    for answer in answers:
        assert answer.category == max(answer.shares, key=lambda name: answer.shares[name])
        assert answer.confidence == pytest.approx(max(answer.shares.values()))
