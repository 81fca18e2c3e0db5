"""semanticGAN: who receives gradients, losses against plain formulas, rates, and what is said of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lsmbench.domains import Mask
from lsmbench.errors import UserError
from lsmbench.losses import path_lengths, steepness
from lsmbench.methods.generating import GeneratorCode, tempered_cross_entropy, tempered_dice
from lsmbench.methods.phases import only
from lsmbench.methods.refinement import Refinement
from lsmbench.methods.semanticgan import SemanticGAN, SemanticGANConfig
from lsmbench.networks.lpips import LPIPS
from lsmbench.runs.run import data_of
from tests.conftest import Make


def made(make: Make, **options: Any) -> tuple[SemanticGAN, Any, Any]:
    config = make("semanticgan", **options)
    data = data_of(config)
    method = SemanticGAN(data.domains, config.method)  # type: ignore[arg-type]
    data.learner = method
    method.learn(data)
    return method, data, method.prepare(next(iter(data.train_dataloader())))


def slopes(method: SemanticGAN, terms: Any, group: str, *names: str) -> dict[str, float]:
    """The gradient that some terms leave in each parameter of the method."""
    method.zero_grad()
    with only(method.parameters_of([group]), method.parameters()):
        torch.stack([terms[name]() for name in names]).sum().backward()
    return {n: 0.0 if p.grad is None else p.grad.abs().sum().item() for n, p in method.named_parameters()}


def test_the_discriminator_of_pairs_trains_the_trunk_and_masks_but_no_image_layer(make: Make) -> None:
    method, _, shown = made(make)
    found = slopes(method, method.losses_generator(shown), "generator", "fool_pairs", "features")
    assert not any(slope for name, slope in found.items() if "to_image" in name)
    for part in ("generator.layers", "generator.to_classes", "generator.mapping", "generator.start"):
        assert sum(slope for name, slope in found.items() if name.startswith(part)) > 0, part
    found = slopes(method, method.losses_generator(shown), "generator", "fool_images")
    assert not any(slope for name, slope in found.items() if "to_classes" in name)
    assert sum(slope for name, slope in found.items() if "to_image" in name) > 0


def test_the_encoder_is_trained_against_the_average_which_stays(make: Make) -> None:
    method, _, shown = made(make)
    with torch.no_grad():
        for p in method.averages.parameters():
            p.zero_()
    method.stage = method.stages[1]
    picture = method._likeness(shown.images)[1]()
    assert not picture.any(), "all weights of the average are zero"
    method.averages["generator"].module.load_state_dict(torch.nn.ModuleList([method.generator]).state_dict())  # type: ignore[union-attr]
    found = slopes(method, method.losses_labelled(shown), "encoder", "cross_entropy", "dice", "perceptual", "pixels")
    assert {name.split(".")[0] for name, slope in found.items() if slope} == {"encoder"}


def test_the_average_has_the_papers_decay_and_regularised_optimisers_its_correction(make: Make) -> None:
    method, _, _ = made(make)
    assert method.averaged["generator"] == pytest.approx(0.99778, abs=5e-6)
    method = SemanticGAN(method.domains, SemanticGANConfig(network="tiny"))
    method.stage = method.stages[0]
    found = {
        spec.name: optimizer.param_groups[0]
        for spec, optimizer in zip(method.stage.optimizers, method.configure_optimizers(), strict=True)
    }
    for name, r in (("image_discriminator", 16 / 17), ("mask_discriminator", 1.0), ("generator", 4 / 5)):
        assert found[name]["lr"] == pytest.approx(0.002 * r)
        assert found[name]["betas"] == pytest.approx((0.0, 0.99**r))
    assert [(phase.name, phase.every) for phase in method.stages[0].phases if phase.every > 1] == [
        ("r1", 16),
        ("path_length", 4),
    ]
    assert [phase.clip for phase in method.stages[1].phases] == [2.0, 2.0]


def test_the_encoders_rate_is_constant_and_then_falls(make: Make) -> None:
    method, _, _ = made(make)
    assert {method.learning_rate_factor(epoch, 60) for epoch in range(60)} == {1.0}
    method.stage = method.stages[1]
    assert {method.learning_rate_factor(epoch, 60) for epoch in range(31)} == {1.0}
    middle = method.learning_rate_factor(45, 60)  # update 45,000 of 60,000; the cosine ends at 100,000
    assert middle == pytest.approx(0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 15 / 70)))
    assert method.learning_rate_factor(59, 60) < middle


def test_r1_is_half_the_squared_slope() -> None:
    x = torch.randn(3, 2, 4, 4)
    factor = torch.randn(2, 4, 4, requires_grad=True)
    found = steepness(lambda real: (factor * real.square()).sum((1, 2, 3)), x)
    torch.testing.assert_close(found, (2 * factor * x).square().sum((1, 2, 3)).mean() / 2)
    (slope,) = torch.autograd.grad(found, factor)
    torch.testing.assert_close(slope, (4 * factor * x.square()).mean(0))


def test_path_lengths_are_those_of_the_jacobian() -> None:
    """Images that are linear in their codes have a constant Jacobian."""
    torch.manual_seed(0)
    jacobian = torch.randn(1 * 4 * 4, 2 * 3)
    codes, along = torch.randn(5, 2, 3, requires_grad=True), torch.randn(5, 1, 4, 4)
    images = (codes.flatten(1) @ jacobian.T).view(5, 1, 4, 4)
    moved = (along.flatten(1) / 4) @ jacobian
    expected = moved.view(5, 2, 3).square().sum(2).mean(1).sqrt()
    torch.testing.assert_close(path_lengths(images, codes, along), expected)


def test_the_mean_path_length_follows(make: Make) -> None:
    method, _, shown = made(make)
    seen: list[float] = []
    for _ in range(2):
        method.losses_path_length(shown)["path"]()
        seen.append(method.path_mean.item())
    assert 0 < seen[0] < seen[1]
    assert "path_mean" in method.state_dict()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_encoders_losses_of_masks_equal_plain_formulas(classes: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 1 if classes == 2 else classes, 5, 5).double()
    labels = torch.randint(0, classes, (2, 5, 5))
    labels[0, 0] = 255
    entropies, dice = [], []
    for sample in range(2):
        counted = labels[sample] != 255
        for row, column in counted.nonzero().tolist():
            values, label = maps[sample, :, row, column], int(labels[sample, row, column])
            if classes == 2:
                chance = 1 / (1 + torch.exp(-values[0] / 0.3))
                entropies.append(-torch.log(chance if label else 1 - chance))
            else:
                entropies.append(-torch.log_softmax(values / 0.1, 0)[label])
        for label in range(1, classes):
            p = torch.sigmoid(maps[sample, 0 if classes == 2 else label] / 0.3)[counted]
            t = (labels[sample] == label)[counted].double()
            dice.append(1 - 2 * (p * t).sum() / ((p**2).sum() + (t**2).sum()))
    torch.testing.assert_close(tempered_cross_entropy(maps, labels), torch.stack(entropies).mean())
    torch.testing.assert_close(tempered_dice(maps, labels), torch.stack(dice).mean())


def test_masks_are_shown_to_the_discriminator_in_minus_one_to_one(make: Make) -> None:
    method, data, _ = made(make)
    labels = torch.tensor([[[0, 1, 255]]])
    assert method.one_hot(labels).tolist() == [[[[-1, 1, 0]]]]
    many = SemanticGAN({**data.domains, "y": Mask(4, 32, void=True)}, method.config)
    expected = [[1.0, -1, -1, -1], [-1, 1, -1, -1], [-0.5] * 4]
    torch.testing.assert_close(many.one_hot(labels)[0, :, 0].T, torch.tensor(expected))


def test_noise_is_normal_again_after_each_step(make: Make) -> None:
    method, _, _ = made(make)
    method.eval()
    seen: list[Tensor] = []
    method.refinement = Refinement(3, watch=lambda step, losses, code: seen.extend(noise_of(code)) if step else None)
    method.predictions({"x": torch.rand(2, 1, 32, 32), "index": torch.arange(2)}, "x", "y")
    assert len(seen) == 3 * 7
    for level in seen:
        torch.testing.assert_close(level.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(level.var((1, 2, 3), unbiased=False), torch.ones(2))


def noise_of(code: Any) -> list[Tensor]:
    assert isinstance(code, GeneratorCode)
    return [level.detach().clone() for level in code.noise]


def test_what_the_data_makes_of_it_is_said(make: Make) -> None:
    method, _, shown = made(make, paired=100)  # protocol bank: no photo is left without a mask
    assert torch.equal(shown.photos, shown.images)
    assert any("no photo without a mask" in remark for remark in method.remarks)
    assert any("3 real photos, fewer than the 4" in r for r in made(make)[0].remarks)
    assert not any("fewer than" in r for r in made(make, training={"batch_size": 8})[0].remarks)


def test_sides_and_targets_that_do_not_fit_are_named(make: Make) -> None:
    config = make("semanticgan")
    for size, said in ((48, "nearest: 32 or 64"), (16, "nearest: 32"), (300, "nearest: 256")):
        fits, reason = SemanticGAN.fits(replace(config.dataset, size=size), config.method)  # type: ignore[call-arg]
        assert not fits
        assert said in reason
    assert "makes masks of images" in SemanticGAN.fits(make("semanticgan", "faces").dataset, config.method)[1]


def test_a_checkpoint_of_the_first_stage_is_no_second_stage(make: Make) -> None:
    method, _, _ = made(make)
    checkpoint: dict[str, Any] = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    method.stage = method.stages[1]
    with pytest.raises(UserError, match="stage generator; expected SemanticGAN, encoder"):
        method.on_load_checkpoint(checkpoint)


def test_the_perceptual_network_is_named_and_in_no_checkpoint(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth"):
        made(make, perceptual="lpips_vgg")
    assert any("not by LPIPS" in remark for remark in made(make, perceptual="auto")[0].remarks)
    monkeypatch.setattr(LPIPS, "is_there", lambda: True)
    monkeypatch.setattr(LPIPS, "load", lambda: LPIPS(filters=2))
    method, _, shown = made(make, perceptual="auto")
    assert method.remarks[-1] == "images were compared by LPIPS with VGG-16"
    assert method.state_dict().keys() == made(make)[0].state_dict().keys()
    method.stage = method.stages[1]
    found = slopes(method, method.losses_unlabelled(shown), "encoder", "perceptual")
    assert {name.split(".")[0] for name, slope in found.items() if slope} == {"encoder"}
