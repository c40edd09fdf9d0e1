"""superpoints_of_mesh, superpoints_of_cloud and neighbor_edges: known shapes and the official segmentator's graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geoguide3d.geometry.superpoints import (
    SuperpointSettings,
    color_differences,
    neighbor_edges,
    numbered_by_first_point,
    superpoints_of_cloud,
    superpoints_of_mesh,
    unsided_weights,
)
from geoguide3d.ops import edge_weights

SIDE = 20


def corner() -> tuple[Tensor, Tensor, Tensor]:
    """A floor and a wall of 20 × 20 points, 5 cm apart, with the edge between them: points, faces, the part of each."""
    ids = torch.arange(SIDE)
    u, v = torch.meshgrid(0.05 * (ids + 0.5), 0.05 * ids, indexing="ij")
    floor, wall = torch.stack([u, v, torch.zeros_like(u)], -1), torch.stack([torch.zeros_like(u), v, u], -1)
    points = torch.cat([floor.reshape(-1, 3), wall.reshape(-1, 3)])
    grid = torch.arange(2 * SIDE * SIDE).reshape(2, SIDE, SIDE)
    grid = torch.cat([grid[0].flip(0), grid[1]])  # from the far end of the floor to the top of the wall
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = torch.stack([a, b, c, b, d, c], -1).reshape(-1, 3)
    return points, faces, torch.arange(2).repeat_interleave(SIDE * SIDE)


def test_mesh_of_floor_and_wall() -> None:
    points, faces, part = corner()
    labels = superpoints_of_mesh(points, faces, SuperpointSettings(min_size=20))
    assert int(labels.max()) <= 2  # the row of vertices at the edge may go to either side or stand alone
    inside = points.amax(1) > 0.1
    inside &= (points[:, 0] > 0.1) | (points[:, 2] > 0.1)
    for side in (0, 1):
        assert len(labels[inside & (part == side)].unique()) == 1
    assert labels[0] != labels[-1] or labels[0] != labels[SIDE * SIDE]


def test_mesh_vertices_without_faces_stay_alone() -> None:
    points, faces, _ = corner()
    labels = superpoints_of_mesh(torch.cat([points, torch.zeros(2, 3)]), faces)
    assert labels[-2:].tolist() == [int(labels[:-2].max()) + 1, int(labels[:-2].max()) + 2]


@pytest.mark.parametrize("with_normals", [True, False])
def test_cloud_of_floor_and_wall(with_normals: bool) -> None:
    points, _, part = corner()
    normals = torch.tensor([[0.0, 0, 1], [1.0, 0, 0]])[part] if with_normals else None
    labels = superpoints_of_cloud(points, normals, SuperpointSettings(min_size=20))
    far = (points[:, 0] > 0.3) | (points[:, 2] > 0.3)
    for side in (0, 1):
        assert len(labels[far & (part == side)].unique()) == 1
    assert labels[far & (part == 0)][0] != labels[far & (part == 1)][0]


def test_surfaces_a_gap_apart_stay_apart() -> None:
    points, _, _ = corner()
    floor = points[: SIDE * SIDE]
    both = torch.cat([floor, floor + torch.tensor([0.0, 3.0, 0.0])])
    labels = superpoints_of_cloud(both, settings=SuperpointSettings(min_size=1000))
    assert labels.tolist() == [0] * len(floor) + [1] * len(floor)


def test_points_at_one_place_do_not_shorten_the_reach() -> None:
    """Every point of a row thrice: most edges have no length, and the median is that of the others."""
    row = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0, 0])
    tripled = row.repeat_interleave(3, dim=0)
    edges = neighbor_edges(tripled, neighbors=3, reach=1.5)
    apart = (tripled[edges[:, 0]] - tripled[edges[:, 1]]).norm(dim=1)
    assert set(apart.tolist()) == {0.0, 1.0}
    assert len(neighbor_edges(torch.zeros(4, 3), neighbors=2)) == 8


def test_neighbor_edges_are_the_official_graph(shared_fixtures: Path) -> None:
    recorded = np.load(shared_fixtures / "modules" / "superpoints" / "points_knn10.npz")
    points, official = torch.from_numpy(recorded["points"]), torch.from_numpy(recorded["edges"]).long()
    edges = neighbor_edges(points, 10, reach=float("inf"))
    for column in (lambda e: e[:, 0], lambda e: (points[e[:, 0]] - points[e[:, 1]]).double().norm(dim=1)):
        assert torch.equal(column(edges), column(official))
    # Equally near points may stand in either order.
    assert torch.equal(edges.reshape(-1, 10, 2)[..., 1].sort(1)[0], official.reshape(-1, 10, 2)[..., 1].sort(1)[0])


def test_superpoints_of_the_official_cloud(shared_fixtures: Path) -> None:
    recorded = np.load(shared_fixtures / "modules" / "superpoints" / "points_knn10.npz")
    points, normals = torch.from_numpy(recorded["points"]), torch.from_numpy(recorded["normals"])
    for run, (k, min_size) in enumerate(recorded["params"].tolist()):
        labels = superpoints_of_cloud(points, normals, SuperpointSettings(k, int(min_size), sided=True))
        _, official = np.unique(recorded[f"labels_{run}"], return_inverse=True)
        pairs = labels * len(points) + torch.from_numpy(official)
        # The official graph has no longest edge, so some of its superpoints are several here.
        assert len(pairs.unique()) <= 1.1 * (int(labels.max()) + 1)


def test_neighbor_edges_by_hand() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2.5, 0, 0], [100, 0, 0]])
    assert neighbor_edges(points, 2).tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 1], [2, 0]]
    assert neighbor_edges(points, 2, reach=float("inf"))[-2:].tolist() == [[3, 2], [3, 1]]
    assert len(neighbor_edges(points, 50, reach=float("inf"))) == 12


def test_neighbor_edges_of_points_at_one_place() -> None:
    points = torch.cat([torch.zeros(30, 3), torch.eye(3)])
    edges = neighbor_edges(points, 4)
    assert bool((edges[:, 0] != edges[:, 1]).all())
    assert edges[:, 0].bincount()[:30].tolist() == [4] * 30
    assert len(neighbor_edges(torch.zeros(5, 3), 3)) == 15  # no edge has a length, all stay


def test_empty_and_single() -> None:
    nothing = torch.empty(0, 3)
    assert superpoints_of_cloud(nothing).shape == (0,)
    assert superpoints_of_cloud(nothing, nothing).shape == (0,)
    assert superpoints_of_mesh(nothing, torch.empty(0, 3, dtype=torch.int64)).shape == (0,)
    assert superpoints_of_cloud(torch.ones(1, 3)).tolist() == [0]
    assert neighbor_edges(torch.ones(1, 3)).shape == (0, 2)


def test_rejects_what_has_no_graph() -> None:
    with pytest.raises(ValueError, match=r"points must be \(N, 3\)"):
        neighbor_edges(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"neighbors must be at least 1 and reach positive, got 0 and 3\.0"):
        neighbor_edges(torch.ones(3, 3), 0)
    with pytest.raises(ValueError, match="got 2 and nan"):
        neighbor_edges(torch.ones(3, 3), 2, float("nan"))
    with pytest.raises(ValueError, match=r"normals must be \(3, 3\)"):
        superpoints_of_cloud(torch.rand(3, 3), torch.rand(2, 3))
    with pytest.raises(ValueError, match="finite"):
        superpoints_of_cloud(torch.tensor([[0.0, 0, 0], [float("nan"), 0, 0]]))


def test_normals_that_turn_over_cut_nothing() -> None:
    points, _, part = corner()
    normals = torch.tensor([[0.0, 0, 1], [1.0, 0, 0]])[part]
    turned = normals * torch.where(torch.rand(len(points), 1, generator=torch.Generator().manual_seed(0)) < 0.5, -1, 1)
    settings = SuperpointSettings(min_size=20)
    assert torch.equal(superpoints_of_cloud(points, turned, settings), superpoints_of_cloud(points, normals, settings))
    sided = SuperpointSettings(min_size=20, sided=True)
    assert not torch.equal(superpoints_of_cloud(points, turned, sided), superpoints_of_cloud(points, normals, sided))


def test_unsided_weights_are_the_convex_ones() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, -0.5]])  # the ridge of a roof
    normals = torch.nn.functional.normalize(torch.tensor([[0.0, 0, 1], [1, 0, 1]]), dim=1)
    edges = torch.tensor([[0, 1]])
    assert edge_weights(points, normals, edges).tolist() == pytest.approx([(1 - 0.5**0.5) ** 2])
    for signs in ([1, 1], [1, -1], [-1, -1]):
        signed = normals * torch.tensor(signs).unsqueeze(1)
        assert unsided_weights(signed, edges).tolist() == pytest.approx([(1 - 0.5**0.5) ** 2])


def halves() -> tuple[Tensor, Tensor, Tensor]:
    """A flat floor of two colours, a tenth apart in every channel: points, colours, the part of each."""
    points = corner()[0][: SIDE * SIDE]
    part = (points[:, 0] > 0.5).long()
    return points, 0.5 + 0.1 * part.unsqueeze(1).expand(-1, 3).float(), part


def test_color_differences_by_hand() -> None:
    colors = torch.tensor([[0.0, 0.5, 1.0], [0.5, 0.5, 0.0]])
    assert color_differences(colors, torch.tensor([[0, 1], [1, 1]])).tolist() == [1.25, 0.0]


def test_colors_part_what_is_flat() -> None:
    points, colors, part = halves()
    normals = torch.tensor([0.0, 0, 1]).expand_as(points).contiguous()
    geometry = SuperpointSettings(color_weight=0.0)
    assert superpoints_of_cloud(points, normals, geometry, colors).unique().tolist() == [0]
    assert superpoints_of_cloud(points, normals).unique().tolist() == [0]
    assert torch.equal(superpoints_of_cloud(points, normals, colors=colors), part)  # on clouds the default

    _, faces, _ = corner()
    faces = faces[(faces < SIDE * SIDE).all(1)]
    assert superpoints_of_mesh(points, faces, colors=colors).unique().tolist() == [0]  # on meshes it is not
    assert torch.equal(superpoints_of_mesh(points, faces, SuperpointSettings(color_weight=1.0), colors), part)


def test_faces_without_area_stay_without_edges_whatever_their_colors() -> None:
    points, faces, _ = corner()
    lonely = len(points)
    faces = torch.cat([faces, torch.tensor([[0, 0, lonely]])])
    points = torch.cat([points, points[:1]])
    labels = superpoints_of_mesh(points, faces, SuperpointSettings(color_weight=1.0), torch.zeros_like(points))
    assert int((labels == labels[lonely]).sum()) == 1


def test_numbered_by_first_point() -> None:
    assert numbered_by_first_point(torch.tensor([7, 7, 3, 9, 3, 0])).tolist() == [0, 0, 1, 2, 1, 3]
    assert numbered_by_first_point(torch.empty(0, dtype=torch.int64)).shape == (0,)


def test_rejects_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"color_weight must be finite and not negative, got -1"):
        SuperpointSettings(color_weight=-1)
    points, _, _ = halves()
    with pytest.raises(ValueError, match=r"color_weight is 0\.5, but there are no colours; set it to 0"):
        superpoints_of_cloud(points, settings=SuperpointSettings(color_weight=0.5))
    with pytest.raises(ValueError, match=r"colors must be \(400, 3\) as points are, got \(3, 3\)"):
        superpoints_of_cloud(points, colors=torch.zeros(3, 3))
    with pytest.raises(ValueError, match="sided superpoints need normals"):
        superpoints_of_cloud(points, settings=SuperpointSettings(sided=True))
