import torch

from lsmbench.networks.pool import ImagePool


def numbered(first, count):
    return torch.arange(first, first + count).float().reshape(-1, 1, 1, 1)


def test_the_first_fakes_come_back_as_they_are_and_fill_the_pool():
    pool = ImagePool(50, (1, 1, 1))
    for start in range(0, 50, 10):
        assert torch.equal(pool(numbered(start, 10)), numbered(start, 10))
    assert torch.equal(pool.stored, numbered(0, 50))


def test_afterwards_half_are_exchanged_for_stored_ones_which_they_replace():
    pool = ImagePool(50, (1, 1, 1))
    pool(numbered(0, 50))
    handed = pool(numbered(50, 2000)).flatten()
    new = numbered(50, 2000).flatten()
    kept = (handed == new).float().mean().item()
    assert 0.46 < kept < 0.54  # ± 3.5 standard deviations
    exchanged = handed[handed != new]
    assert (exchanged < new[handed != new]).all(), "only earlier fakes are handed out"
    assert len(exchanged.unique()) == len(exchanged), "a fake that was handed out has left the pool"
    inside = set(pool.stored.flatten().tolist())
    assert not inside & set(exchanged.tolist())
    assert inside <= set(range(2050))


def test_the_pool_survives_a_checkpoint():
    pool, again = ImagePool(3, (1, 1, 1)), ImagePool(3, (1, 1, 1))
    pool(numbered(0, 5))
    again.load_state_dict(pool.state_dict())
    torch.manual_seed(1)
    expected = pool(numbered(5, 20))
    torch.manual_seed(1)
    assert torch.equal(again(numbered(5, 20)), expected)
    assert not list(pool.parameters())


def test_size_0_hands_everything_through_detached():
    fakes = numbered(0, 4).requires_grad_()
    handed = ImagePool(0, (1, 1, 1))(fakes)
    assert torch.equal(handed, fakes)
    assert not handed.requires_grad
    assert not ImagePool(2, (1, 1, 1))(fakes).requires_grad
