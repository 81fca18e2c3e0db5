from __future__ import annotations

from collections import Counter

import pytest

from lsmbench.data.module import ShardSampler
from lsmbench.data.samplers import SupervisionSampler, Turns, shares
from lsmbench.errors import UserError

X, Y, XY = ("x",), ("y",), ("x", "y")


def drawn(sampler: SupervisionSampler, epoch: int) -> list[dict[tuple[str, ...], list[int]]]:
    sampler.set_epoch(epoch)
    return [{part.shown: part.positions.tolist() for part in request} for request in sampler]


def test_shares_are_even_and_never_more_than_a_group_has() -> None:
    assert shares({XY: 50, X: 100, Y: 100}, 16) == {XY: 6, X: 5, Y: 5}
    assert shares({XY: 1, X: 100, Y: 100}, 16) == {XY: 1, X: 8, Y: 7}
    assert shares({XY: 50}, 16) == {XY: 16}
    assert shares({XY: 3}, 16) == {XY: 3}
    assert shares({XY: 50, X: 100, Y: 100}, 32, ranks=2) == {XY: 12, X: 10, Y: 10}
    assert shares({XY: 1, X: 100, Y: 100}, 16, ranks=2) == {XY: 2, X: 8, Y: 6}


@pytest.mark.parametrize(("batch", "ranks"), [(2, 1), (15, 2), (4, 2)])
def test_a_batch_too_small_for_its_groups_or_ranks_is_refused(batch: int, ranks: int) -> None:
    with pytest.raises(UserError, match=r"training.batch_size"):
        shares({XY: 5, X: 5, Y: 5}, batch, ranks)


def test_one_pair_among_a_thousand_views_is_in_every_balanced_step() -> None:
    for request in drawn(SupervisionSampler({XY: 1, X: 500, Y: 500}, 16, 40, seed=0), 3):
        assert request[XY] == [0]
        assert len(request[X]) + len(request[Y]) == 15


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    sizes = {XY: 7, X: 20, Y: 20}
    long_lived = SupervisionSampler(sizes, 9, 5, seed=4)
    for epoch in range(3):
        drawn(long_lived, epoch)
    assert drawn(long_lived, 3) == drawn(SupervisionSampler(sizes, 9, 5, seed=4), 3)
    assert drawn(long_lived, 3) != drawn(long_lived, 4)
    assert drawn(long_lived, 3) != drawn(SupervisionSampler(sizes, 9, 5, seed=5), 3)


