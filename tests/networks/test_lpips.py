import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.networks import lpips
from lsmbench.networks.lpips import LPIPS

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""torchvision's numbers of VGG-16's convolutions."""
BEFORE_POOLS = (2, 7, 14, 21)
COMPARED = (*BEFORE_POOLS, 28)


@pytest.fixture
def small():
    """The network at a 32nd of its width, with weights w ≥ 0."""
    network = LPIPS(filters=2)
    for p in network.linear.parameters():
        p.abs_()
    return network


def by_hand(picture, state, filters):
    """The five maps as torchvision's numbers and the paper say, in double precision."""
    x = picture.double().expand(-1, 3, -1, -1)
    means, deviations = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
    x = torch.stack([(x[:, c] - means[c]) / deviations[c] for c in range(3)], 1)
    maps = []
    for number in CONVOLUTIONS:
        weight, bias = (state[f"trunk.{number}.{part}"].double() for part in ("weight", "bias"))
        x = F.conv2d(x, weight, bias, padding=1).clamp(min=0)
        if number in COMPARED:
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        if number in BEFORE_POOLS:
            x = F.max_pool2d(x, 2)
    assert [m.shape[1] for m in maps] == [filters * f for f in (1, 2, 4, 8, 8)]
    return maps


@pytest.mark.parametrize("channels", [1, 3])
def test_the_distance_is_the_papers(small, channels):
    ours, theirs = torch.rand(2, 3, channels, 32, 48) * 2 - 1
    state = small.state_dict()
    expected = torch.zeros(3, dtype=torch.float64)
    for i, (a, b) in enumerate(zip(by_hand(ours, state, 2), by_hand(theirs, state, 2), strict=True)):
        weights = state[f"linear.{i}.weight"].double().flatten()
        for one in range(3):
            expected[one] += torch.einsum("chw,c->hw", (a[one] - b[one]) ** 2, weights).mean()
    kept = small.features(theirs)
    found = small.between(small.features(ours), kept)
    assert expected.min() > 0
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    assert not small.between(kept, small.features(theirs)).any()


def test_features_have_vectors_of_length_one(small):
    maps = small.features(torch.rand(2, 1, 32, 32))
    assert [tuple(m.shape) for m in maps] == [
        (2, 2 * f, s, s) for f, s in zip((1, 2, 4, 8, 8), (32, 16, 8, 4, 2), strict=True)
    ]
    lengths = torch.cat([m.norm(dim=1).flatten() for m in maps])
    assert ((lengths - 1).abs().minimum(lengths) < 1e-5).all()
    with pytest.raises(ValueError, match="1 or 3 channels, found 2"):
        small.features(torch.rand(1, 2, 32, 32))


def test_pictures_above_256_pixels_are_averaged_down(small):
    large = torch.rand(1, 1, 512, 256)
    boxes = large.reshape(1, 1, 256, 2, 256).mean(3)
    for a, b in zip(small.features(large), small.features(boxes), strict=True):
        torch.testing.assert_close(a, b)


def test_the_gradient_reaches_the_picture_alone_and_is_finite_where_a_layer_is_silent(small):
    small.trunk[28].bias.fill_(-1e6)
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    small.train()
    features = small.features(picture)
    assert not features[-1].any()
    small.between(features, small.features(torch.rand(1, 3, 32, 32))).sum().backward()
    assert picture.grad.isfinite().all()
    assert picture.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in small.parameters())


