from __future__ import annotations

import torch

from geoguide3d.encoders.room_clip.augmentation import augment


def halves(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are dark and object 7 on the left, bright and object 9 on the right."""
    objects = torch.full((count, 24, 32), 7)
    objects[:, :, 16:] = 9
    return torch.where(objects == 7, 0.2, 0.8)[:, None].expand(-1, 3, -1, -1).contiguous(), objects


def test_objects_stay_with_their_pixels() -> None:
    images, objects = augment(*halves(32), (24, 32), torch.Generator().manual_seed(0))
    assert images.shape == (32, 3, 24, 32)
    assert objects.shape == (32, 12, 16)
    assert set(objects.unique().tolist()) == {7, 9}
    bright = images.mean(1)[:, ::2, ::2] > 0.5
    assert float(((objects == 9) == bright).float().mean()) > 0.95


def test_images_stay_in_range_and_some_are_flipped() -> None:
    images, objects = augment(*halves(32), (24, 32), torch.Generator().manual_seed(1))
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    left = objects[:, 6, 0]
    assert {7, 9} <= set(left.tolist())


def test_the_generator_decides_everything() -> None:
    first = augment(*halves(4), (16, 20), torch.Generator().manual_seed(2))
    second = augment(*halves(4), (16, 20), torch.Generator().manual_seed(2))
    other = augment(*halves(4), (16, 20), torch.Generator().manual_seed(3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