def test_every_sample_is_seen_equally_often_across_epochs() -> None:
    sampler = SupervisionSampler({XY: 7, X: 20, Y: 20}, 9, 5, seed=0)  # 15 pairs an epoch out of 7
    seen = Counter(i for epoch in range(14) for request in drawn(sampler, epoch) for i in request[XY])
    assert sorted(seen) == list(range(7))
    assert set(seen.values()) == {14 * 15 // 7}


def test_no_sample_is_twice_in_a_step_of_one_pass() -> None:
    for request in drawn(SupervisionSampler({XY: 6, X: 30, Y: 30}, 18, 10, seed=0), 0):
        assert sorted(request[XY]) == list(range(6))


def test_unbalanced_sees_every_sample_once_an_epoch_spread_over_the_steps() -> None:
    sizes = {XY: 3, X: 40, Y: 57}
    epochs = [drawn(SupervisionSampler(sizes, 10, 10, seed=0, balanced=False), e) for e in (0, 1)]
    for requests in epochs:
        for shown, size in sizes.items():
            assert sorted(i for r in requests for i in r.get(shown, [])) == list(range(size))
        assert sum(XY in r for r in requests) == 3
        assert {len(r[X]) for r in requests} == {4}
    assert epochs[0] != epochs[1]


def ranks_of(sizes: dict[tuple[str, ...], int], balanced: bool) -> list[list[dict[tuple[str, ...], list[int]]]]:
    return [drawn(SupervisionSampler(sizes, 12, 6, 0, balanced, rank, 2), 2) for rank in (0, 1)]


def test_ranks_divide_the_batches_of_one_process() -> None:
    sizes = {XY: 8, X: 20, Y: 24}
    parts = ranks_of(sizes, balanced=True)
    for step, request in enumerate(drawn(SupervisionSampler(sizes, 12, 6, 0), 2)):
        for shown, positions in request.items():
            assert [positions[0::2], positions[1::2]] == [part[step][shown] for part in parts]


@pytest.mark.parametrize("pairs", [1, 7, 8])
def test_every_rank_has_as_many_samples_also_when_they_are_not_balanced(pairs: int) -> None:
    sizes = {XY: pairs, X: 20, Y: 25}
    parts = ranks_of(sizes, balanced=False)
    for first, second in zip(*parts, strict=True):
        assert {shown: len(taken) for shown, taken in first.items()} == {s: len(taken) for s, taken in second.items()}
    for shown, size in sizes.items():
        seen = [i for part in parts for request in part for i in request.get(shown, [])]
        assert len(seen) == size + size % 2
        assert set(seen) == set(range(size)) or size % 2, "an odd group begins its next pass earlier"


TURNS = Turns(((XY,), (X, Y)))


def kinds(requests: list[dict[tuple[str, ...], list[int]]]) -> str:
    return "".join("p" if XY in r else "u" for r in requests)


def test_turns_alternate_between_pairs_and_unpaired_samples() -> None:
    sizes = {XY: 3, X: 40, Y: 40}
    requests = drawn(SupervisionSampler(sizes, 2, 8, 0, turns=TURNS), 0)
    assert kinds(requests) == "pupupupu"
    for request in requests:
        assert request.keys() in ({XY}, {X, Y})
        assert all(len(positions) == 1 for positions in request.values()), "one pair, or one x and one y"
    assert kinds(drawn(SupervisionSampler(sizes, 2, 8, 0, turns=Turns(TURNS.groups, "sequential")), 0)) == "ppppuuuu"
    epochs = [drawn(SupervisionSampler(sizes, 2, 8, 0, turns=TURNS), epoch) for epoch in range(3)]
    seen = Counter(i for requests in epochs for r in requests for i in r.get(XY, []))
    assert set(seen.values()) == {4}, "12 places for 3 pairs: they are repeated evenly"


def test_unbalanced_turns_have_updates_as_samples() -> None:
    sizes = {XY: 10, X: 40, Y: 40}
    for order in ("interleaved", "sequential"):
        said = kinds(drawn(SupervisionSampler(sizes, 2, 50, 0, False, turns=Turns(TURNS.groups, order)), 0))
        assert said.count("p") == 10
        assert (said.startswith("p" * 10)) == (order == "sequential")
    few = kinds(drawn(SupervisionSampler({XY: 1, X: 999, Y: 999}, 2, 10, 0, False, turns=TURNS), 0))
    assert few.count("p") == 1, "a pair is seen once an epoch at least"


def test_turns_without_samples_are_left_out_and_batches_too_small_for_one_are_refused() -> None:
    assert kinds(drawn(SupervisionSampler({X: 5, Y: 5}, 2, 4, 0, turns=TURNS), 0)) == "uuuu"
    assert kinds(drawn(SupervisionSampler({XY: 5}, 2, 4, 0, turns=TURNS), 0)) == "pppp"
    with pytest.raises(UserError, match="multiple of 2"):
        SupervisionSampler({XY: 5, X: 5, Y: 5}, 1, 4, 0, turns=TURNS)
    with pytest.raises(UserError, match="multiple of 4"):
        SupervisionSampler({XY: 5, X: 5, Y: 5}, 2, 4, 0, ranks=2, turns=TURNS)


def test_draws_are_counted_from_the_start_of_training() -> None:
    for turns in (None, TURNS):
        sampler = SupervisionSampler({XY: 3, X: 8, Y: 8}, 6, 4, 0, turns=turns)
        counted: dict[tuple[str, ...], list[int]] = {}
        for epoch in range(3):
            sampler.set_epoch(epoch)
            for part in (part for request in sampler for part in request):
                assert len(part.draws) == len(part.positions)
                counted.setdefault(part.shown, []).extend(part.draws.tolist())
        assert all(draws == list(range(len(draws))) for draws in counted.values())


@pytest.mark.parametrize(("sizes", "ranks"), [([10], 1), ([10], 3), ([2], 4), ([10, 7], 2), ([1, 5], 3)])
def test_evaluation_shards_hold_every_sample_exactly_once(sizes: list[int], ranks: int) -> None:
    samplers = [ShardSampler(sizes, 4, rank, ranks) for rank in range(ranks)]
    batches = [list(sampler) for sampler in samplers]
    assert [len(b) for b in batches] == [len(s) for s in samplers]
    for pool, size in enumerate(sizes):
        everything = [i for shard in batches for at in shard if at.pool == pool for i in at.positions.tolist()]
        assert sorted(everything) == list(range(size))
    dealt = [sum(len(at.positions) for at in shard) for shard in batches]
    assert max(dealt) - min(dealt) <= 1
