"""normals: known surfaces, and clouds that fix no plane."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from geoguide3d.geometry.normals import normals_from_faces, normals_from_neighbors


def sphere(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    return normalize(torch.randn(count, 3), dim=1)


def test_faces_are_weighted_by_area() -> None:
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])  # areas 1/2 facing +z, 3/2 facing +x
    normals = normals_from_faces(points, faces)
    torch.testing.assert_close(normals[0], normalize(torch.tensor([3.0, 0.0, 1.0]), dim=0))
    torch.testing.assert_close(normals[1], torch.tensor([0.0, 0.0, 1.0]))
    assert normals.dtype == torch.float32


def test_vertices_without_area_have_no_normal() -> None:
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [5.0, 5, 5]])
    assert not normals_from_faces(points, torch.tensor([[0, 1, 2]])).any()
    assert not normals_from_faces(points, torch.zeros(0, 3, dtype=torch.int64)).any()


def test_rejects_a_face_of_a_missing_vertex() -> None:
    with pytest.raises(ValueError, match="0 to 7, but there are 4 points"):
        normals_from_faces(torch.zeros(4, 3), torch.tensor([[0, 1, 7]]))


def test_sphere_seen_from_its_center_and_from_outside() -> None:
    points = 0.3 * sphere(3000)
    inward = normals_from_neighbors(points)
    assert float((inward * -normalize(points, dim=1)).sum(dim=1).min()) > 0.97
    far = torch.tensor([0.0, 0.0, 100.0])
    assert bool((((far - points) * normals_from_neighbors(points, toward=far)).sum(dim=1) >= 0).all())


def test_toward_may_differ_from_point_to_point() -> None:
    points = torch.rand(50, 3) * torch.tensor([0.2, 0.2, 0.0])
    toward = points + torch.tensor([0.0, 0.0, 1.0])
    toward[:25, 2] = -1.0
    normals = normals_from_neighbors(points, toward=toward)
    assert bool((normals[:25, 2] < -0.99).all())
    assert bool((normals[25:, 2] > 0.99).all())


def test_a_radius_keeps_the_other_side_of_an_edge_out() -> None:
    torch.manual_seed(0)
    floor = torch.rand(4000, 3) * torch.tensor([1.0, 1.0, 0.0])
    wall = torch.rand(4000, 3) * torch.tensor([0.0, 1.0, 1.0])
    normals = normals_from_neighbors(torch.cat([floor, wall]), k=200, radius_m=0.1)
    assert bool((normals[:4000][floor[:, 0] > 0.11, 2].abs() > 0.999).all())


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(1, 3),
        torch.zeros(7, 3),
        torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]),
        torch.linspace(0, 1, 9)[:, None] * torch.ones(3),
    ],
    ids=["one point", "duplicates", "two points", "a line"],
)
def test_unit_length_where_no_plane_is_fixed(points: torch.Tensor) -> None:
    torch.testing.assert_close(normals_from_neighbors(points).norm(dim=1), torch.ones(len(points)))


def test_sparse_points_have_normals_too() -> None:
    torch.manual_seed(0)
    points = torch.rand(100, 3) * torch.tensor([50.0, 50.0, 0.0])
    assert bool((normals_from_neighbors(points, radius_m=0.1)[:, 2].abs() > 0.999).all())
