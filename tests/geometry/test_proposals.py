"""Proposals: things of a small room are found, floor and walls take nothing in, and each cue does what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.proposals import (
    ProposalSettings,
    Surface,
    fused_affinity,
    propose_masks,
    touching_superpoints,
)
from geoguide3d.geometry.proposals.merging import merge_regions
from geoguide3d.geometry.proposals.planes import find_planes
from geoguide3d.geometry.proposals.regions import find_regions
from geoguide3d.geometry.superpoints import neighbor_edges

SPACING_M = 0.02


def patch(corner: list[float], first: list[float], second: list[float]) -> tuple[Tensor, Tensor]:
    """A flat patch of points, SPACING_M apart, and its normals first × second."""
    a, b = torch.tensor(first, dtype=torch.float32), torch.tensor(second, dtype=torch.float32)
    steps = [torch.arange(float(side.norm()) / SPACING_M) * SPACING_M + SPACING_M / 2 for side in (a, b)]
    u, v = torch.meshgrid(*steps, indexing="ij")
    points = torch.tensor(corner) + u.reshape(-1, 1) * normalize(a, dim=0) + v.reshape(-1, 1) * normalize(b, dim=0)
    return points, normalize(torch.linalg.cross(a, b), dim=0).expand_as(points)


def box(low: list[float], size: list[float]) -> list[tuple[Tensor, Tensor]]:
    """The five sides of a box that are seen when it stands on something."""
    (x, y, z), (dx, dy, dz) = low, size
    return [
        patch([x, y, z + dz], [dx, 0, 0], [0, dy, 0]),
        patch([x, y, z], [dx, 0, 0], [0, 0, dz]),
        patch([x + dx, y + dy, z], [-dx, 0, 0], [0, 0, dz]),
        patch([x, y + dy, z], [0, -dy, 0], [0, 0, dz]),
        patch([x + dx, y, z], [0, dy, 0], [0, 0, dz]),
    ]


WALLS = [
    patch([0, 0, 0], [4, 0, 0], [0, 4, 0]),
    patch([0, 4, 0], [0, 0, 2], [4, 0, 0]),
    patch([4, 0, 0], [0, 0, 2], [0, 4, 0]),
]
TABLE, VASE, CRATE = box([1, 1, 0], [1.2, 0.8, 0.7]), box([1.4, 1.2, 0.7], [0.3, 0.3, 0.4]), box([3, 2, 0], [0.5] * 3)
PARTS = [WALLS, TABLE, VASE, CRATE]


def room() -> tuple[Surface, Tensor]:
    """A floor and two walls, a red table with a blue vase on it, a green crate; and the thing of each point, 0 none."""
    patches = [side for part in PARTS for side in part]
    points, normals = (torch.cat([side[which] for side in patches]) for which in (0, 1))
    sizes = torch.tensor([len(side[0]) for side in patches])
    thing = torch.arange(len(PARTS)).repeat_interleave(torch.tensor([len(part) for part in PARTS]))
    things = thing.repeat_interleave(sizes)
    palette = torch.tensor([[0.9, 0.9, 0.9], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.7, 0.1]])
    ids = torch.arange(len(patches)).repeat_interleave(sizes)
    return Surface(points, normals, ids, neighbor_edges(points), palette[things]), things


def ious(masks: Tensor, wanted: Tensor) -> Tensor:
    return (masks & wanted).sum(1) / (masks | wanted).sum(1)


def test_every_thing_is_found_and_nothing_crosses_into_the_room() -> None:
    surface, things = room()
    masks = propose_masks(surface, ProposalSettings(color=2.0))  # colours of this room are pure
    dense = masks.to_dense()
    for thing in (1, 2, 3):
        assert float(ious(dense, things == thing).max()) == 1.0
    shell = (dense & (things == 0)).any(dim=1)
    assert not bool((dense[shell] & (things > 0)).any())
    # The crate stands alone and is of one colour: it is surer than its sides.
    crate = [row for row in range(len(masks)) if bool((dense[row] & (things == 3)).any())]
    assert len(crate) > 1
    assert bool((dense[crate[0]] == (things == 3)).all())
    assert masks.known_scores.diff().le(0).all()
    assert masks.known_scores.gt(0).all()
    assert masks.known_scores.le(1).all()


def test_masks_overlap_but_are_no_duplicates_and_large_enough() -> None:
    surface, _ = room()
    masks = propose_masks(surface, ProposalSettings(least_points=300))
    dense = masks.to_dense().float()
    shared = dense @ dense.T
    iou = shared / (dense.sum(1)[:, None] + dense.sum(1)[None] - shared)
    assert float((iou - torch.eye(len(masks))).max()) < 0.8
    assert float((iou - torch.eye(len(masks))).max()) > 0.0
    assert int(masks.sizes.min()) >= 300
    few = propose_masks(surface, ProposalSettings(least_points=300, most_masks=2))
    assert torch.equal(few.to_dense(), masks.to_dense()[:2])
    assert len(propose_masks(surface, ProposalSettings(duplicate_iou=0.1))) < len(masks)


def test_floor_and_walls_are_planes_and_a_table_top_is_none() -> None:
    surface, _ = room()
    regions = find_regions(surface)
    planes, normals = find_planes(surface, regions, 0.5)
    assert planes.tolist() == [True] * 3 + [False] * 15
    torch.testing.assert_close(normals[0], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    assert regions.areas_m2[0] == pytest.approx(16.0, rel=0.05)
    assert not find_planes(surface, regions, 20.0)[0].any()
    assert torch.equal(regions.pairs, touching_superpoints(surface.superpoints, surface.edges))
    assert int(regions.lengths.sum()) * 2 == int(regions.outlines.sum())


def tree_of(surface: Surface, affinity: Tensor | None = None, settings: ProposalSettings | None = None) -> list[int]:
    regions = find_regions(surface)
    every = torch.ones(len(regions.pairs), dtype=torch.bool)
    tree = merge_regions(regions, every, affinity, settings or ProposalSettings())
    inner = tree.parent >= 0
    assert bool((tree.parent[inner] > inner.nonzero().squeeze(1)).all())
    assert bool((tree.cost[tree.parent[inner]] >= tree.cost[inner]).all())
    return tree.parent.tolist()


def strip(heights: list[float], colors: list[float]) -> Surface:
    """Flat patches in a row along x; neighbours differ in height by what `heights` says, and in grey."""
    patches = [patch([0.5 * i, 0, z], [0.5, 0, 0], [0, 0.5, 0]) for i, z in enumerate(heights)]
    points, normals = (torch.cat([side[which] for side in patches]) for which in (0, 1))
    ids = torch.arange(len(patches)).repeat_interleave(len(patches[0][0]))
    return Surface(points, normals, ids, neighbor_edges(points), torch.tensor(colors)[ids].unsqueeze(1).expand(-1, 3))


def test_the_more_alike_in_colour_merge_first() -> None:
    assert tree_of(strip([0, 0, 0], [0.2, 0.3, 0.8])) == [3, 3, 4, 4, -1]
    assert tree_of(strip([0, 0, 0], [0.2, 0.7, 0.8])) == [4, 3, 3, 4, -1]


def test_views_that_see_two_together_merge_them_first() -> None:
    surface = replace(strip([0, 0, 0], [0.5, 0.5, 0.5]), colors=None)
    assert tree_of(surface, torch.tensor([0.1, 0.9])) == [4, 3, 3, 4, -1]
    assert tree_of(surface, torch.tensor([0.9, 0.1])) == [3, 3, 4, 4, -1]
    # What is not known has no say: the two boundaries are alike, and the first comes first.
    assert tree_of(surface, torch.tensor([torch.nan, torch.nan])) == tree_of(surface)


def pavement(*slabs: tuple[float, float, float, float]) -> Surface:
    """Flat slabs in one plane, each by x, y, width and height in metres, without colours."""
    patches = [patch([x, y, 0], [width, 0, 0], [0, height, 0]) for x, y, width, height in slabs]
    points, normals = (torch.cat([side[which] for side in patches]) for which in (0, 1))
    ids = torch.arange(len(slabs)).repeat_interleave(torch.tensor([len(side[0]) for side in patches]))
    return Surface(points, normals, ids, neighbor_edges(points))


SQUARE = pavement((0, 0, 0.5, 0.5), (0.5, 0, 0.5, 0.5), (0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5))


def affinity_of(surface: Surface, known: dict[tuple[int, int], float]) -> Tensor:
    pairs = touching_superpoints(surface.superpoints, surface.edges).tolist()
    return torch.tensor([known.get((first, second), torch.nan) for first, second in pairs])


def test_boundaries_of_merged_regions_are_added_up() -> None:
    """Slabs 0 and 1 lie beside each other, 2 along both of them, 3 on the other side of 2."""
    surface = pavement((0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5), (0, 0, 1, 0.5), (0, -0.5, 0.5, 0.5))
    settings = ProposalSettings(contact=0, color=0, views=1)
    known = {(0, 1): 1.0, (0, 2): 0.9, (1, 2): 0.1, (2, 3): 0.6}  # 2 is half alike to what 0 and 1 make
    assert tree_of(surface, affinity_of(surface, known), settings) == [4, 4, 5, 5, 6, 6, -1]


def test_a_merged_region_has_the_outline_that_is_left() -> None:
    """Two halves of a square share their whole outline, which lies inside each of them no more."""
    settings = ProposalSettings(concavity=0, contact=1, color=0, views=1, highest_cost=0.6)
    known = {(0, 1): 1.0, (2, 3): 1.0, (0, 2): 0.0, (1, 3): 0.0}
    parent = tree_of(SQUARE, affinity_of(SQUARE, known), settings)
    assert parent[0] == parent[1] != parent[2] == parent[3]
    assert parent[4:] == [6, 6, -1]


def test_the_cost_of_a_region_is_no_less_than_that_of_its_parts() -> None:
    """The last merge of a square's quarters would cost nothing: they have all of their outline in common."""
    tree_of(SQUARE, settings=ProposalSettings(concavity=0, contact=1, color=0))


