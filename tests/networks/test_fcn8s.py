import hashlib
import pickle

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.networks import fcn8s
from lsmbench.networks.fcn8s import FCN8s


def test_the_layers_below_the_heads_are_those_of_vgg16():
    with torch.device("meta"):
        network = FCN8s(3, 21)
    total = sum(p.numel() for p in network.parameters())
    vgg16 = 138_357_544 - (4096 * 1000 + 1000)  # the published count, without the classes of ImageNet
    heads = (4096 + 512 + 256) * 21 + 3 * 21
    upsampling = 21 * 21 * (4 * 4 + 4 * 4 + 16 * 16)
    assert total == vgg16 + heads + upsampling == 134_489_759


def test_shapes_and_the_sides_that_fit():
    network = FCN8s(1, 5, filters=2).eval()
    assert network(torch.rand(2, 1, 32, 64)).shape == (2, 5, 32, 64)
    pool3, pool4, fc7 = network.features(torch.rand(1, 1, 64, 96))
    assert pool3.shape == (1, 8, 8, 12)
    assert pool4.shape == (1, 16, 4, 6)
    assert fc7.shape == (1, 128, 2, 3)
    with pytest.raises(ValueError, match=r"48×64.*multiples of 32"):
        network(torch.rand(1, 1, 48, 64))


def test_scores_start_at_zero_and_upsampling_as_bilinear_interpolation():
    network = FCN8s(3, 3, filters=2)
    assert not network(torch.rand(1, 3, 32, 32)).any()
    scores = torch.rand(2, 3, 6, 6)
    for up, factor in ((network.up_fc7, 2), (network.up_pool4, 2), (network.up_pool3, 8)):
        expected = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
        inside = (..., slice(factor, -factor), slice(factor, -factor))  # the border is interpolated with zero instead
        torch.testing.assert_close(up(scores)[inside], expected[inside])


def test_the_scores_of_three_strides_are_added():
    network = FCN8s(1, 2, filters=2).eval()
    image = torch.rand(1, 1, 64, 64)
    for head in (network.score_fc7, network.score_pool4, network.score_pool3):
        torch.nn.init.normal_(head.weight)
    pool3, pool4, fc7 = network.features(image)
    fine = network.up_pool3(network.score_pool3(pool3))
    middle = network.up_pool3(network.up_pool4(network.score_pool4(pool4)))
    coarse = network.up_pool3(network.up_pool4(network.up_fc7(network.score_fc7(fc7))))
    assert all(part.abs().sum() > 0 for part in (fine, middle, coarse))
    torch.testing.assert_close(network(image), fine + middle + coarse)


def test_the_gradient_reaches_all_parameters_once_the_scores_are_not_zero():
    network = FCN8s(1, 2, filters=4).eval()
    image = torch.rand(2, 1, 64, 64)
    (network(image) - 1).square().mean().backward()
    with torch.no_grad():
        for head in (network.score_fc7, network.score_pool4, network.score_pool3):
            assert head.weight.grad.abs().sum() > 0
            head.weight -= 0.1 * head.weight.grad
    network.zero_grad()
    (network(image) - 1).square().mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_transplanted_features_are_those_of_torchvisions_vgg16():
    models = pytest.importorskip("torchvision.models")
    assert models.VGG16_Weights.IMAGENET1K_V1.url == fcn8s.IMAGENET_URL
    torch.manual_seed(0)
    classifier = models.vgg16(weights=None, init_weights=False).eval()
    with torch.device("meta"):
        network = FCN8s(3, 2)
    network = network.to_empty(device="cpu").eval()
    network.transplant(classifier.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        pool3, pool4, fc7 = network.features(image)
        torch.testing.assert_close(pool3, classifier.features[:17](image))
        torch.testing.assert_close(pool4, classifier.features[:24](image))
        # At 224 px the middle of the 7 by 7 map sees what the linear layer sees; elsewhere the kernel meets the border.
        whole = classifier.classifier[:6](classifier.features(image).flatten(1))
        torch.testing.assert_close(fc7[:, :, 3, 3], whole)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_copied(change):
    network = FCN8s(3, 2, filters=2)
    names = [
        *(f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
        "classifier.0",
        "classifier.3",
    ]
    layers = [m for m in [*network.blocks.modules(), *network.classifier] if isinstance(m, torch.nn.Conv2d)]
    state = {
        f"{name}.{part}": torch.full_like(p, i + 1.0)
        for i, (name, layer) in enumerate(zip(names, layers, strict=True))
        for part, p in layer.named_parameters()
    }
    complete = dict(state)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    if change == "missing":
        del state["classifier.3.weight"]
    else:
        state["classifier.3.weight"] = torch.zeros(7, 7)
    with pytest.raises(UserError, match=r"classifier\.3\.weight: expected 16384 numbers"):
        network.transplant(state)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    network.transplant(complete)
    assert [layer.weight.unique().tolist() for layer in layers] == [[i + 1.0] for i in range(15)]


def test_weights_that_cannot_be_had_name_the_address_and_the_place(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    place = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    with pytest.raises(UserError, match="no route to host") as error:
        fcn8s.imagenet_vgg16()
    assert str(place) in str(error.value)
    assert fcn8s.IMAGENET_URL in str(error.value)
    place.write_bytes(pickle.dumps("something else", protocol=2))
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth holds something else"):
        fcn8s.imagenet_vgg16()
    torch.save({"features.0.bias": torch.ones(64)}, place)
    digits = hashlib.sha256(place.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(fcn8s, "IMAGENET_URL", fcn8s.IMAGENET_URL.replace("397923af", digits))
    place.rename(place.with_name(f"vgg16-{digits}.pth"))
    assert fcn8s.imagenet_vgg16()["features.0.bias"].sum() == 64
