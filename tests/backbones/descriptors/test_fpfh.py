"""fpfh: against Open3D, and clouds without a neighbour."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from geoguide3d.backbones.descriptors.fpfh import fpfh


def bumpy_surface() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x, y = torch.rand(2, 1500, dtype=torch.float64)
    slope_x, slope_y = 0.6 * torch.cos(6 * x), -0.4 * torch.sin(4 * y)
    points = torch.stack([x, y, 0.1 * torch.sin(6 * x) + 0.1 * torch.cos(4 * y)], dim=1)
    normals = normalize(torch.stack([-slope_x, -slope_y, torch.ones_like(x)], dim=1), dim=1)
    return points, normals


@pytest.mark.parametrize(("radius", "max_neighbors"), [(0.1, 30), (0.2, 200)])
def test_matches_open3d(radius: float, max_neighbors: int) -> None:
    open3d = pytest.importorskip("open3d")
    points, normals = bumpy_surface()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.numpy()))
    cloud.normals = open3d.utility.Vector3dVector(normals.numpy())
    search = open3d.geometry.KDTreeSearchParamHybrid(radius=radius, max_nn=max_neighbors)
    expected = torch.tensor(open3d.pipelines.registration.compute_fpfh_feature(cloud, search).data.T)
    torch.testing.assert_close(fpfh(points, normals, radius, max_neighbors), expected, atol=1e-6, rtol=1e-6)


def test_a_plane_fills_one_bin_of_each_histogram() -> None:
    points = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0), torch.zeros(1))
    histograms = fpfh(points, torch.tensor([[0.0, 0, 1]]).expand(64, 3), 1.5, 10).unflatten(1, (3, 11))
    expected = torch.zeros(11, dtype=torch.float64)
    expected[5] = 200.0
    torch.testing.assert_close(histograms, expected.expand(64, 3, 11))


@pytest.mark.parametrize("points", [torch.zeros(1, 3), torch.eye(3) * 100])
def test_lonely_points_have_empty_histograms(points: torch.Tensor) -> None:
    assert not fpfh(points, torch.tensor([[0.0, 0, 1]]).expand(len(points), 3), 0.1, 30).any()