def test_a_region_scores_by_the_merges_below_and_above_it_and_by_its_area() -> None:
    """Two slabs of 0.25 m² that views see as half alike: the other cues of their merge are 0."""
    surface = pavement((0, 0, 0.5, 0.5), (0.5, 0, 0.5, 0.5))
    cost = 2.0 * 0.5 / (1.0 + 1.0 + 0.5 + 2.0)
    masks = propose_masks(surface, affinity=torch.tensor([0.5]))
    assert masks.sizes.tolist() == [1250, 625, 625]
    whole, part = (1 - 0.5 * cost) * 0.5 / (0.5 + 0.1), cost * 0.25 / (0.25 + 0.1)
    assert masks.known_scores.tolist() == pytest.approx([whole, part, part], rel=1e-5)


def test_the_room_itself_merges_with_its_own_continuation_alone() -> None:
    surface, things = room()
    sides = [set(surface.superpoints[mask & (things == 0)].tolist()) for mask in propose_masks(surface).to_dense()]
    assert [{0}, {1}, {2}] == sorted(side for side in sides if side)  # the floor, and each wall by itself
    floor = pavement((0, 0, 2, 2), (2, 0, 2, 2), (1, 2, 0.5, 0.5))  # and a mat at its rim
    assert sorted(propose_masks(floor).sizes.tolist()) == [625, 10_000, 10_000, 20_000]


