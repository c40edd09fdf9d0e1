"""Room: a furnished room with its ground truth, its camera walk and its renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial, reduce

import numpy as np
import torch
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.categories import CATEGORIES, CATEGORY_OF, STRUCTURE
from geoguide3d.scenes.rooms.furnishing import Furnishing, Placed
from geoguide3d.scenes.rooms.layouts import layout_for
from geoguide3d.scenes.rooms.light import Light
from geoguide3d.scenes.rooms.materials import draw_paints
from geoguide3d.scenes.rooms.placement import Boxes, Pose
from geoguide3d.scenes.rooms.plan import Plan
from geoguide3d.scenes.rooms.primitives import Ints
from geoguide3d.scenes.rooms.sampling import sample_surface, seen_from
from geoguide3d.scenes.rooms.shape import Vary
from geoguide3d.scenes.rooms.shot import Frame, Shot
from geoguide3d.scenes.rooms.splits import Split, draw_color, stream
from geoguide3d.scenes.rooms.surface import Painted, Surface
from geoguide3d.scenes.rooms.walk import Walkable
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

WALK_VIEWS, WALK_WIDTH, WALK_HEIGHT = 36, 320, 240


@dataclass(frozen=True)
class RoomObject:
    """One object's words. `color` and `material` speak of its main parts."""

    instance: int
    category: str
    variant: str
    color: str
    material: str


class Room:
    """A furnished room; `make_room` makes it.

    Attributes:
        name: split, seed and layout.
        objects: objects[i].instance == i; wall, floor, ceiling, door and window included.
        plan: outline and height.
        placed: the furniture's shapes and poses, the objects after wall, floor and ceiling.
    """

    def __init__(self, seed: int, split: Split) -> None:
        layout = layout_for(split, seed)
        self._seed, self._split = seed, split
        self.name = f"{split}_{seed:06d}_{layout.name.replace(' ', '_')}"
        self.layout = layout.name
        self.plan = Plan.draw(layout.width, layout.depth, layout.notched, Vary(stream(split, seed, "plan")))
        self.placed = Furnishing(self.plan, split, seed).fill(layout)
        shell = [Placed(name, "shell", shape, Pose(0, 0, 0, 0)) for name, shape in self.plan.shell().items()]
        words = []
        painted = []
        seen: dict[str, int] = {}
        for index, placed in enumerate([*shell, *self.placed]):
            nth = seen[placed.category] = seen.get(placed.category, -1) + 1
            random = stream(split, seed, f"paint of {placed.category}", nth)
            color = draw_color(placed.category, split, random)
            materials = CATEGORY_OF[placed.category].materials
            material = materials[int(random.integers(len(materials)))]
            words.append(RoomObject(index, placed.category, placed.variant, color, material))
            painted.append(Painted(placed.shape, placed.pose, draw_paints(color, material, split, random)))
        self.objects = tuple(words)
        self._surface = Surface(painted)
        self._light = Light.draw(self.plan, self.placed, stream(split, seed, "light"))

    @property
    def solid(self) -> Boxes:
        """Boxes around all parts of the furniture."""
        boxes = [Boxes.of(placed.shape, placed.pose) for placed in self.placed]
        return reduce(Boxes.joined, boxes)

    @cached_property
    def _labels(self) -> Ints:
        return np.array([CATEGORIES.index(item.category) for item in self.objects], dtype=np.int64)

    def cameras(self, count: int = WALK_VIEWS, width: int = WALK_WIDTH, height: int = WALK_HEIGHT) -> list[Camera]:
        """Returns the cameras of the walk: OpenCV axes, room frame, metres."""
        things = np.arange(len(STRUCTURE), len(self.objects))
        way = Walkable(self.plan, self.solid, self._surface, things)
        return way.walk(count, width, height, stream(self._split, self._seed, "walk"))

    def render(self, camera: Camera) -> Frame:
        """Returns the exact picture and ground truth that a camera sees."""
        return Shot(self._surface, self._light, camera).frame(self._labels)

    def views(self, count: int = WALK_VIEWS, width: int = WALK_WIDTH, height: int = WALK_HEIGHT) -> Sequence[View]:
        """Returns the walk's frames as a sensor gives them, with noise and holes; each is rendered when it is read."""
        cameras = self.cameras(count, width, height)

        @lru_cache(maxsize=2)  # colour and depth of one frame are mostly read together
        def shot(index: int) -> Shot:
            return Shot(self._surface, self._light, cameras[index])

        def color(index: int) -> Tensor:
            return shot(index).sensed_color(stream(self._split, self._seed, "color noise", index))

        def depth(index: int) -> Tensor:
            return shot(index).sensed_depth(stream(self._split, self._seed, "depth noise", index))

        return [
            View(f"{index:06d}", camera, partial(color, index), partial(depth, index))
            for index, camera in enumerate(cameras)
        ]

    def scene(self) -> Scene:
        """Returns what the walk's cameras see of the surfaces: about one point per 2 cm, z up, metres, with colours,
        normals towards the seen side, labels (index in CATEGORIES) and instances (index in `objects`)."""
        points, triangles = sample_surface(self._surface, stream(self._split, self._seed, "points"))
        rows, normals = seen_from(self._surface, points, triangles, self.cameras())
        points, triangles = points[rows], triangles[rows]
        colors = self._light.shade(self._surface, points, normals, triangles)
        instances = self._surface.triangle_object[triangles]
        return Scene(
            points=torch.from_numpy(points),
            up=torch.tensor([0.0, 0.0, 1.0]),
            colors=torch.from_numpy(colors),
            normals=torch.from_numpy(normals),
            labels=torch.from_numpy(self._labels[instances]),
            instances=torch.from_numpy(instances),
            name=self.name,
        )


def make_room(seed: int, split: Split = "train") -> Room:
    """Returns the furnished room of a seed: the same seed and split give the same bytes.

    Training and validation rooms never hold what `rooms.splits` keeps for the test, nor training rooms the shapes kept
    for validation; the three splits never share a room.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"a room's seed must be 0 or more, got {seed}")
    return Room(seed, split)
