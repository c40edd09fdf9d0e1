"""A walk through a furnished box: 150,000 points on surfaces and 30 frames of 320 × 240 pixels with exact depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

POINTS, VIEWS, WIDTH, HEIGHT, FOCAL = 150_000, 30, 320, 240, 288.9
ROOM_M = np.array([[0.0, 0.0, 0.0], [7.0, 5.0, 2.8]])
PIECES = 14  # of furniture

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """A cloud and the frames around it."""

    scene: Scene
    views: list[View]
    depth_maps: list[Tensor]


def furniture(generator: np.random.Generator) -> Array:
    """Returns (PIECES, 2, 3): the lowest and the highest corner of boxes that stand on the floor."""
    size = generator.uniform([0.4, 0.4, 0.3], [1.6, 1.0, 1.8], (PIECES, 3))
    corner = generator.uniform(0, 1, (PIECES, 3)) * (ROOM_M[1] - size)
    corner[:, 2] = 0
    return np.stack([corner, corner + size], axis=1)


def furnished_box(generator: np.random.Generator) -> Array:
    """Returns (1 + PIECES, 2, 3) corners, those of the room first."""
    return np.concatenate([ROOM_M[None], furniture(generator)])


def box_points(count: int) -> Tensor:
    """Returns (count, 3) float32 points of the box, face after face, as they come from one surface after another."""
    generator = np.random.default_rng(0)
    points = surface_points(furnished_box(generator), count, generator, face_after_face=True)
    return torch.from_numpy(points).float()


def surface_points(boxes: Array, count: int, generator: np.random.Generator, face_after_face: bool = False) -> Array:
    """Returns (count, 3) points spread evenly over the faces of the boxes."""
    extent = boxes[:, 1] - boxes[:, 0]
    areas = np.stack([extent[:, 1] * extent[:, 2], extent[:, 0] * extent[:, 2], extent[:, 0] * extent[:, 1]], axis=1)
    face = generator.choice(areas.size, count, p=(areas / areas.sum()).ravel())
    if face_after_face:
        face.sort()
    box, axis = face // 3, face % 3
    place = generator.uniform(0, 1, (count, 3))
    place[np.arange(count), axis] = generator.integers(0, 2, count)
    return boxes[box, 0] + place * extent[box]


def look(center: Array, target: Array) -> Array:
    """Returns the (4, 4) camera_from_world of a camera at center that sees target in its middle, z up."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    return pose


def depth_of(boxes: Array, camera: Camera) -> Tensor:
    """Returns (H, W) float32 exact z-depth: where each ray leaves the room or first enters a piece of furniture."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    rays = (camera.camera_from_world[:3, :3].T @ torch.linalg.inv(camera.intrinsics)).numpy() @ pixels  # z-depth 1
    crossings = (boxes[:, :, :, None] - camera.center_world.numpy()[:, None]) / rays  # (box, low/high, axis, ray)
    enter, leave = crossings.min(1).max(1), crossings.max(1).min(1)
    enter[(enter > leave) | (enter < 0)] = np.inf
    nearest = np.minimum(enter[1:].min(0), leave[0])  # the first box is the room, seen from inside
    return torch.from_numpy(nearest.reshape(camera.height, camera.width).astype(np.float32))


def make_walk() -> Walk:
    generator = np.random.default_rng(0)
    boxes = furnished_box(generator)
    scene = Scene(torch.from_numpy(surface_points(boxes, POINTS, generator)).float(), name="box")
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    views = []
    for index, angle in enumerate(np.linspace(0, 2 * np.pi, VIEWS, endpoint=False)):
        direction = np.array([np.cos(angle), np.sin(angle), 0.0])
        center = ROOM_M.mean(0) - direction * [1.5, 1.0, 0.0] + [0.0, 0.0, 0.7]
        pose = torch.from_numpy(look(center, center + direction - [0.0, 0.0, 0.35]))
        views.append(View(f"{index:05d}", Camera(intrinsics, pose, WIDTH, HEIGHT), read_color=lambda: torch.zeros(0)))
    return Walk(scene, views, [depth_of(boxes, view.camera) for view in views])