def test_without_colours_a_fold_is_forgiven_more_than_not() -> None:
    patches = [patch([0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]), patch([0.5, 0, 0], [0, 0, 0.5], [0, 0.5, 0])]
    points, normals = (torch.cat([side[which] for side in patches]) for which in (0, 1))
    surface = Surface(points, normals, torch.arange(2).repeat_interleave(len(patches[0][0])), neighbor_edges(points))
    assert tree_of(surface, settings=ProposalSettings(highest_cost=0.35, color=2)) == [2, 2, -1]
    assert tree_of(surface, settings=ProposalSettings(highest_cost=0.35, color=0)) == [-1, -1]


def test_merges_that_cost_too_much_are_not_made() -> None:
    surface = strip([0, 0, 0], [0.5, 0.5, 0.5])
    apart = torch.tensor([0.0, 1.0])
    assert tree_of(surface, apart, ProposalSettings(highest_cost=0.3)) == [-1, 3, 3, -1]
    assert tree_of(surface, apart, ProposalSettings(highest_cost=1.0)) == [4, 3, 3, 4, -1]


def test_a_convex_edge_holds_together_and_a_concave_one_does_not() -> None:
    """A step: the lower tread, the riser, the upper tread. Riser and upper tread are sides of one block."""
    patches = [
        patch([0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]),
        patch([0.5, 0, 0], [0, 0, 0.5], [0, 0.5, 0]),
        patch([0.5, 0, 0.5], [0.5, 0, 0], [0, 0.5, 0]),
    ]
    points = torch.cat([side[0] for side in patches])
    normals = torch.cat([side[1] for side in patches])
    ids = torch.arange(3).repeat_interleave(len(patches[0][0]))
    assert normals[ids == 1][0].tolist() == [-1.0, 0.0, 0.0]  # towards the one who stands on the lower tread
    assert tree_of(Surface(points, normals, ids, neighbor_edges(points))) == [4, 3, 3, 4, -1]


