"""Frame: what a camera sees of a room, exactly; and what a sensor would report of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.light import Light
from geoguide3d.scenes.rooms.primitives import Ints
from geoguide3d.scenes.rooms.surface import Surface
from geoguide3d.scenes.rooms.textures import Singles
from geoguide3d.scenes.scene import IGNORED_LABEL, NO_INSTANCE

COLOR_NOISE = 0.012  # standard deviation per channel, of 1
DEPTH_NOISE_M = 0.0015  # standard deviation at zero distance ...
DEPTH_NOISE_PER_M = 0.0012  # ... and what it gains per square metre of distance
_GRAZING = 0.12  # cosine under which the sensor gets no echo
_EDGE_STEP = 0.04  # relative step of depth that counts as an edge
_EDGE_HOLES = 0.6  # share of edge pixels without depth
_RANDOM_HOLES = 0.004
_REACH_M = 7.0


@dataclass(frozen=True)
class Frame:
    """An image with its exact ground truth.

    Args:
        color: (H, W, 3) uint8 sRGB without sensor noise.
        depth: (H, W) float32 z-depth, metres, 0 = nothing.
        labels: (H, W) int64 index in CATEGORIES, 255 = nothing.
        instances: (H, W) int64, -1 = nothing.
    """

    color: Tensor
    depth: Tensor
    labels: Tensor
    instances: Tensor


def camera_rays(camera: Camera) -> Singles:
    """Returns (H · W, 6) rays through the pixel centres whose directions have length 1 along the optical axis."""
    fx, fy, cx, cy = (float(camera.intrinsics[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    rays = np.empty((camera.height, camera.width, 6), dtype=np.float32)
    world_from_camera = camera.camera_from_world[:3, :3].T.numpy()
    across = (np.arange(camera.width) - cx)[None, :, None] / fx * world_from_camera[:, 0]
    down = (np.arange(camera.height) - cy)[:, None, None] / fy * world_from_camera[:, 1]
    rays[..., :3] = camera.center_world.numpy()
    rays[..., 3:] = across + (down + world_from_camera[:, 2])
    return rays.reshape(-1, 6)


class Shot:
    """What the rays of one camera hit: rows are pixels, H · W of them; the colour is computed when it is asked for.

    Attributes:
        camera: the camera.
        depth: (H · W,) float32 metres, 0 = nothing.
        triangles: (H · W,) what each ray hit, -1 = nothing.
    """

    def __init__(self, surface: Surface, light: Light, camera: Camera) -> None:
        self.camera = camera
        self._surface, self._light = surface, light
        self._rays = camera_rays(camera)
        distance, self.triangles = surface.cast(self._rays)
        self.depth: Singles = np.where(self.triangles >= 0, distance, np.float32(0.0))
        self._normals = surface.normals.take(self.triangles, axis=0)
        self._along: Singles = np.einsum("md,md->m", self._normals, self._rays[:, 3:])

    @cached_property
    def color(self) -> Singles:
        """(H · W, 3) picture RGB in [0, 1], black where there is nothing."""
        points = self._rays[:, :3] + self._rays[:, 3:] * self.depth[:, None]
        normals = self._normals * -np.sign(self._along)[:, None]
        return self._light.shade(self._surface, points, normals, self.triangles) * (self.depth > 0)[:, None]

    def frame(self, label_of: Ints) -> Frame:
        """Returns the exact frame; `label_of` (objects,) gives each object's label."""
        size = (self.camera.height, self.camera.width)
        seen = self.triangles >= 0
        instances = np.where(seen, self._surface.triangle_object[self.triangles], NO_INSTANCE)
        labels = np.where(seen, label_of[instances], IGNORED_LABEL)
        return Frame(
            color=torch.from_numpy(np.round(self.color * 255).astype(np.uint8).reshape(*size, 3)),
            depth=torch.from_numpy(self.depth.reshape(size)),
            labels=torch.from_numpy(labels.reshape(size)),
            instances=torch.from_numpy(instances.reshape(size)),
        )

    def sensed_color(self, random: np.random.Generator) -> Tensor:
        """Returns (H, W, 3) uint8: the image with this frame's exposure, white balance and pixel noise."""
        gain = (random.uniform(0.93, 1.07) * random.uniform(0.98, 1.02, 3)).astype(np.float32)
        noise = random.standard_normal(self.color.shape, dtype=np.float32) * np.float32(COLOR_NOISE)
        noisy = np.clip(self.color * gain + noise, 0.0, 1.0) * np.float32(255)
        size = (self.camera.height, self.camera.width, 3)
        return torch.from_numpy((noisy + np.float32(0.5)).astype(np.uint8).reshape(size))

    def sensed_depth(self, random: np.random.Generator) -> Tensor:
        """Returns (H, W) float32 metres: depth with noise, and 0 at grazing angles, edges, dark and shiny paint."""
        size = (self.camera.height, self.camera.width)
        depth = self.depth.reshape(size)
        noise = random.standard_normal(size, dtype=np.float32) * (DEPTH_NOISE_M + DEPTH_NOISE_PER_M * depth**2)
        chance = random.random(size, dtype=np.float32)
        blotch = np.kron(random.random((-(-size[0] // 8), -(-size[1] // 8))), np.ones((8, 8)))[: size[0], : size[1]]
        holes = self._surface.paints.holes[self._surface.triangle_paint[self.triangles]].reshape(size)
        facing = np.abs(self._along) / np.linalg.norm(self._rays[:, 3:], axis=1)
        missing = (0.5 * blotch + 0.5 * chance < holes) | (facing.reshape(size) < _GRAZING)
        missing |= (_depth_edges(depth) & (chance < _EDGE_HOLES)) | (chance < _RANDOM_HOLES) | (depth > _REACH_M)
        return torch.from_numpy(np.where(missing | (depth <= 0), 0.0, depth + noise).astype(np.float32))


def _depth_edges(depth: Singles) -> NDArray[np.bool_]:
    """Returns (H, W): the pixels on both sides of a step in depth."""
    edges = np.zeros(depth.shape, dtype=np.bool_)
    across = np.abs(depth[:, 1:] - depth[:, :-1]) > _EDGE_STEP * np.minimum(depth[:, 1:], depth[:, :-1])
    down = np.abs(depth[1:] - depth[:-1]) > _EDGE_STEP * np.minimum(depth[1:], depth[:-1])
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges
