"""Furnishing: puts a layout's items into a plan, so that nothing stands in anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms.layouts import Item, Layout
from geoguide3d.scenes.rooms.placement import Boxes, Pose, box_around
from geoguide3d.scenes.rooms.plan import Edge, Plan
from geoguide3d.scenes.rooms.shape import Shape, Support, Variant, Vary
from geoguide3d.scenes.rooms.splits import Split, stream, variants_for

MOST_OBJECTS = 22  # with wall, floor and ceiling: 25
FEWEST_OBJECTS = 9
_TRIES = 40
_FILLERS = ("picture", "book", "box", "vase", "plant", "lamp", "bin", "stool")


@dataclass(frozen=True)
class Placed:
    """An object with its place."""

    category: str
    variant: str
    shape: Shape
    pose: Pose


class Furnishing:
    """Fills one room.

    Args:
        plan: the room's outline.
        split: decides which variants are drawn.
        seed: of the room.
    """

    def __init__(self, plan: Plan, split: Split, seed: int) -> None:
        self.plan = plan
        self.placed: list[Placed] = []
        self._split: Split = split
        self._seed = seed
        self._solid = box_around((0, 0, -1), (0, 0, -1))
        self._drawn: dict[str, int] = {}

    def fill(self, layout: Layout) -> list[Placed]:
        """Returns the layout's items where they fit, and fillers where they are few."""
        counts = Vary(stream(self._split, self._seed, "counts"))
        for item in layout.items:
            for copy in range(counts.count(*item.count)):
                if len(self.placed) < MOST_OBJECTS:
                    self._add(item, copy)
        for category in _FILLERS * 2:
            if len(self.placed) < FEWEST_OBJECTS:
                self._add(Item(category, "corner"), 0)
        return self.placed

    def _add(self, item: Item, copy: int) -> None:
        nth = self._drawn.get(item.category, 0)
        self._drawn[item.category] = nth + 1
        random = stream(self._split, self._seed, item.category, nth)
        variants = variants_for(item.category, self._split)
        variant = variants[int(random.integers(len(variants)))]
        shape = variant.make(random)
        vary = Vary(random)
        for pose in self._poses(item, variant, shape, copy, vary):
            boxes = Boxes.of(shape, pose)
            if self.plan.holds(boxes) and not bool(boxes.overlaps(self._solid).any()):
                self.placed.append(Placed(item.category, variant.name, shape, pose))
                self._solid = self._solid.joined(boxes)
                if item.category == "door":
                    self._keep_free_before(shape, pose)
                return

    def _keep_free_before(self, shape: Shape, pose: Pose) -> None:
        half = float(shape.bounds()[1, 0])
        x, y = pose.to_room(0.0, 0.5)
        free = Boxes(np.array([[x, y]]), np.array([[half, 0.42]]), np.array([pose.yaw]), np.array([[0.1, 2.0]]))
        self._solid = self._solid.joined(free)

    def _poses(self, item: Item, variant: Variant, shape: Shape, copy: int, vary: Vary) -> Iterator[Pose]:
        if item.category == "curtain":
            return self._at_windows(shape, copy)
        if variant.mount == "wall":
            return self._on_walls(item, variant, shape, vary)
        if variant.mount == "ceiling":
            return self._under_ceiling(vary)
        if variant.mount == "surface":
            return self._on_supports(item, shape, vary)
        if item.place in ("wall", "corner"):
            return self._at_walls(shape, vary, corner=item.place == "corner")
        if item.place in ("center", "any"):
            return self._on_floor(item, shape, vary)
        return self._by_anchor(item, shape, copy, vary)

    def _anchors(self, category: str) -> list[Placed]:
        return [placed for placed in self.placed if placed.category == category]

    def _edges(self, vary: Vary) -> Iterator[Edge]:
        long = [edge for edge in self.plan.edges for _ in range(max(1, round(edge.length)))]
        for _ in range(_TRIES):
            yield vary.pick(long)

    def _at_walls(self, shape: Shape, vary: Vary, corner: bool) -> Iterator[Pose]:
        low, high = shape.bounds()
        for edge in self._edges(vary):
            first, last = -low[0] + 0.02, edge.length - high[0] - 0.02
            if first > last:
                continue
            along = vary.between(first, last)
            if corner:
                slack = min(vary.between(0.0, 0.12), last - first)
                along = first + slack if vary.count(0, 1) else last - slack
            yield edge.pose(along, -low[1] + vary.between(0.015, 0.05))

    def _on_walls(self, item: Item, variant: Variant, shape: Shape, vary: Vary) -> Iterator[Pose]:
        low, high = shape.bounds()
        for anchor in self._anchors(item.anchor) if item.anchor else ():
            x, y = anchor.pose.to_room(0.0, float(anchor.shape.bounds()[0, 1]))
            for edge in self.plan.edges:
                inward = np.array([-edge.direction[1], edge.direction[0]])
                along = float((np.array([x, y]) - edge.start) @ edge.direction)
                if abs(float((np.array([x, y]) - edge.start) @ inward)) < 0.1 and -0.1 < along < edge.length + 0.1:
                    yield edge.pose(along, -low[1] + 0.001, vary.between(*variant.bottom) - low[2])
        for edge in self._edges(vary):
            first, last = -low[0] + 0.05, edge.length - high[0] - 0.05
            if first < last:
                z = vary.between(*variant.bottom)
                z = min(z, self.plan.height - 0.08 - high[2]) if z > 0 else 0.0
                yield edge.pose(vary.between(first, last), -low[1] + 0.001, z)

    def _at_windows(self, shape: Shape, copy: int) -> Iterator[Pose]:
        low, high = shape.bounds()
        for window in self._anchors("window")[copy : copy + 1]:
            top = window.pose.z + float(window.shape.bounds()[1, 2])
            x, y = window.pose.to_room(0.0, float(window.shape.bounds()[1, 1] - low[1]) + 0.005)
            yield Pose(x, y, top + 0.06 - float(high[2]), window.pose.yaw)

    def _under_ceiling(self, vary: Vary) -> Iterator[Pose]:
        for spread in np.linspace(0.1, 0.6, _TRIES):
            low, high = self.plan.rectangles()[0]
            x = (low[0] + high[0]) / 2 + vary.between(-spread, spread) * (high[0] - low[0]) / 2
            y = (low[1] + high[1]) / 2 + vary.between(-spread, spread) * (high[1] - low[1]) / 2
            yield Pose(x, y, self.plan.height, vary.between(0, np.pi / 2))

    def _on_floor(self, item: Item, shape: Shape, vary: Vary) -> Iterator[Pose]:
        reach = 0.25 if item.place == "center" else 0.5
        jitter = 0.08 if item.place == "center" else 0.6
        for attempt in range(_TRIES):
            wide = min(0.5, reach + attempt * 0.01)
            x = self.plan.width * (0.5 + vary.between(-wide, wide))
            y = self.plan.depth * (0.5 + vary.between(-wide, wide))
            yield Pose(x, y, 0.0, vary.count(0, 3) * np.pi / 2 + vary.between(-jitter, jitter))

    def _on_supports(self, item: Item, shape: Shape, vary: Vary) -> Iterator[Pose]:
        wanted = "seat" if item.category == "cushion" else "top"
        low, high = shape.bounds()
        size = high - low
        spots: list[tuple[Placed, Support]] = [
            (placed, support)
            for placed in self.placed
            for support in placed.shape.supports
            if support.kind == wanted and support.clearance > size[2] + 0.01
        ]
        preferred = [spot for spot in spots if spot[0].category == item.anchor]
        for attempt in range(_TRIES if spots else 0):
            base, support = vary.pick(preferred if preferred and attempt < _TRIES // 2 else spots)
            turn = 0.0 if item.category in ("monitor", "cushion", "book") else vary.between(-0.5, 0.5)
            slack_x = (support.size[0] - size[0]) / 2
            slack_y = (support.size[1] - size[1]) / 2
            if slack_x < 0 or slack_y < -0.02:
                continue
            aside = vary.between(-slack_x, slack_x)
            ahead = vary.between(-1, 1) * max(slack_y, 0.0)
            if item.category in ("monitor", "cushion"):
                ahead = -max(slack_y, 0.0)
            middle = (low + high) / 2
            x, y = base.pose.to_room(support.center[0] + aside - middle[0], support.center[1] + ahead - middle[1])
            yield Pose(x, y, base.pose.z + support.height + 0.001, base.pose.yaw + turn)

    def _by_anchor(self, item: Item, shape: Shape, copy: int, vary: Vary) -> Iterator[Pose]:
        low, high = shape.bounds()
        for attempt in range(_TRIES):
            anchors = self._anchors(item.anchor)
            if not anchors:
                return
            anchor = anchors[(copy + attempt) % len(anchors)]
            a_low, a_high = anchor.shape.bounds()
            if item.place == "beside":
                side = 1 if (copy + attempt) % 2 == 0 else -1
                gap = vary.between(0.02, 0.12)
                x = a_high[0] + gap - low[0] if side > 0 else a_low[0] - gap - high[0]
                at, turn = (float(x), float(a_low[1] - low[1])), 0.0
            elif item.place == "front":
                at = (vary.between(-0.2, 0.2), float(a_high[1] + vary.between(0.25, 0.5) - low[1]))
                turn = 0.0
            else:  # chairs: they face the anchor, tucked in by a varying amount
                sides = (0,) if item.place == "desk chair" else (0, 2, 1, 3)
                side = sides[(copy + attempt // 8) % len(sides)]
                tuck = vary.between(-0.1, 0.22) + 0.01 * attempt
                reach = (a_high[1], a_high[0], -a_low[1], -a_low[0])[side]
                out, aside = float(reach + high[1] + tuck), vary.between(-0.15, 0.15)
                at = ((aside, out), (out, aside), (aside, -out), (-out, aside))[side]
                turn = (np.pi, np.pi / 2, 0.0, -np.pi / 2)[side] + vary.between(-0.25, 0.25)
            x, y = anchor.pose.to_room(*at)
            yield Pose(x, y, 0.0, anchor.pose.yaw + turn)
