"""Plan: the floor outline of a room, its walls as edges, and its shell as meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.placement import Boxes, Pose, box_around
from geoguide3d.scenes.rooms.primitives import Floats, Mesh
from geoguide3d.scenes.rooms.shape import Shape, Vary


@dataclass(frozen=True)
class Edge:
    """One wall's foot: it runs from `start` for `length` metres in `direction`, the room on its left."""

    start: Floats
    direction: Floats
    length: float

    def pose(self, along: float, off: float, z: float = 0.0) -> Pose:
        """Returns the pose of a thing with its back to this wall, `off` metres from it."""
        inward = np.array([-self.direction[1], self.direction[0]])
        x, y = self.start + self.direction * along + inward * off
        return Pose(float(x), float(y), z, float(np.arctan2(self.direction[1], self.direction[0])))


@dataclass(frozen=True)
class Plan:
    """A rectangle from (0, 0) to (width, depth) without the notch at its (width, depth) corner; metres."""

    width: float
    depth: float
    height: float
    notch: tuple[float, float] | None = None

    @classmethod
    def draw(cls, width: tuple[float, float], depth: tuple[float, float], notched: bool, vary: Vary) -> Plan:
        """Returns a plan with sizes drawn from the ranges."""
        w, d, height = vary.between(*width), vary.between(*depth), vary.between(2.4, 2.75)
        notch = (w * vary.between(0.25, 0.38), d * vary.between(0.25, 0.38)) if notched else None
        return cls(w, d, height, notch)

    @property
    def outline(self) -> list[tuple[float, float]]:
        """Corners of the floor, counter-clockwise."""
        w, d = self.width, self.depth
        if self.notch is None:
            return [(0, 0), (w, 0), (w, d), (0, d)]
        x, y = w - self.notch[0], d - self.notch[1]
        return [(0, 0), (w, 0), (w, y), (x, y), (x, d), (0, d)]

    @property
    def edges(self) -> list[Edge]:
        """The walls in the order of the outline."""
        corners = np.array(self.outline)
        steps = np.roll(corners, -1, axis=0) - corners
        lengths = np.linalg.norm(steps, axis=1)
        return [Edge(c, s / n, float(n)) for c, s, n in zip(corners, steps, lengths, strict=True)]

    def holds(self, boxes: Boxes, margin_m: float = 0.0) -> bool:
        """Says whether all boxes lie inside the outline, up to the ceiling."""
        corners = boxes.corners().reshape(-1, 2)
        inside = (corners >= margin_m).all() and (corners <= (self.width - margin_m, self.depth - margin_m)).all()
        if not inside or bool((boxes.z[:, 1] > self.height + 1e-6).any()):
            return False
        if self.notch is None:
            return True
        x, y = self.width - self.notch[0] - margin_m, self.depth - self.notch[1] - margin_m
        solid = box_around((x, y, -1.0), (self.width + 1, self.depth + 1, self.height + 1))
        return not bool(boxes.overlaps(solid, tolerance_m=1e-6).any())

    def shell(self) -> dict[str, Shape]:
        """Returns the room's wall (with its skirting), floor and ceiling, in the room's frame."""
        shell = {"wall": Shape(), "floor": Shape(), "ceiling": Shape()}
        for edge in self.edges:
            end = edge.start + edge.direction * edge.length
            shell["wall"].add("main", _quad(edge.start, end, self.height))
            pose = edge.pose(edge.length / 2, 0.006)
            skirting = primitives.box((edge.length, 0.012, 0.07), (0, 0, 0))
            shell["wall"].add("trim", skirting.moved(pose.rotation, pose.position))
        for low, high in self.rectangles():
            ends = ((*low, 0.0), (high[0], low[1], 0.0), (*high, 0.0), (low[0], high[1], 0.0))
            corners = np.array(ends)
            shell["floor"].add("main", Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]])))
            raised = corners + np.array([0.0, 0.0, self.height])
            shell["ceiling"].add("main", Mesh(raised, np.array([[0, 2, 1], [0, 3, 2]])))
        return shell

    def rectangles(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Low and high corners of rectangles that cover the floor once."""
        if self.notch is None:
            return [((0.0, 0.0), (self.width, self.depth))]
        x, y = self.width - self.notch[0], self.depth - self.notch[1]
        return [((0.0, 0.0), (self.width, y)), ((0.0, y), (x, self.depth))]


def _quad(start: Floats, end: Floats, height: float) -> Mesh:
    corners = np.array([[*start, 0.0], [*end, 0.0], [*end, height], [*start, height]])
    return Mesh(corners, np.array([[0, 2, 1], [0, 3, 2]]))
