"""The words of the rooms: categories, colours, materials, and which go together."""

from __future__ import annotations

from dataclasses import dataclass

COLORS: dict[str, tuple[int, int, int]] = {  # sRGB
    "red": (190, 40, 38),
    "orange": (226, 122, 40),
    "yellow": (228, 196, 66),
    "green": (62, 132, 66),
    "blue": (48, 88, 168),
    "purple": (118, 66, 148),
    "pink": (230, 146, 170),
    "brown": (118, 74, 44),
    "beige": (216, 196, 160),
    "white": (238, 238, 234),
    "gray": (134, 136, 138),
    "black": (34, 34, 36),
}
MATERIALS = ("wood", "metal", "fabric", "leather", "ceramic", "plastic", "glass", "stone", "tile", "paper", "plaster")

_ALL = tuple(COLORS)
_CLOTH = tuple(color for color in COLORS if color != "black")
_TIMBER = ("brown", "beige", "white", "black", "gray", "red", "green", "blue", "yellow", "orange")
_BATH = ("white", "beige", "pink", "blue", "green", "gray", "black")
_KITCHEN = ("white", "gray", "black", "red", "blue", "beige", "green", "yellow")
_PALE = ("white", "beige", "gray", "yellow", "green", "blue", "pink", "orange")


@dataclass(frozen=True)
class Category:
    """What objects of one name may look like."""

    name: str
    colors: tuple[str, ...]
    materials: tuple[str, ...]


_TABLE = (
    Category("wall", _PALE, ("plaster", "plaster", "tile")),
    Category("floor", ("brown", "beige", "gray", "white", "black", "red"), ("wood", "wood", "stone", "tile", "fabric")),
    Category("ceiling", ("white", "beige"), ("plaster", "plaster", "wood")),
    Category("door", _TIMBER, ("wood",)),
    Category("window", ("white", "brown", "gray", "black", "green", "blue"), ("wood", "plastic", "metal")),
    Category("chair", _ALL, ("wood", "plastic", "fabric", "metal")),
    Category("armchair", _ALL, ("fabric", "leather")),
    Category("stool", _ALL, ("wood", "plastic", "metal", "leather")),
    Category("sofa", _ALL, ("fabric", "leather")),
    Category("table", _TIMBER, ("wood", "wood", "stone", "plastic", "glass")),
    Category("desk", _TIMBER, ("wood", "metal")),
    Category("bed", _CLOTH, ("fabric",)),
    Category("nightstand", _TIMBER, ("wood", "plastic")),
    Category("lamp", _CLOTH, ("fabric", "paper", "plastic", "glass")),
    Category("shelf", _TIMBER, ("wood", "metal")),
    Category("cabinet", _TIMBER, ("wood", "metal", "plastic")),
    Category("sink", _BATH, ("ceramic", "stone", "metal")),
    Category("toilet", _BATH, ("ceramic", "plastic")),
    Category("bathtub", _BATH, ("ceramic", "plastic")),
    Category("refrigerator", _KITCHEN, ("metal", "plastic")),
    Category("oven", _KITCHEN, ("metal",)),
    Category("monitor", ("black", "gray", "white", "blue", "red"), ("plastic", "metal")),
    Category("plant", ("green",), ("plastic",)),  # of the leaves; nobody waters these rooms
    Category("book", _ALL, ("paper", "leather")),
    Category("rug", _ALL, ("fabric",)),
    Category("curtain", _CLOTH, ("fabric",)),
    Category("picture", _ALL, ("paper", "fabric")),
    Category("mirror", ("brown", "white", "gray", "black", "yellow", "red"), ("wood", "metal", "plastic")),
    Category("cushion", _ALL, ("fabric", "leather")),
    Category("bin", _ALL, ("plastic", "metal")),
    Category(
        "box", ("brown", "beige", "white", "blue", "red", "green", "gray", "orange"), ("paper", "plastic", "wood")
    ),
    Category("vase", _ALL, ("ceramic", "glass", "metal")),
)
CATEGORY_OF: dict[str, Category] = {category.name: category for category in _TABLE}
CATEGORIES: tuple[str, ...] = tuple(CATEGORY_OF)
STRUCTURE = ("wall", "floor", "ceiling")