def files(filters=64):
    """State dictionaries in the layouts of the two files."""
    widths = [filters * f for f in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
    trunk = {"classifier.0.weight": torch.rand(3, 3), "classifier.0.bias": torch.rand(3)}
    for number, narrow, wide in zip(CONVOLUTIONS, [3, *widths], widths, strict=False):
        trunk[f"features.{number}.weight"] = torch.full((wide, narrow, 3, 3), number / 10)
        trunk[f"features.{number}.bias"] = torch.full((wide,), -number / 10)
    lines = {f"lin{i}.model.1.weight": torch.rand(1, filters * f, 1, 1) for i, f in enumerate((1, 2, 4, 8, 8))}
    return trunk, lines


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty folder of checkpoints; loading makes the small network, and torchmetrics has no weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(lpips, "_packaged", lambda: tmp_path / "nowhere")
    monkeypatch.setattr(LPIPS.__init__, "__defaults__", (2,))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def save(folder, trunk, lines):
    torch.save(trunk, folder / "vgg16-397923af.pth")
    torch.save(lines, folder / "lpips_vgg.pth")


def test_both_files_are_loaded_and_no_random_number_is_drawn(folder):
    trunk, lines = files(2)
    save(folder, trunk, lines)
    before = torch.get_rng_state()
    network = LPIPS.load()
    assert torch.equal(torch.get_rng_state(), before)
    convolutions = [m for m in network.trunk if isinstance(m, nn.Conv2d)]
    assert [c.weight.unique().item() for c in convolutions] == [pytest.approx(n / 10) for n in CONVOLUTIONS]
    assert [c.bias.unique().item() for c in convolutions] == [pytest.approx(-n / 10) for n in CONVOLUTIONS]
    assert all(torch.equal(line.weight, own) for line, own in zip(network.linear, lines.values(), strict=True))
    assert not any(p.requires_grad for p in network.parameters())


def test_the_published_layouts_fit():
    models = pytest.importorskip("torchvision.models")
    assert models.VGG16_Weights.IMAGENET1K_V1.url == lpips.IMAGENET_URL
    with torch.device("meta"):
        network, theirs = LPIPS(), models.vgg16(weights=None, init_weights=False).features
    assert {n: p.shape for n, p in network.trunk.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }
    published = torch.load(lpips._packaged(), "cpu", weights_only=True)
    assert {n: v.shape for n, v in published.items()} == {
        f"lin{i}.model.1.weight": layer.weight.shape for i, layer in enumerate(network.linear)
    }
    assert all((value >= 0).all() for value in published.values())


def test_torchmetrics_weights_serve_where_the_folder_has_none(folder, monkeypatch):
    trunk, lines = files(2)
    save(folder, trunk, lines)
    other = {name: value + 1 for name, value in lines.items()}
    torch.save(other, folder / "packaged.pth")
    monkeypatch.setattr(lpips, "_packaged", lambda: folder / "packaged.pth")
    assert torch.equal(LPIPS.load().linear[0].weight, lines["lin0.model.1.weight"])
    (folder / "lpips_vgg.pth").unlink()
    assert torch.equal(LPIPS.load().linear[0].weight, other["lin0.model.1.weight"])


@pytest.mark.parametrize(
    "missing", [("vgg16-397923af.pth",), ("lpips_vgg.pth",), ("vgg16-397923af.pth", "lpips_vgg.pth")]
)
def test_missing_files_are_named_with_address_and_place(folder, monkeypatch, missing):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("nothing is downloaded"))
    save(folder, *files(2))
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(UserError) as error:
        LPIPS.load()
    for name, url in (("vgg16-397923af.pth", lpips.IMAGENET_URL), ("lpips_vgg.pth", lpips.LINEAR_URL)):
        assert (str(folder / name) in str(error.value)) == (url in str(error.value)) == (name in missing)
    assert "--method.perceptual discriminator" in str(error.value)


def wrong(change, folder):
    trunk, lines = files(2)
    save(folder, trunk, lines)
    if change == "deeper":
        torch.save({**trunk, "features.30.weight": torch.rand(2)}, folder / "vgg16-397923af.pth")
    elif change == "wider":
        torch.save(files(4)[0], folder / "vgg16-397923af.pth")
    elif change == "resnet":
        torch.save({"conv1.weight": torch.rand(2)}, folder / "vgg16-397923af.pth")
    elif change == "alex":
        torch.save({**lines, "lin1.model.1.weight": torch.rand(1, 6, 1, 1)}, folder / "lpips_vgg.pth")
    elif change == "list":
        torch.save([1, 2], folder / "lpips_vgg.pth")
    else:
        (folder / "lpips_vgg.pth").write_text("<html>404")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("deeper", ("vgg16-397923af.pth", "features.30.weight: expected nothing, found shape (2,)")),
        ("wider", ("vgg16-397923af.pth", "features.0.weight: expected shape (2, 3, 3, 3), found shape (4, 3, 3, 3)")),
        ("resnet", ("vgg16-397923af.pth", "features.0.weight: expected shape (2, 3, 3, 3), found nothing")),
        ("alex", ("lpips_vgg.pth", "lin1.model.1.weight: expected shape (1, 4, 1, 1), found shape (1, 6, 1, 1)")),
        ("list", ("lpips_vgg.pth", "list")),
        ("page", ("lpips_vgg.pth", "cannot be loaded")),
    ],
)
def test_other_networks_files_are_refused(folder, change, said):
    wrong(change, folder)
    with pytest.raises(UserError) as error:
        LPIPS.load()
    assert all(part in str(error.value) for part in said), str(error.value)
