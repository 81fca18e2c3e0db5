"""CUT: every term by loops, who receives a gradient, what is compared where, networks, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsmbench.data.module import Batch
from lsmbench.domains import Domain, Image, LabelColours, Mask
from lsmbench.errors import UserError
from lsmbench.losses import contrast
from lsmbench.methods import CUT
from lsmbench.methods.cut import CUTConfig
from lsmbench.networks.patches import PatchProjection, feature_widths, residual_features
from lsmbench.networks.resnet import ResnetGenerator
from lsmbench.palettes import FACADES
from tests.methods.test_gans import FACES, IMAGES, MASKS, fit, pairs, unpaired, watching

LABELS: dict[str, Domain] = {"x": Image(3, 32), "y": LabelColours(3, 32, palette=FACADES)}
BINARY: dict[str, Domain] = {"x": Image(1, 32), "y": Mask(2, 32)}


def cut(domains: dict[str, Domain] = IMAGES, **options: Any) -> CUT:
    if domains["x"].shape[0] != domains["y"].shape[0]:
        options = {"w_identity": 0.0, **options}
    return CUT(domains, CUTConfig(**{"network": "tiny", **options}))


def values(method: CUT, batch: Batch, group: str = "generators") -> dict[str, float]:
    terms = getattr(method, f"losses_{group}")(method.prepare(batch))
    return {t: term().item() for t, term in terms.items() if method.weight(t)}


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> float:
    """Of one sample and layer, (S, F) each: the mean of −log of the share of the positive, one place at a time."""
    total = 0.0
    for s in range(len(queries)):
        alike = [math.exp(float(queries[s] @ keys[other]) / temperature) for other in range(len(keys))]
        total -= math.log(alike[s] / sum(alike))
    return total / len(queries)


def seen(generator: ResnetGenerator, maps: Tensor, first: nn.Module | None = None) -> list[Tensor]:
    """Features by hand: pixels, the second and third convolution, and the first and fifth of all residual blocks."""
    layers = [*generator.encoder.body, *generator.decoder.body]
    found = [maps]
    for number, layer in enumerate(layers[:14]):
        maps = first(maps) if number == 0 and first is not None else layer(maps)
        found.append(maps)
    return [found[place] for place in (0, 4, 7, 10, 14)]


def by_loops(method: CUT, made: Tensor, fed: Tensor, first: nn.Module | None = None) -> float:
    """PatchNCE over all places, layer by layer and sample by sample."""
    queries, keys = (
        seen(method.generators["xy"], maps, entry)  # type: ignore[arg-type]
        for maps, entry in ((made, first), (fed, None))
    )
    if first is not None:
        queries, keys = queries[1:], keys[1:]
    layers = []
    for query, key, project in zip(queries, keys, method.projections, strict=True):
        samples = []
        for q, k in zip(query, key, strict=True):
            ends = []
            for maps in (q, k):
                weights = [layer for layer in project.body if isinstance(layer, nn.Linear)]
                vectors = [weights[1](weights[0](maps[:, i, j]).clamp_min(0)) for i in range(maps.shape[1])
                           for j in range(maps.shape[2])]  # fmt: skip
                ends.append(torch.stack([v / v.square().sum().sqrt() for v in vectors]))
            samples.append(info_nce(*ends, method.config.temperature))
        layers.append(sum(samples) / len(samples))
    return sum(layers) / len(layers)


# Losses


def test_the_contrast_by_loops() -> None:
    g = torch.Generator().manual_seed(0)
    queries, keys = (nn.functional.normalize(torch.randn(3, 7, 5, generator=g), dim=2) for _ in range(2))
    by_hand = sum(info_nce(q, k, 0.07) for q, k in zip(queries, keys, strict=True)) / 3
    assert contrast(queries, keys, 0.07).item() == pytest.approx(by_hand, rel=1e-5)
    assert contrast(queries, keys[:, :1].expand_as(keys), 0.07).item() == pytest.approx(math.log(7), rel=1e-5)
    assert contrast(torch.eye(7)[None], torch.eye(7)[None], 0.07).item() == pytest.approx(0, abs=1e-4)


def test_other_samples_give_no_negatives() -> None:
    g = torch.Generator().manual_seed(0)
    queries, keys = (nn.functional.normalize(torch.randn(2, 6, 5, generator=g), dim=2) for _ in range(2))
    other = torch.cat([keys[:1], keys[1:].flip(1)])
    each = [contrast(q[None], k[None], 0.1).item() for q, k in zip(queries, keys, strict=True)]
    assert contrast(queries, keys, 0.1).item() == pytest.approx(sum(each) / 2, rel=1e-5)
    assert contrast(queries, other, 0.1) != contrast(queries, keys, 0.1)


@pytest.mark.parametrize("generator", ["resnet6", "resnet9"])
def test_the_terms_are_those_of_the_paper(generator: str) -> None:
    domains: dict[str, Domain] = {"x": Image(3, 16), "y": Image(3, 16)}
    method = cut(domains, generator=generator, patches=1000)
    batch = {**pairs(domains, 1), **unpaired(domains, 1, seed=7)}
    px, py = (batch["x", "y"][v] * 2 - 1 for v in "xy")
    x, y = torch.cat([px, batch["x",]["x"] * 2 - 1]), torch.cat([py, batch["y",]["y"] * 2 - 1])
    there, judge = (lambda v: torch.tanh(method.generators["xy"](v))), method.discriminators["y"]
    with torch.no_grad():
        expected = {
            "adversarial": ((judge(there(x)) - 1) ** 2).mean().item(),
            "nce": by_loops(method, there(x), x),
            "identity": by_loops(method, there(y), y),
            "l1": (there(px) - py).abs().mean().item(),
        }
        assert values(method, batch) == pytest.approx(expected, rel=1e-3)
        half = ((judge(y) - 1) ** 2).mean() + (judge(there(x)) ** 2).mean()
        assert values(method, batch, "discriminators") == pytest.approx({"judge": half.item() / 2}, rel=1e-4)
    assert [method.weight(t) for t in ("judge", *expected)] == [1, 1, 1, 1, 100]


def test_fewer_places_than_there_are_are_drawn_without_repetition_and_the_same_in_both() -> None:
    method = cut(patches=9)
    calls: list[tuple[int, Tensor]] = []
    for number, project in enumerate(method.projections):
        project.register_forward_pre_hook(lambda _, given, number=number: calls.append((number, given[1])))
    method.losses_generators(method.prepare(unpaired(IMAGES)))["nce"]()
    assert [number for number, _ in calls] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for (_, asked), (_, known) in zip(calls[::2], calls[1::2], strict=True):
        assert torch.equal(asked, known)
        assert len(set(asked.tolist())) == 9
    sides = [32, 16, 8, 8, 8]
    assert all(int(places.max()) < side**2 for (_, places), side in zip(calls[::2], sides, strict=True))
    torch.manual_seed(3)
    first = values(method, unpaired(IMAGES))
    torch.manual_seed(3)
    assert values(method, unpaired(IMAGES)) == first
    assert values(method, unpaired(IMAGES))["nce"] != first["nce"], "other places"


def test_a_target_of_other_channels_enters_by_a_convolution_of_its_own_and_pixels_are_not_compared() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Mask(3, 16)}
    method = cut(domains, patches=1000)
    assert [p.body[0].in_features for p in method.projections] == [16, 32, 32, 32]  # type: ignore[union-attr,index]
    batch = unpaired(domains, 2)
    x = batch["x",]["x"] * 2 - 1
    with torch.no_grad():
        fake = method.generators["xy"](x).softmax(1)
        expected = by_loops(method, fake, x, method.entries["y"])
        assert values(method, batch)["nce"] == pytest.approx(expected, rel=1e-3)
    assert not cut().entries
    assert not cut(BINARY).entries, "a mask of two classes has one channel, as a grey picture"


def test_identity_needs_equal_channels_and_is_switched_off_only_when_asked() -> None:
    with pytest.raises(UserError, match=r"CUT has an identity loss.*equally many channels.*1 and 3.*w_identity=0"):
        cut(MASKS, w_identity=1.0)
    assert cut(MASKS).weight("identity") == 0
    assert cut(LABELS).weight("identity") == 1


def test_only_pairs_teach_by_l1_and_without_it_pairs_are_never_used() -> None:
    assert values(cut(), unpaired(IMAGES))["l1"] == 0
    assert values(cut(), pairs(IMAGES))["l1"] > 0
    assert cut().learns_from_pairs(cut().config)
    alone = cut(w_l1=0.0, patches=2000)
    assert not alone.learns_from_pairs(alone.config)
    batch = pairs(IMAGES)
    shuffled: Batch = {("x", "y"): {"x": batch["x", "y"]["x"], "y": batch["x", "y"]["y"].flip(0)}}
    found = [{**values(alone, b), **values(alone, b, "discriminators")} for b in (batch, shuffled)]
    assert "l1" not in found[0]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("shown", ["x", "y"])
def test_batches_of_one_view_teach_what_they_can(shown: str) -> None:
    batch: Batch = {(shown,): unpaired(IMAGES)[(shown,)]}
    found = values(cut(), batch)
    assert {t for t, value in found.items() if value} == ({"adversarial", "nce"} if shown == "x" else {"identity"})
    assert values(cut(), batch, "discriminators") == {"judge": 0}


# Gradients


def test_keys_get_no_gradient() -> None:
    queries, keys = (torch.randn(2, 5, 4, requires_grad=True) for _ in range(2))
    contrast(queries, keys, 0.07).backward()
    assert queries.grad is not None
    assert keys.grad is None
    method = cut()
    made, fed = (torch.rand(2, 3, 32, 32, requires_grad=True) for _ in range(2))
    method.contrasted(made, fed, "x").backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert fed.grad is None


def test_perceptrons_learn_in_lower_precision_too() -> None:
    method = cut()
    with torch.autocast("cpu", torch.bfloat16):
        method.contrasted(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), "x").backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.projections.parameters())


@pytest.mark.parametrize("domains", [IMAGES, MASKS, BINARY, LABELS], ids=["images", "masks", "binary", "labels"])
@pytest.mark.parametrize("generator", ["auto", "latent"])
def test_each_group_alone_learns_from_its_losses(domains: dict[str, Domain], generator: str) -> None:
    method = cut(domains, generator=generator)
    batch = {**pairs(domains), **unpaired(domains)}
    method.losses_discriminators(method.prepare(batch))["judge"]().backward()
    touched = {n.split(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched == {"discriminators"}
    method.zero_grad()
    method.discriminators.requires_grad_(False)
    terms = method.losses_generators(method.prepare(batch))
    sum(term() for name, term in terms.items() if method.weight(name)).backward()
    untouched = [
        n for n, p in method.named_parameters()
        if not n.startswith("discriminators") and (p.grad is None or not p.grad.abs().sum() > 0)
    ]  # fmt: skip
    # A bias before a normalisation has no effect and so a gradient of rounding errors or zero.
    assert not [n for n in untouched if not n.endswith("bias")]
    assert all(p.grad is None for p in method.discriminators.parameters())


def test_the_discriminator_is_updated_first_and_the_perceptrons_with_the_generator() -> None:
    method = cut(generator="resnet6", w_identity=0.0)
    before = {name: p.clone() for name, p in method.named_parameters()}
    with watching(method, ("discriminators.y", "generators.xy", "projections.0")) as calls:
        fit(method, [unpaired(IMAGES)])
    judge, frozen, make = ("discriminators.y", True), ("discriminators.y", False), ("generators.xy", True)
    assert calls == [make, judge, judge, frozen, *[("projections.0", True)] * 2]
    assert all(not torch.equal(p, before[n]) for n, p in method.named_parameters() if n.endswith("weight"))


# Networks


def test_features_have_the_sides_and_channels_that_the_perceptrons_expect() -> None:
    generator = ResnetGenerator(3, 2, 4, blocks=9)
    found = residual_features([*generator.encoder.body, *generator.decoder.body], torch.rand(2, 3, 32, 32))
    assert [tuple(maps.shape) for maps in found] == [
        (2, 3, 32, 32), (2, 8, 16, 16), (2, 16, 8, 8), (2, 16, 8, 8), (2, 16, 8, 8)
    ]  # fmt: skip
    assert [maps.shape[1] for maps in found] == feature_widths(3, 4)
    latent = generator.encoder(torch.rand(1, 3, 32, 32))
    assert latent.shape[1:] == found[-1].shape[1:], "the fifth of nine blocks ends the encoder"
    with pytest.raises(ValueError, match="fifth residual block"):
        residual_features(generator.encoder.body[:-1], torch.rand(2, 3, 32, 32))


def test_the_perceptrons_have_the_papers_number_of_parameters() -> None:
    method = CUT({"x": Image(3, 256), "y": Image(3, 256)}, CUTConfig())
    assert method.generator == "resnet9"
    inside = sum(width * 256 + 256 + 256 * 256 + 256 for width in (3, 128, 256, 256, 256))
    assert sum(p.numel() for p in method.projections.parameters()) == inside == 560_384
    assert method.size == 11_378_179 + 2_764_737 + inside
    assert [p.numel() for p in method.parameters_of(["generators"])][-1] == 256, "they learn with the generator"
    project = PatchProjection(4, 8)
    made = project(torch.rand(2, 4, 3, 3), torch.tensor([8, 0]))
    assert made.shape == (2, 2, 8)
    torch.testing.assert_close(made.norm(dim=2), torch.ones(2, 2))


@pytest.mark.parametrize(
    ("domains", "options", "words"),
    [
        (FACES, {}, r"compares patches of images or masks, and y is landmarks"),
        (FACES, {"generator": "latent"}, r"compares patches of images or masks, and y is landmarks"),
        (IMAGES, {"generator": "unet"}, r"generator=unet has none; use generator=auto"),
        (IMAGES, {"generator": "latent", "image_encoder": "native"}, r"image_encoder=native has none.*=resnet"),
        (IMAGES, {"patches": 1, "temperature": 0.0}, r"temperature: expected more than 0, found 0.0. method.patches"),
    ],
)
def test_what_cannot_be_is_refused(domains: dict[str, Domain], options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CUT(domains, CUTConfig(network="tiny", w_identity=0.0, **options))

    class Data:
        source, target = "x", "y"

    Data.domains = domains  # type: ignore[attr-defined]
    if "patches" not in options:
        supported, reason = CUT.supports(Data(), CUTConfig(w_identity=0.0, **options))  # type: ignore[arg-type]
        assert not supported
        assert reason


def test_views_of_different_sides_are_compared_at_the_greater_one() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 28)}
    method = cut(domains)
    sides: list[int] = []
    method.projections[0].register_forward_pre_hook(lambda _, given: sides.append(given[0].shape[-1]))
    fit(method, [unpaired(domains)])
    assert set(sides) == {28}
    assert method.predict({"x": torch.rand(2, 1, 16, 16)}, "x", "y").shape == (2, 1, 28, 28)


# Learning


def test_it_learns_two_samples() -> None:
    """Inverted pictures: the contrast finds which place is which, and L1 the colours."""
    g = torch.Generator().manual_seed(0)
    x = nn.functional.interpolate(torch.rand(2, 1, 4, 4, generator=g), scale_factor=4)
    domains: dict[str, Domain] = {"x": Image(1, 16), "y": Image(1, 16)}
    method = cut(domains, learning_rate=2e-3, schedule="constant")
    batch: Batch = {("x", "y"): {"x": x, "y": 1 - x}}
    torch.manual_seed(0)
    before = values(method, batch)
    fit(method, [batch] * 40)
    torch.manual_seed(0)
    after = values(method, batch)
    assert after["l1"] < before["l1"] / 3
    assert after["nce"] < before["nce"] - 0.5
    assert after["identity"] < before["identity"] - 0.5
