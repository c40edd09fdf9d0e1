"""Which points a camera sees, decided against a depth map of the sensor or of the scene itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.rendering import float32_or_64
from geoguide3d.ops import DepthTest, knn, project_points

_SPACING_SAMPLE = 4096
_SPACING_NEIGHBOUR = 6


@dataclass(frozen=True)
class VisibilityRule:
    """When a point that projects into an image counts as seen: |d − z| ≤ depth_tolerance_m + depth_tolerance_ratio · d.

    Args:
        depth_tolerance_m: metres, at any distance.
        depth_tolerance_ratio: share of the measured depth d.
        border_px: pixels of the camera image, along every edge, in which nothing is seen.
        occlusion: "depth" compares with a depth map, "none" sees every point in front of the camera.

    Raises:
        ValueError: a negative tolerance or border, or an unknown occlusion.
    """

    depth_tolerance_m: float = 0.03
    depth_tolerance_ratio: float = 0.02
    border_px: int = 0
    occlusion: Literal["depth", "none"] = "depth"

    def __post_init__(self) -> None:
        for name in ("depth_tolerance_m", "depth_tolerance_ratio", "border_px"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.occlusion not in ("depth", "none"):
            raise ValueError(f'occlusion must be "depth" or "none", got {self.occlusion!r}')


@dataclass(frozen=True)
class VisiblePoints:
    """The points that one view sees, M of them, in ascending order.

    Args:
        point_ids: (M,) int64 rows of the cloud, each at most once.
        uv: (M, 2) float64 projection, pixels of the camera image, not rounded.
        depth: (M,) float32 z-depth of the point, metres.
    """

    point_ids: Tensor
    uv: Tensor
    depth: Tensor

    @property
    def u(self) -> Tensor:
        """(M,) int64 column of the camera image, the projection rounded half to even."""
        return self.uv[:, 0].round().to(torch.int64)

    @property
    def v(self) -> Tensor:
        """(M,) int64 row of the camera image, the projection rounded half to even."""
        return self.uv[:, 1].round().to(torch.int64)

    def __len__(self) -> int:
        return len(self.point_ids)


def visible_points(points: Tensor, camera: Camera, depth_map: Tensor | None, rule: VisibilityRule) -> VisiblePoints:
    """Returns the points that project inside the image, in front of the camera, and agree with the depth map.

    Many views at once: `geoguide3d.ops.project_points`.

    Args:
        points: (N, 3) any float dtype, metres, in the world of the camera; the test is made in float64.
        depth_map: (h, w) z-depth in metres; 0, inf and NaN are missing, and nothing is seen there. Another size
            than the camera's is read at its own pixel centres. Not read where `rule.occlusion` is "none".

    Raises:
        ValueError: the rule compares depths and there is no depth map, or it is not (h, w); points hold inf or NaN.
    """
    cloud = float32_or_64(points)
    if not bool(cloud.sum().isfinite()) and not bool(cloud.isfinite().all()):  # a sum may overflow
        raise ValueError("points hold inf or NaN; drop those rows first")
    depth_test = None
    if rule.occlusion == "depth":
        if depth_map is None:
            raise ValueError('occlusion "depth" needs a depth map: the sensor\'s, or render_depth(points, camera, …)')
        maps = [float32_or_64(depth_map).to(points.device)]
        depth_test = DepthTest(maps, rule.depth_tolerance_m, rule.depth_tolerance_ratio)
    size = torch.tensor([[camera.width, camera.height]])
    poses = (camera.intrinsics[None], camera.camera_from_world[None])
    _, point_ids, uv, depth = project_points(cloud, *poses, size, depth_test, rule.border_px)
    return VisiblePoints(point_ids, uv, depth)


def splat_radius(points: Tensor) -> float:
    """Returns the median distance to the sixth neighbour, metres, over a sample of (N, 3) points.

    That closes a surface sampled at random (99.9 % of it) as well as one on a grid, whose spacing is 0.7 of it.
    """
    sample = points[:: max(1, len(points) // _SPACING_SAMPLE)]
    _, distances = knn(points, _SPACING_NEIGHBOUR + 1, sample)  # the first neighbour is the point itself
    return float(distances[:, -1].median())
