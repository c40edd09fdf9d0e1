"""Shape: the parts of one object in its own frame, and the places on it where other things may stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.primitives import Floats, Mesh, Triple

Mount = Literal["floor", "wall", "ceiling", "surface"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """A mesh and the role of its paint: "main" is what the object's colour and material words speak of."""

    mesh: Mesh
    role: str


@dataclass(frozen=True)
class Support:
    """A level rectangle that things can stand on.

    Args:
        kind: "top" for tables and shelves, "seat" for cushions and pillows.
        height: metres above the object's origin.
        size: (width x, depth y) metres.
        center: (x, y) metres in the object's frame.
        clearance: free height above it, metres.
    """

    kind: Literal["top", "seat"]
    height: float
    size: tuple[float, float]
    center: tuple[float, float]
    clearance: float


class Vary:
    """Draws sizes near a typical one, and choices, from one object's random stream."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random

    def __call__(self, typical: float, spread: float = 0.12) -> float:
        """Returns a size within typical · (1 ± spread)."""
        return typical * float(self._random.uniform(1 - spread, 1 + spread))

    def between(self, low: float, high: float) -> float:
        """Returns a number in [low, high)."""
        return float(self._random.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """Returns a whole number from low to high, both included."""
        return int(self._random.integers(low, high + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """Returns one of the items."""
        return items[int(self._random.integers(len(items)))]


@dataclass
class Shape:
    """Collects parts. Origin: middle of the footprint, z up, the front towards +y, the back towards -y.

    `at` is always the centre of a part's bottom face, sizes are (width x, depth y, height z), all in metres.
    """

    parts: list[Part] = field(default_factory=list)
    supports: list[Support] = field(default_factory=list)

    def add(self, role: str, mesh: Mesh) -> None:
        """Adds a mesh that no other method makes."""
        self.parts.append(Part(mesh, role))

    def box(self, role: str, size: Triple, at: Triple, lean: float = 0.0) -> None:
        """Adds a box, leaning back by `lean` degrees about its bottom."""
        mesh = primitives.box(size, at)
        self.add(role, mesh.tilted(lean, at) if lean else mesh)

    def block(self, role: str, size: Triple, at: Triple, roundness: float = 0.3, lean: float = 0.0) -> None:
        """Adds a block with rounded edges, leaning back by `lean` degrees about its bottom."""
        mesh = primitives.block(size, at, roundness)
        self.add(role, mesh.tilted(lean, at) if lean else mesh)

    def cylinder(self, role: str, radius: float, height: float, at: Triple, top: float | None = None) -> None:
        """Adds an upright cylinder, or a cone that ends in radius `top`."""
        sides = 10 if max(radius, top or 0.0) < 0.04 else 20
        end = radius if top is None else top
        self.add(role, primitives.lathe([(0, 0), (radius, 0), (end, height), (0, height)], at, sides=sides))

    def turned(self, role: str, profile: Sequence[tuple[float, float]], at: Triple, aspect: float = 1.0) -> None:
        """Adds the body that a profile of (radius, height) pairs sweeps; hollow where it comes down inside."""
        self.add(role, primitives.lathe(profile, at, aspect=aspect))

    def tub(self, role: str, size: Triple, at: Triple, squareness: float, wall: float = 0.05) -> None:
        """Adds an open hollow body: a basin, a bath, a bin."""
        radius, height, inner = size[0] / 2, size[2], size[0] / 2 - wall
        profile = [(0, 0), (radius * 0.85, 0), (radius, height), (inner, height), (inner * 0.8, wall), (0, wall)]
        self.add(role, primitives.lathe(profile, at, aspect=size[1] / size[0], squareness=squareness))

    def legs(self, role: str, spread: tuple[float, float], height: float, radius: float, square: bool = False) -> None:
        """Adds four legs on the corners of a (width, depth) rectangle around the origin."""
        for x in (-spread[0] / 2, spread[0] / 2):
            for y in (-spread[1] / 2, spread[1] / 2):
                if square:
                    self.box(role, (2 * radius, 2 * radius, height), (x, y, 0.0))
                else:
                    self.cylinder(role, radius * 0.7, height, (x, y, 0.0), top=radius)

    def crossed_legs(self, role: str, x: float, span: float, height: float, thick: float) -> None:
        """Adds two square bars beside each other at x that cross like an X, `span` deep, up to `height`."""
        lean = np.pi / 4
        for _ in range(10):  # each round shrinks the error by thick / length: the bar's own width counts at its ends
            lean = float(np.arctan2(span - thick * np.cos(lean), height - thick * np.sin(lean)))
        length = float(height - thick * np.sin(lean)) / float(np.cos(lean))
        dip = thick / 2 * float(np.sin(lean))  # a leaning bar's lowest corner lies below the centre of its end
        for side in (-1, 1):
            at = (x + side * thick / 2, side * length / 2 * float(np.sin(lean)), dip)
            self.box(role, (thick, thick, length), at, lean=side * float(np.rad2deg(lean)))

    def support(
        self,
        height: float,
        size: tuple[float, float],
        center: tuple[float, float] = (0.0, 0.0),
        clearance: float = 1.0,
        kind: Literal["top", "seat"] = "top",
    ) -> None:
        """Says that things may stand on this rectangle."""
        self.supports.append(Support(kind, height, size, center, clearance))

    def part_bounds(self) -> Floats:
        """(P, 2, 3) lowest and highest corner of each part."""
        return np.stack([[p.mesh.vertices.min(axis=0), p.mesh.vertices.max(axis=0)] for p in self.parts])

    def bounds(self) -> Floats:
        """(2, 3) lowest and highest corner of the whole."""
        parts = self.part_bounds()
        return np.stack([parts[:, 0].min(axis=0), parts[:, 1].max(axis=0)])


@dataclass(frozen=True)
class Variant:
    """One structural way to build a category.

    Args:
        name: unique within its category.
        build: adds the parts to an empty shape.
        mount: what it stands on or hangs from. A "ceiling" shape lies below z = 0, a "wall" shape in front of its
            lowest y.
        bottom: range of the height of a "wall" shape's origin above the floor, metres.
    """

    name: str
    build: Callable[[Shape, Vary], None]
    mount: Mount = "floor"
    bottom: tuple[float, float] = (1.2, 1.5)

    def make(self, random: np.random.Generator) -> Shape:
        """Returns a shape with sizes drawn from this stream."""
        shape = Shape()
        self.build(shape, Vary(random))
        return shape
