"""Walk: where a person with a camera goes in a room, and what they look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.placement import Boxes
from geoguide3d.scenes.rooms.plan import Plan
from geoguide3d.scenes.rooms.primitives import Floats, Ints
from geoguide3d.scenes.rooms.surface import Surface

_CELL_M = 0.1
_CLEARANCES_M = (0.3, 0.2, 0.1)
_FOCAL = 0.82  # focal length over image width: 63 degrees wide
_HEAD_M = 1.75  # nothing above this hinders walking
_GOLDEN = 2.399963  # radians; turning on by it covers all directions evenly
_RISES = (-0.7, -0.1, 0.3, -0.45)  # of the looks along the room


def free_positions(plan: Plan, solid: Boxes) -> Floats:
    """Returns (P, 2) centres of the largest connected patch of floor on which a person can stand, on a grid."""
    x, y = (np.arange(_CELL_M / 2, size, _CELL_M) for size in (plan.width, plan.depth))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    blocking = (solid.z[:, 0] < _HEAD_M) & (solid.z[:, 1] > 0.1)
    for clearance in _CLEARANCES_M:
        free = _inside(plan, grid, clearance)
        for center, half, yaw in zip(solid.center[blocking], solid.half[blocking], solid.yaw[blocking], strict=True):
            away = grid - center
            along = np.abs(away[..., 0] * np.cos(yaw) + away[..., 1] * np.sin(yaw))
            across = np.abs(away[..., 1] * np.cos(yaw) - away[..., 0] * np.sin(yaw))
            free &= (along > half[0] + clearance) | (across > half[1] + clearance)
        patches, count = ndimage.label(free)
        if count:
            sizes = ndimage.sum_labels(free, patches, np.arange(1, count + 1))
            if sizes.max() * _CELL_M**2 > 0.25:
                return np.asarray(grid[patches == 1 + int(np.argmax(sizes))])
    raise ValueError(f"no floor is left to stand on in a room of {plan.width:.1f} × {plan.depth:.1f} m")


def _inside(plan: Plan, grid: Floats, margin: float) -> np.ndarray:
    free = ((grid > margin) & (grid < (plan.width - margin, plan.depth - margin))).all(axis=-1)
    if plan.notch is not None:
        corner = (plan.width - plan.notch[0] - margin, plan.depth - plan.notch[1] - margin)
        free &= ~(grid > corner).all(axis=-1)
    return np.asarray(free)


def _route(positions: Floats, count: int, random: np.random.Generator) -> Floats:
    """Returns (count, 2) places along a path that goes through spread stops, always on free floor."""
    pairs = np.argwhere(np.abs(positions[:, None] - positions[None]).max(axis=-1) < _CELL_M * 1.1)
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1) + 1e-6
    graph = coo_matrix((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(positions), len(positions))).tocsr()
    stops = [int(random.integers(len(positions)))]
    nearest = np.linalg.norm(positions - positions[stops[0]], axis=1)
    for _ in range(7):
        stops.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(positions - positions[stops[-1]], axis=1))
    ways, before = dijkstra(graph, indices=stops, return_predecessors=True)
    order, left = [0], set(range(1, len(stops)))
    while left:
        following = min(left, key=lambda stop: (ways[order[-1], stops[stop]], stop))
        order.append(following)
        left.remove(following)
    path = [stops[order[0]]]
    for here, there in pairwise(order):
        leg, node = [], stops[there]
        while node != stops[here]:
            leg.append(node)
            node = int(before[here, node])
        path += leg[::-1]
    places = np.linspace(0, len(path) - 1, count)
    track = positions[path]
    columns = [np.interp(places, np.arange(len(path)), track[:, axis]) for axis in (0, 1)]
    return np.stack(columns, axis=1)


def _targets(surface: Surface, things: Ints, eyes: Floats, random: np.random.Generator) -> Floats:
    """Returns (V, 3) a point for every eye to look at.

    Of the things in sight, those come first that few frames have shown so far, then those about two metres away.
    """
    owner = surface.triangle_object
    middle = surface.mesh.vertices[surface.mesh.triangles].mean(axis=1) + 0.01 * surface.normals
    keys = np.log(random.random(len(owner)) + 1e-12) / np.maximum(surface.areas, 1e-9)
    order = np.lexsort((-keys, owner))  # per object, large triangles tend to the front
    starts = np.searchsorted(owner[order], things)
    ends = np.searchsorted(owner[order], things, side="right")
    seen = np.zeros(len(things))
    looked = np.zeros((len(eyes), 3))
    for index, eye in enumerate(eyes):
        points = middle[order[np.minimum(starts + index % 4, ends - 1)]]
        hidden = surface.blocked(np.broadcast_to(eye, points.shape), points)
        away = points - eye
        distance = np.linalg.norm(away, axis=1)
        cost = seen + 0.5 * np.abs(distance - 2.0) + 2.0 * (distance < 1.0) + 4.0 * hidden
        cost += random.uniform(0, 0.8, len(things))
        best = int(np.argmin(cost))
        looked[index] = points[best]
        seen += (away @ away[best] > 0.87 * distance * distance[best]) & ~hidden
    return looked


def _along_the_room(surface: Surface, eye: Floats, turn: float, rise: float) -> Floats:
    """Returns a point in the direction, of those within 50 degrees of `turn`, in which the room reaches farthest."""
    turns = turn + np.linspace(-0.87, 0.87, 7)
    ways = np.stack([np.cos(turns), np.sin(turns), np.zeros(7)], axis=1)
    reach, _ = surface.cast(np.concatenate([np.broadcast_to(eye, ways.shape), ways], axis=1).astype(np.float32))
    way = ways[int(np.argmax(reach))]
    return np.asarray(eye + way + (0.0, 0.0, rise))


def look_at(eye: Floats, target: Floats, width: int, height: int) -> Camera:
    """Returns a camera at eye (3,) that looks at target (3,), upright, with the walk's field of view."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    side = np.cross(forward, (0.0, 0.0, 1.0))
    right = side / np.linalg.norm(side)
    rotation = np.stack([right, np.cross(forward, right), forward])
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = rotation, -rotation @ eye
    focal = _FOCAL * width
    k = [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    return Camera(torch.tensor(k, dtype=torch.float64), torch.from_numpy(camera_from_world), width, height)


@dataclass(frozen=True)
class Walkable:
    """What a walk needs to know of a room: its plan, the boxes to go around, its surface, the objects to look at."""

    plan: Plan
    solid: Boxes
    surface: Surface
    things: Ints

    def walk(self, count: int, width: int, height: int, random: np.random.Generator) -> list[Camera]:
        """Returns cameras along a way over free floor, at the height of a hand or an eye.

        Two of three frames look at a thing; the third turns on and looks along the room, down or up.
        """
        places = _route(free_positions(self.plan, self.solid), count, random)
        eyes = np.column_stack([places, random.uniform(1.25, 1.65, count)])
        targets = _targets(self.surface, self.things, eyes, random)
        turn = random.uniform(0, 2 * np.pi)
        cameras = []
        for index, (eye, target) in enumerate(zip(eyes, targets, strict=True)):
            if index % 3 == 2:
                turn += _GOLDEN
                target = _along_the_room(self.surface, eye, turn, _RISES[index // 3 % len(_RISES)])
            cameras.append(look_at(eye, _not_too_steep(eye, target, turn), width, height))
        return cameras


def _not_too_steep(eye: Floats, target: Floats, turn: float) -> Floats:
    """Returns the target, moved so that the camera looks at most 58 degrees down and 42 up."""
    away = target - eye
    flat = float(np.hypot(away[0], away[1]))
    if flat < 0.1:
        away[:2], flat = (0.1 * np.cos(turn), 0.1 * np.sin(turn)), 0.1
    away[2] = np.clip(away[2], -1.6 * flat, 0.9 * flat)
    return np.asarray(eye + away)
