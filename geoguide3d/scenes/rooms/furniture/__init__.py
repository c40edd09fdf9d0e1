"""The variants of every category. The last two of each table are held out (`rooms.splits`).

The first of the two is for validation rooms, the other for test rooms.
"""

from __future__ import annotations

from geoguide3d.scenes.rooms.furniture import (
    appliances,
    bath,
    bedding,
    decor,
    hangings,
    lamps,
    openings,
    seating,
    storage,
    tables,
)
from geoguide3d.scenes.rooms.shape import Variant

VARIANTS: dict[str, tuple[Variant, ...]] = {
    "door": openings.DOORS,
    "window": openings.WINDOWS,
    "chair": seating.CHAIRS,
    "armchair": seating.ARMCHAIRS,
    "stool": seating.STOOLS,
    "sofa": seating.SOFAS,
    "table": tables.TABLES,
    "desk": tables.DESKS,
    "nightstand": tables.NIGHTSTANDS,
    "bed": bedding.BEDS,
    "cushion": bedding.CUSHIONS,
    "shelf": storage.SHELVES,
    "cabinet": storage.CABINETS,
    "box": storage.BOXES,
    "bin": storage.BINS,
    "sink": bath.SINKS,
    "toilet": bath.TOILETS,
    "bathtub": bath.BATHTUBS,
    "refrigerator": appliances.REFRIGERATORS,
    "oven": appliances.OVENS,
    "monitor": appliances.MONITORS,
    "lamp": lamps.LAMPS,
    "plant": decor.PLANTS,
    "book": decor.BOOKS,
    "vase": decor.VASES,
    "rug": decor.RUGS,
    "curtain": hangings.CURTAINS,
    "picture": hangings.PICTURES,
    "mirror": hangings.MIRRORS,
}
