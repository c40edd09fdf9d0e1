"""Instance mask reconstruction: floor, known values, what is hidden, and a dense reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, cosine_similarity

from geoguide3d.losses.imr import ImrSettings, drawn_masks, imr, visible_parts
from geoguide3d.losses.pooling import pooled_means
from geoguide3d.ops.point_lists import PointLists

FLOOR = math.log1p(math.exp(-1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lists(dense: Tensor) -> PointLists:
    counts = dense.sum(dim=1)
    return PointLists(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), dense.nonzero()[:, 1])


def identity(channels: int) -> nn.Linear:
    head = nn.Linear(channels, channels).double()
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def value(semantic: Tensor, masks: PointLists, visible: PointLists, head: nn.Linear, settings: ImrSettings) -> Tensor:
    return imr(semantic, pooled_means(semantic, {"v": visible})["v"], masks, head, settings)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_matches_dense_masks(scale: float, balanced: bool) -> None:
    semantic = torch.randn(90, 5, dtype=torch.float64, generator=generator()).requires_grad_()
    dense = torch.rand(4, 90, generator=generator(1)) < 0.3
    settings = ImrSettings(logit_scale=scale, balanced=balanced)
    torch.manual_seed(0)
    head, masks = nn.Linear(5, 5).double(), lists(dense)
    visible = visible_parts(masks, settings, generator(2))
    found = value(semantic, masks, visible, head, settings)
    losses = []
    for mask, begin, end in zip(dense, visible.offsets.tolist(), visible.offsets.tolist()[1:], strict=False):
        described = head(semantic[visible.point_ids[begin:end]].mean(dim=0))
        foretold = (scale * cosine_similarity(described[None], semantic, dim=1)).sigmoid()
        each = binary_cross_entropy(foretold, mask.double(), reduction="none")
        losses.append((each[mask].mean() + each[~mask].mean()) / 2 if balanced else each.mean())
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    leaves = [semantic, *head.parameters()]
    for got, wanted in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, wanted)


def test_gradient_by_finite_differences() -> None:
    semantic = torch.randn(30, 4, dtype=torch.float64, generator=generator()).requires_grad_()
    masks = lists(torch.rand(3, 30, generator=generator(1)) < 0.4)
    settings = ImrSettings(logit_scale=3.0, balanced=True)
    visible = visible_parts(masks, settings, generator(2))
    head = identity(4)
    assert torch.autograd.gradcheck(
        lambda leaf, *_: value(leaf, masks, visible, head, settings), (semantic, *head.parameters())
    )


def test_floor_and_value_at_right_angles() -> None:
    dense = torch.zeros(2, 20, dtype=torch.bool)
    dense[0, :10], dense[1, 10:] = True, True
    masks = lists(dense)
    opposite = torch.cat([torch.tensor([[1.0, 0.0]]).repeat(10, 1), torch.tensor([[-1.0, 0.0]]).repeat(10, 1)]).double()
    assert value(opposite, masks, masks, identity(2), ImrSettings()).item() == pytest.approx(FLOOR, abs=1e-9)
    for seed in range(5):
        rows = torch.randn(20, 2, dtype=torch.float64, generator=generator(seed))
        assert value(rows, masks, masks, identity(2), ImrSettings()).item() >= FLOOR
    turning = identity(2)  # describes a mask at a right angle to all points
    turning.weight.data = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    assert value(opposite, masks, masks, turning, ImrSettings()).item() == pytest.approx(math.log(2), abs=1e-9)


def test_a_mask_of_everything_and_one_point() -> None:
    semantic = torch.randn(9, 3, dtype=torch.float64, generator=generator()).requires_grad_()
    masks = PointLists(torch.tensor([0, 9, 10]), torch.tensor([*range(9), 4]))
    for settings in (ImrSettings(), ImrSettings(balanced=True, logit_scale=10.0)):
        visible = visible_parts(masks, settings, generator())
        assert visible.sizes.tolist() == [4, 1]
        loss = value(semantic, masks, visible, identity(3), settings)
        (grad,) = torch.autograd.grad(loss, semantic)
        assert bool(torch.isfinite(loss)) and bool(torch.isfinite(grad).all())
    nothing = PointLists(torch.tensor([0]), torch.tensor([], dtype=torch.int64))
    with pytest.raises(ValueError, match="no masks"):
        imr(semantic, semantic[:0], nothing, identity(3), ImrSettings())


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("occlusion", ["points", "superpoints", "half_space"])
def test_what_is_visible_is_a_part_of_the_mask(occlusion: str, ratio: float) -> None:
    dense = torch.rand(6, 400, generator=generator()) < torch.tensor([0.9, 0.5, 0.3, 0.2, 0.1, 0.02])[:, None]
    masks, settings = lists(dense), ImrSettings(occlusion=occlusion, ratio=ratio)  # type: ignore[arg-type]
    superpoints, points = torch.arange(400) // 4, torch.randn(400, 3, generator=generator(3))
    visible = visible_parts(masks, settings, generator(1), superpoints, points)
    wanted = ((1 - ratio) * masks.sizes).round().clamp(min=1)
    extra = visible.sizes - wanted  # the superpoint that crosses the border stays whole
    assert bool((extra >= 0).all()) and int(extra.max()) <= (3 if occlusion == "superpoints" else 0)
    pairs = set(zip(visible.owners.tolist(), visible.point_ids.tolist(), strict=True))
    assert len(pairs) == len(visible.point_ids)
    assert pairs <= set(zip(masks.owners.tolist(), masks.point_ids.tolist(), strict=True))
    again = visible_parts(masks, settings, generator(1), superpoints, points)
    assert torch.equal(again.point_ids, visible.point_ids)


def test_superpoints_are_hidden_whole_and_half_spaces_by_a_plane() -> None:
    masks = PointLists(torch.tensor([0, 400]), torch.arange(400))
    superpoints = torch.randint(0, 20, (400,), generator=generator())
    hidden = visible_parts(masks, ImrSettings(occlusion="superpoints"), generator(1), superpoints)
    seen = torch.zeros(400, dtype=torch.bool).index_fill(0, hidden.point_ids, True)
    for piece in range(20):
        assert seen[superpoints == piece].unique().numel() == 1
    assert 0 < int(seen.sum()) < 400
    points = torch.randn(400, 3, generator=generator(2))
    kept = visible_parts(masks, ImrSettings(occlusion="half_space"), generator(1), None, points).point_ids
    normal = torch.randn(1, 3, generator=generator(1))[0]
    heights = points @ normal
    hidden_points = torch.ones(400, dtype=torch.bool).index_fill(0, kept, False)
    assert float(heights[kept].max()) <= float(heights[hidden_points].min())


def test_random_points_differ_from_step_to_step() -> None:
    masks = PointLists(torch.tensor([0, 400]), torch.arange(400))
    seed = generator()
    first, second = (visible_parts(masks, ImrSettings(), seed).point_ids.sort().values for _ in range(2))
    assert not torch.equal(first, second)


def test_what_an_occlusion_needs_is_named() -> None:
    masks = PointLists(torch.tensor([0, 2]), torch.tensor([0, 1]))
    for occlusion, missing in (("superpoints", "scenes with superpoints"), ("half_space", "Sample.points")):
        with pytest.raises(ValueError, match=missing):
            visible_parts(masks, ImrSettings(occlusion=occlusion), generator())  # type: ignore[arg-type]


def test_small_masks_are_left_out_and_the_others_drawn() -> None:
    sizes = torch.tensor([49, 50, 0, 300, 80, 51])
    assert drawn_masks(sizes, ImrSettings(), generator()).tolist() == [1, 3, 4, 5]
    drawn = {tuple(drawn_masks(sizes, ImrSettings(most_masks=2), generator(seed)).tolist()) for seed in range(20)}
    assert len(drawn) > 3 and all(len(rows) == 2 and rows == tuple(sorted(rows)) for rows in drawn)


@pytest.mark.parametrize("wrong", [{"ratio": 1.0}, {"ratio": -0.1}, {"logit_scale": 0.0}, {"most_masks": 0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"imr.{next(iter(wrong))}"):
        ImrSettings(**wrong)  # type: ignore[arg-type]
