"""FusionAccumulator: per-pixel features of posed images, averaged per point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.fusion.weights import Confidence, sighting_weights
from geoguide3d.geometry.rendering import render_depth
from geoguide3d.geometry.visibility import splat_radius, visible_points
from geoguide3d.ops.fuse_views import FusionState, Sightings, fuse_views
from geoguide3d.scenes.orientation import ensure_normals
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View


@dataclass(frozen=True)
class FusedFeatures:
    """What the images say about each point.

    Args:
        features: (N, C) float32, the weighted mean over the views that see the point, un-normalised; 0 where none does.
        count: (N,) int32, how many views see the point and give it a weight above 0.
        variance: (N,) float32, how much these views disagree: the weighted mean of |feature − mean|², summed over the
            channels; 0 where fewer than two views see the point. None where it was not asked for.
    """

    features: Tensor
    count: Tensor
    variance: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """(N,) bool, True where at least one view sees the point."""
        return self.count > 0


class FusionAccumulator:
    """Adds views one by one and keeps nothing of them but a few float32 sums per point.

    What it keeps can be saved between two views and restored into a new accumulator of the same scene and settings:
    fusing goes on as if nothing had happened, bit for bit.

    Args:
        scene: the cloud, N points.
        channels: C, the width of the feature maps.
        settings: when a point counts as seen, how maps are read and weighted, and the device of the (N, C) sums. Maps
            may live elsewhere; they are moved there.
    """

    def __init__(self, scene: Scene, channels: int, settings: FusionSettings | None = None) -> None:
        self._settings = FusionSettings() if settings is None else settings
        device = self._settings.device
        self._origin_world = scene.origin_world
        self._points = scene.points.to(device)
        self._normals: Tensor | None = None
        if self._settings.weighting.viewing_angle:
            normals = ensure_normals(scene).normals
            assert normals is not None  # what ensure_normals is for
            self._normals = normals.to(device)
        self._state = FusionState.empty(len(scene), channels, variance=self._settings.variance, device=device)
        self._result: FusedFeatures | None = None

    @torch.no_grad()
    def add(
        self, view: View, feature_map: Tensor, depth_map: Tensor | None, confidence: Confidence | None = None
    ) -> int:
        """Adds one view's features to the points it sees and returns how many it saw.

        A view sees a point when the point projects inside the image and |d − z| is at most
        `depth_tolerance_m + depth_tolerance_ratio · d` (OpenScene 2023, `fusion_util.py`, has 0 and 0.25).

        Args:
            view: its camera and name.
            feature_map: (h, w, C) channel-last, any float dtype; pixel (u, v) of the W × H camera image takes column
                floor((u + 0.5) · w / W) and row floor((v + 0.5) · h / H), or what lies around it. A permuted (C, h, w)
                map works, slower; it is not copied.
            depth_map: (H', W') z-depth, metres, any size, 0 = missing; None: z-buffer of the scene itself.
            confidence: how sure the encoder is, a further factor of the weights: an (h', w') map of any size, or one
                number for the view; at least 0. None: 1.

        Raises:
            ValueError: a map that is not (h, w, C) of floats with the accumulator's C, or a confidence that is
                negative or not finite. Nothing is added then.
            RuntimeError: the result was taken before.
        """
        self._check_open(view.name)
        self._check(view, feature_map)
        settings = self._settings
        camera = view.camera.relative_to(self._origin_world)
        if depth_map is None and settings.rule.occlusion == "depth":
            depth_map = render_depth(self._points, camera, self._splat_radius_m)
        visible = visible_points(self._points, camera, depth_map, settings.rule)
        try:
            weights = sighting_weights(settings.weighting, camera, visible, self._points, self._normals, confidence)
        except ValueError as error:
            raise ValueError(f"{view.name}: {error}") from None
        fuse_views(
            self._state,
            feature_map.to(self._points.device),
            Sightings(visible.point_ids, visible.uv, weights=weights),
            (camera.width, camera.height),
            bilinear=settings.interpolation == "bilinear",
        )
        return len(visible)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the sums by name, for `load_state_dict`; the tensors are not copied and change with the next view.

        Raises:
            RuntimeError: the result was taken before.
        """
        self._check_open("state_dict")
        return self._state.by_name()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the sums that another accumulator of this scene and these settings had.

        Raises:
            ValueError: sums of other names, shapes or types.
            RuntimeError: the result was taken before.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(f"the state must hold {sorted(own)}, got {sorted(state)}; is `variance` set as it was?")
        for name, tensor in own.items():
            if state[name].shape != tensor.shape or state[name].dtype != tensor.dtype:
                raise ValueError(
                    f"{name} must be {tuple(tensor.shape)} {tensor.dtype}, got {tuple(state[name].shape)} "
                    f"{state[name].dtype}: it belongs to another scene or encoder"
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def result(self) -> FusedFeatures:
        """Returns the means. They are divided in place, so no view can be added afterwards."""
        if self._result is None:
            state = self._state
            mass = state.mass.where(state.mass > 0, 1)
            state.sums.div_(mass[:, None])
            variance = None if state.spread is None else state.spread / mass
            self._result = FusedFeatures(state.sums, state.count, variance)
        return self._result

    @cached_property
    def _splat_radius_m(self) -> float:
        return splat_radius(self._points)

    def _check_open(self, subject: str) -> None:
        if self._result is not None:
            raise RuntimeError(f"{subject}: result() has been taken; start another FusionAccumulator to add views")

    def _check(self, view: View, feature_map: Tensor) -> None:
        channels = self._state.sums.shape[1]
        if feature_map.ndim != 3 or feature_map.shape[2] != channels:
            raise ValueError(f"{view.name}: a feature map must be (h, w, {channels}), got {tuple(feature_map.shape)}")
        if not feature_map.is_floating_point():
            raise ValueError(f"{view.name}: a feature map must hold floats, got {feature_map.dtype}")