def test_the_same_input_gives_the_same_masks_and_order_of_points_does_not_matter() -> None:
    surface, _ = room()
    masks = propose_masks(surface)
    again = propose_masks(surface)
    assert torch.equal(masks.point_ids, again.point_ids)
    assert torch.equal(masks.known_scores, again.known_scores)
    order = torch.randperm(len(surface.points), generator=torch.Generator().manual_seed(0))
    place = order.argsort()
    assert surface.colors is not None
    parts = (surface.points[order], surface.normals[order], surface.superpoints[order])
    mixed = propose_masks(Surface(*parts, place[surface.edges], surface.colors[order]))
    assert torch.equal(mixed.to_dense()[:, place], masks.to_dense())


def test_superpoints_without_neighbours_without_points_and_no_points_at_all() -> None:
    surface, _ = room()
    alone = propose_masks(replace(surface, edges=torch.empty(0, 2, dtype=torch.int64)))
    assert len(alone) == 18
    gaps = propose_masks(replace(surface, superpoints=surface.superpoints * 2 + 1))
    assert torch.equal(gaps.to_dense(), propose_masks(surface).to_dense())
    nothing = Surface(
        torch.empty(0, 3), torch.empty(0, 3), torch.empty(0, dtype=torch.int64), torch.empty(0, 2, dtype=torch.int64)
    )
    assert len(propose_masks(nothing)) == 0


def test_affinity_of_fused_features() -> None:
    """Superpoints 0 and 1 are alike but for their length, 2 is another, 3 was not seen."""
    features = torch.tensor([[4.0, 1, 0, 1], [4, 1, 0, 1], [8, 2, 0, 2], [4, 0, 1, 1], [9, 9, 9, 9], [0, 0, 0, 0]])
    counts = torch.tensor([1, 2, 1, 3, 0, 0])
    superpoints = torch.tensor([0, 0, 1, 2, 2, 3])
    pairs = torch.tensor([[0, 1], [1, 2], [2, 3]])
    affinity = fused_affinity(features, counts, superpoints, pairs)
    assert affinity[:2].tolist() == pytest.approx([1.0, 0.0], abs=1e-5)
    assert bool(affinity[2].isnan())


def test_what_is_refused() -> None:
    surface, _ = room()
    count = len(touching_superpoints(surface.superpoints, surface.edges))
    with pytest.raises(ValueError, match=rf"affinity must be \({count},\) floats"):
        propose_masks(surface, affinity=torch.zeros(count + 1))
    with pytest.raises(ValueError, match=r"affinity must lie in \[0, 1\], got 0 to 2"):
        propose_masks(surface, affinity=torch.tensor([0.0, 2.0] + [torch.nan] * (count - 2)))
    for change, message in (
        ({"normals": surface.normals[1:]}, r"normals must be \(\d+, 3\) floats"),
        ({"superpoints": surface.superpoints.int()}, r"superpoints must be \(\d+,\) int64"),
        ({"superpoints": surface.superpoints - 1}, "superpoints must be 0 or more, got -1"),
        ({"edges": surface.edges[:, :1]}, r"edges must be \(E, 2\) int64"),
        ({"edges": surface.edges + len(surface.points)}, "edges must name points of 0"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(surface, **change)
    for settings, message in (
        ({"color": -1.0}, "color must be at least 0, got -1.0"),
        ({"views": torch.inf}, "concavity, contact, color and views must be finite"),
        ({"duplicate_iou": 0.0}, r"duplicate_iou in \(0, 1\]"),
        ({"concavity": 0.0, "contact": 0.0}, "nothing to judge by"),
    ):
        with pytest.raises(ValueError, match=message):
            ProposalSettings(**settings)
