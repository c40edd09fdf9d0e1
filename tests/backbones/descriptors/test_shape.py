"""shape: eigen-features of shapes whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.backbones.descriptors.neighborhood import Neighborhood
from geoguide3d.backbones.descriptors.shape import EIGEN_FEATURES, eigen_features

RADIUS_M = 0.3


def at_middle(points: Tensor) -> dict[str, float]:
    """Returns the features of the first point."""
    points = points.to(torch.float64)
    values = eigen_features(points, Neighborhood(points, RADIUS_M), RADIUS_M)[0].tolist()
    return dict(zip(EIGEN_FEATURES, values, strict=True))


def grid(x: int, y: int, z: int) -> Tensor:
    steps = [torch.arange(-n, n + 1) * 0.02 for n in (x, y, z)]
    points = torch.cartesian_prod(*steps)
    return points[points.norm(dim=1).argsort(stable=True)]


def test_plane() -> None:
    level, upright = at_middle(grid(30, 30, 0)), at_middle(grid(30, 0, 30))
    for plane in (level, upright):
        assert plane["planarity"] == pytest.approx(1.0, abs=0.02)
        assert plane["linearity"] == pytest.approx(0.0, abs=0.02)
        assert plane["thickness"] == pytest.approx(0.0, abs=1e-6)
    assert level["verticality"] == pytest.approx(0.0, abs=1e-6)
    assert upright["verticality"] == pytest.approx(1.0, abs=1e-6)


def test_line() -> None:
    level, upright = at_middle(grid(30, 0, 0)), at_middle(grid(0, 0, 30))
    for line in (level, upright):
        assert line["linearity"] == pytest.approx(1.0, abs=1e-5)
        assert line["planarity"] == line["scattering"] == pytest.approx(0.0, abs=1e-5)
    assert level["rise"] == pytest.approx(0.0, abs=1e-6)
    assert upright["rise"] == pytest.approx(1.0, abs=1e-6)


def test_solid_ball_and_small_sphere_scatter() -> None:
    torch.manual_seed(0)
    sphere = torch.cat([torch.zeros(1, 3), 0.1 * normalize(torch.randn(4000, 3), dim=1)])
    for points in (grid(18, 18, 18), sphere):
        ball = at_middle(points)
        assert ball["scattering"] == pytest.approx(1.0, abs=0.1)
        assert ball["omnivariance"] == pytest.approx(1.0, abs=0.05)
        assert ball["surface variation"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("points", [torch.ones(1, 3), torch.ones(5, 3)], ids=["one point", "duplicates"])
def test_one_position_has_no_shape(points: Tensor) -> None:
    assert set(at_middle(points).values()) == {0.0}


def test_neighborhood_is_a_smooth_mean() -> None:
    torch.manual_seed(0)
    points = torch.rand(3000, 3, dtype=torch.float64) * torch.tensor([2.0, 2.0, 0.0])
    means = Neighborhood(points, 0.5).mean(points)
    inside = ((points[:, :2] > 0.5) & (points[:, :2] < 1.5)).all(dim=1)
    # The mean position around a point far from the border is the point itself, up to the sampling.
    assert float((means - points)[inside].norm(dim=1).max()) < 0.06
    constant = Neighborhood(points, 0.5).mean_and_deviation(torch.full((3000, 1), 3.0))
    torch.testing.assert_close(constant, torch.tensor([[3.0, 0.0]]).double().expand(3000, 2), atol=1e-6, rtol=0)
