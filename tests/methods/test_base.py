"""The engineering of the base class, on a method made for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import lightning as L  # noqa: N812
import pytest
import torch
from torch import Tensor, nn

from lsmbench.data.module import Batch
from lsmbench.domains import Image
from lsmbench.errors import DivergedError, UserError
from lsmbench.methods.base import Method, MethodConfig, Terms, seed_of
from lsmbench.methods.phases import Optimizer, Phase, Stage
from lsmbench.options import option
from tests.conftest import loader

DOMAINS = {"x": Image(1, 4), "y": Image(1, 4)}
BATCHES: list[Batch] = [{("x", "y"): {"x": torch.rand(2, 1, 4, 4), "y": torch.rand(2, 1, 4, 4)}} for _ in range(5)]


@dataclass
class TwoConfig(MethodConfig):
    w_first: float = option(2.0, "weight", low=0.1, high=10, source="test")
    w_off: float = option(0.0, "weight", source="test")


class Two(Method):
    """Two groups, a seen order, and random numbers in the loss."""

    Config = TwoConfig
    groups = ("a", "b")
    weights: ClassVar = {"second": 1.0}

    def build(self) -> None:
        self.a, self.b = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
        self.seen: list[str] = []
        self.noise: list[float] = []
        self.explode = False

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        return (getattr(self, group),)

    def losses_a(self, views: Batch) -> Terms:
        def never() -> Tensor:
            raise AssertionError("a term of weight zero was computed")

        return {"first": lambda: self._loss("a", views), "off": never}

    def losses_b(self, views: Batch) -> Terms:
        return {"second": lambda: self._loss("b", views)}

    def _loss(self, group: str, views: Batch) -> Tensor:
        self.seen.append(group)
        self.noise.append(torch.rand(()).item())
        assert all(p.requires_grad == (group == "a") for p in self.a.parameters())
        loss = self.translate(views["x", "y"]["x"], "x", "y").square().mean()
        return loss / 0.0 if self.explode else loss

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        out: Tensor = self.b(self.a(view))
        return out


def fit(method: Two, epochs: int = 1, **options: object) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(method, loader(BATCHES))
    return trainer


def test_groups_take_turns_frozen_against_each_other_and_only_one_ticks() -> None:
    method = Two(DOMAINS)
    trainer = fit(method)
    assert method.seen == ["a", "b"] * 5
    assert trainer.global_step == 5


def test_terms_are_weighted_by_the_configuration() -> None:
    losses = {}
    for weight in (2.0, 4.0):
        trainer = fit(Two(DOMAINS, TwoConfig(w_first=weight, learning_rate=0.0)))
        losses[weight] = trainer.callback_metrics["train/a"].item()
        assert losses[weight] == pytest.approx(weight * trainer.callback_metrics["train/first"].item(), rel=1e-5)
    assert losses[4.0] == pytest.approx(2 * losses[2.0], rel=1e-5)


def test_random_numbers_depend_on_seed_stage_and_epoch_only() -> None:
    runs = []
    for init_seed, wasted in ((0, 0), (0, 3), (1, 0)):
        method = Two(DOMAINS, init_seed=init_seed)
        torch.rand(wasted)
        fit(method, 2)
        runs.append(method.noise)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0][:10] != runs[0][10:]
    assert seed_of(0, "train", 0) != seed_of(0, "other", 0)


@pytest.mark.parametrize("clip", [0.0, 1e-12])
def test_clipping_bounds_what_adam_sees(clip: float) -> None:
    method = Two(DOMAINS, TwoConfig(clip=clip))
    before = method.a.weight.item()
    fit(method)
    moved = abs(method.a.weight.item() - before)
    assert (moved < 1e-6) == (clip > 0)  # Adam's ε swallows gradients clipped far below it


def test_a_loss_that_is_no_number_stops_the_run_with_its_epoch() -> None:
    method = Two(DOMAINS)
    method.explode = True
    with pytest.raises(DivergedError, match=r"epoch 0 of stage train.*learning_rate"):
        fit(method)


def test_a_checkpoint_of_another_stage_is_refused() -> None:
    method = Two(DOMAINS)
    checkpoint: dict[str, object] = {}
    method.on_save_checkpoint(checkpoint)
    method.on_load_checkpoint(checkpoint)
    method.stage = Stage("other", ("a",))
    with pytest.raises(UserError, match="stage train; expected Two, other"):
        method.on_load_checkpoint(checkpoint)


class Lazy(Two):
    """A phase every 3 updates that shares an optimiser, a second optimiser on the same network, and an average."""

    averaged: ClassVar = {"a": 0.75}
    shared = Optimizer("shared", learning_rate=0.1, beta1=0.0)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage(
                "train",
                (
                    Phase("penalty", ("a",), "a", every=3, optimizer=self.shared, clip=1e-3),
                    Phase("a", optimizer=self.shared),
                    Phase("again", ("a", "b"), "b", optimizer=Optimizer("own", learning_rate=0.01)),
                ),
            ),
        )

    def _loss(self, group: str, views: Batch) -> Tensor:
        self.seen.append(group)
        return self.translate(views["x", "y"]["x"], "x", "y").square().mean()


def test_a_lazy_phase_is_due_every_few_updates_over_all_epochs() -> None:
    method = Lazy(DOMAINS)
    trainer = fit(method, 2)
    assert method.seen == [*"aab", *"ab", *"ab"] * 3 + [*"aab"]
    assert trainer.global_step == 10, "updates are counted, not optimisers' steps"
    assert len(trainer.optimizers) == 2


def test_phases_share_an_optimiser_by_its_name_and_have_rates_of_their_own() -> None:
    method = Lazy(DOMAINS)
    shared, own = method.configure_optimizers()
    assert [group["lr"] for o in (shared, own) for group in o.param_groups] == [0.1, 0.01]
    assert shared.param_groups[0]["betas"] == (0.0, 0.999)
    assert [len(o.param_groups[0]["params"]) for o in (shared, own)] == [2, 4]


def test_the_average_follows_every_update_and_predicts() -> None:
    method = Lazy(DOMAINS)
    expected = method.a.weight.detach().clone()
    values: list[Tensor] = []
    method.on_train_batch_end = lambda *_: values.append(method.a.weight.detach().clone())  # type: ignore[method-assign]
    fit(method)
    assert len(values) == 5
    for value in values:
        expected = 0.75 * expected + 0.25 * value
    (average, _) = method.averages["a"].parameters()
    assert torch.allclose(average, expected)
    assert not average.requires_grad
    batch = {"x": torch.rand(2, 1, 4, 4), "index": torch.arange(2)}
    live = method.predict(batch, "x", "y")
    assert not torch.allclose(method.predictions(batch, "x", "y"), live)
    with method.averages_in_use():
        assert torch.allclose(method.a.weight, expected)
    assert torch.equal(method.predict(batch, "x", "y"), live), "the networks' own parameters are back"


@pytest.mark.parametrize(
    ("phases", "why"),
    [
        ([Phase("a", every=2)], "no phase takes part in every update"),
        ([Phase("a"), Phase("a")], "different names"),
        ([Phase("a", every=0)], "every ≥ 1"),
        (
            [Phase("a", optimizer=Optimizer("o", 0.1)), Phase("b", optimizer=Optimizer("o", 0.2))],
            "two different optimisers",
        ),
    ],
)
def test_stages_that_contradict_themselves_are_refused(phases: list[Phase], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Stage("train", phases)


def test_terms_without_a_weight_and_weights_without_a_term_are_refused() -> None:
    class Misspelt(Two):
        weights: ClassVar = {"secnd": 1.0}

    @dataclass
    class MoreConfig(TwoConfig):
        w_frist: float = option(2.0, "weight", source="test")

    with pytest.raises(TypeError, match="no weight is declared for second"):
        Misspelt(DOMAINS)
    with pytest.raises(TypeError, match="no loss term has the weight w_frist"):
        Two(DOMAINS, MoreConfig())


def test_a_batch_with_other_views_is_seen_as_the_views_of_the_method_whatever_its_order() -> None:
    x, y, z = (torch.rand(6, 1, 4, 4) for _ in "xyz")
    batch: Batch = {
        ("x", "z"): {"x": x[:2], "z": z[:2]},
        ("x", "y", "z"): {"x": x[2:5], "y": y[2:5], "z": z[2:5]},
        ("x", "y"): {"x": x[5:], "y": y[5:]},
        ("z",): {"z": z[:1]},
    }
    seen = Two(DOMAINS).visible(batch)
    assert set(seen) == {("x",), ("x", "y")}
    assert torch.equal(seen["x", "y"]["x"], x[2:])
    assert torch.equal(seen["x", "y"]["y"], y[2:])
    assert torch.equal(seen[("x",)]["x"], x[:2])
    assert Two(DOMAINS).visible(seen) is seen


def test_random_predictions_depend_on_the_sample_and_not_on_its_batch() -> None:
    class Noisy(Two):
        random_at_test = True  # type: ignore[assignment]

        def predict(self, views: dict[str, Tensor], source: str, target: str) -> Tensor:
            assert set(views) == {"x"}, "the target is not given"
            return views["x"] + torch.rand_like(views["x"])

    method = Noisy(DOMAINS, init_seed=3)
    x = torch.rand(5, 1, 4, 4)

    def predicted(*numbers: int) -> Tensor:
        at = torch.tensor(numbers)
        return method.predictions({"x": x[at], "y": x[at], "index": at}, "x", "y")

    together: Any = predicted(0, 1, 2, 3, 4)
    assert torch.equal(together, torch.cat([predicted(0, 1), predicted(2, 3, 4)]))
    assert torch.equal(together.flip(0), predicted(4, 3, 2, 1, 0))
    assert not torch.equal(together[0] - x[0], together[1] - x[1])
    method.test_seed = 4
    assert not torch.equal(together, predicted(0, 1, 2, 3, 4))


def test_normal_numbers_of_several_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(rank: int, devices: int, seed: int = 0) -> Tensor:
        method = Two(DOMAINS)
        monkeypatch.setattr(Two, "devices", devices)
        monkeypatch.setattr(Two, "global_rank", rank)
        monkeypatch.setattr(method, "drawn", lambda drawn: drawn)  # the first process's seed reaches the others
        torch.manual_seed(seed)
        return method.normal(torch.zeros(6 // devices, 500, dtype=torch.float64))

    whole = numbers(0, 1)
    assert whole.dtype == torch.float64
    assert whole.mean().abs() < 0.1
    assert whole.std().item() == pytest.approx(1, abs=0.05)
    for rank in (0, 1):
        assert torch.equal(numbers(rank, 2), whole[rank::2])
    assert not torch.equal(numbers(0, 1, seed=1), whole)


def test_inputs_are_those_of_source_and_target_pairs_first() -> None:
    x, y, alone = (torch.rand(2, 1, 4, 4) for _ in range(3))
    fed = Two({v: Image(1, 4, signed=True) for v in "xyz"}).inputs({("x",): {"x": alone}, ("x", "y"): {"x": x, "y": y}})
    assert fed.keys() == {"x", "y"}
    assert torch.equal(fed["x"], torch.cat([x, alone]) * 2 - 1)
    assert Two(DOMAINS).inputs({("y",): {"y": y}}).keys() == {"y"}
