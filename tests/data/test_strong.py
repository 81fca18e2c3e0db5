"""Strong views: pure functions of their numbers, in range, in place; boxes inside photos; CutMix mixes all alike."""

from __future__ import annotations

import torch

from lsmbench.data.strong import BOX_NUMBERS, NUMBERS, boxes, cut_mixed, strong_views


def numbers(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


def test_a_view_depends_on_its_own_photo_and_numbers_alone() -> None:
    photos, drawn = torch.rand(6, 3, 20, 20), numbers(6, NUMBERS)
    views = strong_views(photos, drawn)
    assert views.shape == photos.shape
    assert views.min() >= 0
    assert views.max() <= 1
    for i in range(6):
        assert torch.equal(strong_views(photos[i : i + 1], drawn[i : i + 1])[0], views[i])
    assert not torch.equal(strong_views(photos, numbers(6, NUMBERS, seed=1)), views)


def test_colours_grey_and_blur_come_by_their_numbers() -> None:
    photo, calm = torch.rand(1, 3, 24, 24), torch.ones(1, NUMBERS)
    assert torch.equal(strong_views(photo, calm), photo)  # no number is below its chance
    grey = calm.clone()
    grey[0, 1] = 0.1
    made = strong_views(photo, grey)
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.allclose(
        made[0, 0], (photo[0] * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(0), atol=1e-4
    )
    jitter = calm.clone()
    jitter[0, [0, 4, 5, 6, 7]] = torch.tensor([0.1, 1.0, 0.5, 0.5, 0.5])  # brightness by 1.5, nothing else
    assert torch.allclose(strong_views(photo, jitter), (1.5 * photo).clamp(max=1), atol=1e-5)
    blur = calm.clone()
    blur[0, 2:4] = torch.tensor([0.1, 1.0])
    spot = torch.zeros(1, 3, 25, 25)
    spot[..., 12, 12] = 1
    made = strong_views(spot, blur)[0, 0]
    assert torch.allclose(made, made.T, atol=1e-6)
    offsets = torch.arange(-6.0, 7)
    gauss = torch.exp(-0.5 * (offsets / 2) ** 2)  # sigma 2, cut at three of them
    assert torch.allclose(made[12, 6:19], gauss / gauss.sum() * (gauss / gauss.sum())[6], atol=1e-5)


def test_photos_of_other_channels_keep_their_colours() -> None:
    for channels in (1, 5):
        photos, drawn = torch.rand(4, channels, 16, 16), numbers(4, NUMBERS)
        assert strong_views(photos, drawn).shape == photos.shape
    drawn[:, 2] = 1.0  # no blur
    assert torch.equal(strong_views(photos, drawn), photos)


def test_boxes_are_rectangles_inside_of_their_area_and_shape() -> None:
    inside = boxes(numbers(400, BOX_NUMBERS), 32, 40)
    assert inside.shape == (400, 32, 40)
    some = inside.flatten(1).any(1)
    assert 0.4 < some.float().mean() < 0.6
    shares = []
    for box in inside[some]:
        rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert box.sum() == len(rows) * len(columns)
        shares.append(box.float().mean().item())
    assert min(shares) < 0.05
    assert 0.3 < max(shares) <= 0.4
    again = boxes(numbers(400, BOX_NUMBERS)[7:9], 32, 40)
    assert torch.equal(again, inside[7:9])


def test_photo_and_mask_are_cut_alike() -> None:
    masks, others = torch.randint(0, 2, (8, 16, 16)), torch.randint(2, 4, (8, 16, 16))
    inside = boxes(numbers(8, BOX_NUMBERS), 16, 16)
    mixed = cut_mixed(masks, others, inside)
    photos = cut_mixed(masks[:, None] / 10, others[:, None] / 10, inside)
    assert torch.equal(photos[:, 0], mixed / 10)
    assert torch.equal(mixed >= 2, inside)
    assert inside.any()
