"""FusionAccumulator: per-pixel features of posed images, averaged per point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geoguide3d.geometry.visibility import VisibilityRule, VisiblePoints, splat_radius, visible_points, z_buffer
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

_ROWS_AT_ONCE = 2048  # gathered rows that stay in the cache between being read and being added


@dataclass(frozen=True)
class FusedFeatures:
    """What the images say about each point.

    Args:
        features: (N, C) float32, the mean over the views that see the point, un-normalised; 0 where none does.
        count: (N,) int32, how many views see the point.
    """

    features: Tensor
    count: Tensor

    @property
    def seen(self) -> Tensor:
        """(N,) bool, True where at least one view sees the point."""
        return self.count > 0


class FusionAccumulator:
    """Adds views one by one and keeps nothing of them but a float32 sum and a count per point.

    Args:
        scene: the cloud, N points.
        channels: C, the width of the feature maps.
        rule: when a point counts as seen.
        device: where the (N, C) sum lives; maps may live elsewhere, only the rows in use travel.
    """

    def __init__(
        self,
        scene: Scene,
        channels: int,
        rule: VisibilityRule | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._origin_world = scene.origin_world
        self._points = scene.points.to(device)
        self._rule = VisibilityRule() if rule is None else rule
        self._sums = torch.zeros((len(scene), channels), dtype=torch.float32, device=device)
        self._count = torch.zeros(len(scene), dtype=torch.int32, device=device)
        self._result: FusedFeatures | None = None

    @torch.no_grad()
    def add(self, view: View, feature_map: Tensor, depth_map: Tensor | None) -> int:
        """Adds one view's features to the points it sees and returns how many it saw.

        A view sees a point when the point projects inside the image and |d − z| is at most
        `depth_tolerance_m + depth_tolerance_ratio · d` (OpenScene 2023, `fusion_util.py`, has 0 and 0.25).

        Args:
            view: its camera and name.
            feature_map: (h, w, C) channel-last, any float dtype; pixel (u, v) of the W × H camera image takes column
                floor((u + 0.5) · w / W) and row floor((v + 0.5) · h / H). A permuted (C, h, w) map works, slower.
            depth_map: (H', W') z-depth, metres, any size, 0 = missing; None: z-buffer of the scene itself.

        Raises:
            ValueError: a map that is not (h, w, C) of floats with the accumulator's C.
            RuntimeError: the result was taken before.
        """
        if self._result is not None:
            raise RuntimeError(f"{view.name}: result() has been taken; start another FusionAccumulator to add views")
        self._check(view, feature_map)
        camera = view.camera.relative_to(self._origin_world)
        if depth_map is None and self._rule.occlusion == "depth":
            depth_map = z_buffer(self._points, camera, self._splat_radius_m)
        visible = visible_points(self._points, camera, depth_map, self._rule)
        rows = _map_rows(visible, view, feature_map).to(feature_map.device)
        flat = feature_map.reshape(-1, feature_map.shape[-1])
        for start in range(0, len(visible), _ROWS_AT_ONCE):
            block = flat.index_select(0, rows[start : start + _ROWS_AT_ONCE])
            point_ids = visible.point_ids[start : start + _ROWS_AT_ONCE]
            self._sums.index_add_(0, point_ids, block.to(self._sums.device, torch.float32))
        self._count[visible.point_ids] += 1  # every id comes once
        return len(visible)

    def result(self) -> FusedFeatures:
        """Returns the means. They are divided in place, so no view can be added afterwards."""
        if self._result is None:
            self._sums /= self._count.clamp(min=1)[:, None]
            self._result = FusedFeatures(self._sums, self._count)
        return self._result

    @cached_property
    def _splat_radius_m(self) -> float:
        return splat_radius(self._points)

    def _check(self, view: View, feature_map: Tensor) -> None:
        channels = self._sums.shape[1]
        if feature_map.ndim != 3 or feature_map.shape[2] != channels:
            raise ValueError(f"{view.name}: a feature map must be (h, w, {channels}), got {tuple(feature_map.shape)}")
        if not feature_map.is_floating_point():
            raise ValueError(f"{view.name}: a feature map must hold floats, got {feature_map.dtype}")


def _map_rows(visible: VisiblePoints, view: View, feature_map: Tensor) -> Tensor:
    """Returns (M,) int64 rows of the flattened (h · w, C) map."""
    height, width = feature_map.shape[:2]
    column = (2 * visible.u + 1) * width // (2 * view.camera.width)  # floor((u + 0.5) · w / W) in integers
    row = (2 * visible.v + 1) * height // (2 * view.camera.height)
    return row * width + column
