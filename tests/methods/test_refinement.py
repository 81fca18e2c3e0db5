"""Refinement of codes: rates, each view's own best, and views that do not depend on each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lsmbench.data.module import INDEX
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.methods.refinement import Code, Refinement, ramp, refine
from lsmbench.runs.run import data_of
from tests.conftest import Make

REFINED = [name for name, kind in METHODS.items() if kind.has_code]


class Bowl(Code):
    """Numbers that are drawn to a target, with a wall from a step on."""

    def __init__(self, start: Tensor, wall: int = 10**6) -> None:
        self.numbers, self.wall, self.calls, self.settled = start.clone(), wall, 0, 0

    @property
    def tensors(self) -> list[Tensor]:
        return [self.numbers]

    def losses(self) -> Tensor:
        self.calls += 1
        return (self.numbers - 3).square().sum(1) + (100 if self.calls > self.wall else 0)

    def decode(self, name: str) -> Tensor:
        return self.numbers

    def settle(self) -> None:
        self.settled += 1


def test_the_rate_rises_from_zero_and_falls_to_zero() -> None:
    assert [ramp(step, 100) for step in (0, 1, 5, 74)] == pytest.approx([0, 0.2, 1, 1])
    assert ramp(99, 100) < 0.01 < ramp(90, 100) < ramp(80, 100) < 1


def test_the_first_step_moves_nothing() -> None:
    bowl, seen = Bowl(torch.zeros(2, 1)), []
    refine(bowl, Refinement(100, watch=lambda step, losses, code: seen.append(code.decode("x").detach().clone())))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert len(seen) == 101
    assert bowl.settled == 100
    assert bowl.numbers.tolist() == [[pytest.approx(3, abs=0.1)]] * 2


def test_the_best_is_kept_and_patience_ends() -> None:
    bowl = Bowl(torch.zeros(1, 1), wall=20)
    refine(bowl, Refinement(200, patience=5))
    assert bowl.calls == 20 + 5
    with_wall = bowl.numbers.clone()
    short = Bowl(torch.zeros(1, 1), wall=20)
    refine(short, Refinement(200))
    assert short.calls == 201
    assert torch.equal(short.numbers, with_wall), "what was best before the wall"


@pytest.fixture(params=REFINED)
def method(request: pytest.FixtureRequest, make: Make) -> Method:
    """Untrained, with normalisation that has seen some data."""
    config = make(request.param, paired=50)
    data = data_of(config)
    made = METHODS[request.param](data.domains, config.method)
    made.train()
    for view in ("x", "y"):
        for numbers in (data.train[:6], data.train[6:12]):
            seen = data.domains[view].unpack(data.compact(view, numbers))
            if hasattr(made, "encode"):
                made.encode(seen, view)
            elif view == "x":
                made.translate(seen, "x", "y")
    return made.eval()


def batch_of(count: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"x": torch.rand(count, 1, 32, 32), INDEX: torch.arange(count) + 5}


def test_no_step_gives_the_encoders_answer(method: Method) -> None:
    batch = batch_of(3)
    plain = method.said_of(batch, "x", "y")
    method.refinement = Refinement(0)
    refined = method.said_of(batch, "x", "y")
    assert torch.equal(plain[0], refined[0])
    assert plain[1] is not None
    assert refined[1] is not None
    torch.testing.assert_close(plain[1], refined[1], rtol=1e-4, atol=1e-5)


def test_a_view_alone_and_among_others_has_the_same_answer(method: Method) -> None:
    """In double precision, since a batch's convolutions round otherwise; and refinement lowers every loss."""
    method.double()
    batch = batch_of(8)
    batch["x"] = batch["x"].double()
    losses: list[Tensor] = []
    method.refinement = Refinement(6, watch=lambda step, now, code: losses.append(now))
    together = method.said_of(batch, "x", "y")
    alone = method.said_of({name: values[3:4] for name, values in batch.items()}, "x", "y")
    assert torch.equal(together[0][3:4], alone[0])
    torch.testing.assert_close(together[1][3:4], alone[1])  # type: ignore[index]
    assert (torch.stack(losses[:7]).min(0).values < losses[0]).all()
    method.refinement = None
    before = method.said_of(batch, "x", "y")
    assert not torch.equal(before[1], together[1])  # type: ignore[arg-type]


def test_nothing_of_the_method_changes(method: Method) -> None:
    before = {name: value.clone() for name, value in method.state_dict().items()}
    flags = [p.requires_grad for p in method.parameters()]
    method.refinement = Refinement(3)
    with torch.inference_mode():
        method.predictions(batch_of(2), "x", "y")
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())
    assert flags == [p.requires_grad for p in method.parameters()]
    assert all(p.grad is None for p in method.parameters())
