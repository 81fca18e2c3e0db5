import io

import torch
from torch import nn

from lsmbench.methods.ranger import Ranger

SETTINGS = {"lr": 1e-3, "betas": (0.95, 0.999), "eps": 1e-5}


def gradients(steps):
    """Made-up gradients of a weight (2, 3) and of a bias (2,)."""
    drawn = torch.Generator().manual_seed(1)
    return [
        (torch.randn(2, 3, generator=drawn, dtype=torch.float64), torch.randn(2, generator=drawn, dtype=torch.float64))
        for _ in range(steps)
    ]


def parameters():
    drawn = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, generator=drawn, dtype=torch.float64)) for shape in ((2, 3), (2,))]


def walk(optimizer, moved, steps):
    for given in steps:
        for parameter, gradient in zip(moved, given, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def test_thirteen_steps_are_those_of_radam_with_lookahead_by_hand():
    moved, fast = parameters(), parameters()
    walk(Ranger(moved), moved, gradients(13))
    radam = torch.optim.RAdam(fast, **SETTINGS)
    slow = [p.detach().clone() for p in fast]
    for number, (weight, bias) in enumerate(gradients(13), start=1):
        walk(radam, fast, [(weight - weight.mean(1, keepdim=True), bias)])
        if number in (6, 12):
            for i, p in enumerate(fast):
                slow[i] = slow[i] + 0.5 * (p.detach() - slow[i])
                p.data = slow[i].clone()
    for ours, theirs in zip(moved, fast, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)


def test_a_layers_gradient_has_a_mean_of_zero_for_each_output_and_a_bias_keeps_its_own():
    weight, bias = nn.Parameter(torch.zeros(4, 3, 2, 2)), nn.Parameter(torch.zeros(4))
    weight.grad, bias.grad = torch.randn(4, 3, 2, 2), torch.randn(4)
    before, untouched = weight.grad.clone(), bias.grad.clone()
    Ranger([weight, bias]).step()
    torch.testing.assert_close(weight.grad, torch.stack([g - g.mean() for g in before]))
    assert torch.equal(bias.grad, untouched)


def test_a_closure_makes_the_gradients_and_parameters_without_one_stay():
    used, unused = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    optimizer = Ranger([used, unused])

    def closure():
        loss = (used * torch.arange(3.0)).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 6
    assert torch.equal(used.grad, torch.tensor([[-1.0, 0.0, 1.0]] * 2))
    assert (used != 1).any()
    assert (unused == 1).all()
    assert unused not in optimizer.state


def test_it_goes_on_with_the_same_bits_after_saving_in_the_middle_at_another_rate():
    steps = gradients(15)
    whole = parameters()
    optimizer = Ranger(whole)
    walk(optimizer, whole, steps[:8])
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), [p.detach() for p in whole]), file)
    file.seek(0)
    state, values = torch.load(file, weights_only=True)
    resumed = [nn.Parameter(value) for value in values]
    other = Ranger(resumed, lr=1.0)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 1e-3
    for one, moved in ((optimizer, whole), (other, resumed)):
        one.param_groups[0]["lr"] = 5e-4
        walk(one, moved, steps[8:])
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    at_the_old_rate = parameters()
    walk(Ranger(at_the_old_rate), at_the_old_rate, steps)
    assert not torch.equal(at_the_old_rate[0], whole[0])
