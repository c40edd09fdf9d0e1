"""Which superpoints and masks a row learns from: those of a room, or better and worse ones made of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ablation_study.rooms import RoomData
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.rooms.categories import STRUCTURE

LEAST_POINTS = 10  # of a mask; the rooms are thinned to a fifth of their points
_LOOKED_AT = 128  # points of an instance


def superpoints_of(room: RoomData, kind: str) -> Tensor:
    """Returns (N,) int64 superpoints: one of `RoomData.superpoints`, or "ground truth", the instances themselves."""
    return instances_of(room) if kind == "ground truth" else room.superpoints[kind]


def masks_of(room: RoomData, source: str) -> PointMasks:
    """Returns the masks of a source.

    Args:
        source: one of `RoomData.masks`; "shuffled", the proposer's moved to other superpoints; "over-segmented", a mask
            for every superpoint of some size; "under-segmented", true instances melted together, `united`.
    """
    if source == "shuffled":
        return shuffled(room, room.masks["proposer"], seed=0)
    if source == "over-segmented":
        masks = PointMasks.from_labels(room.superpoints["standard"])
        return masks.select(masks.sizes >= LEAST_POINTS)
    if source == "under-segmented":
        return united(room)
    return room.masks[source]


def instances_of(room: RoomData) -> Tensor:
    """Returns (N,) int64 true instance of each point, 0 … I - 1; all points of these rooms have one."""
    masks = room.masks["ground truth"]
    ids = torch.full((masks.point_count,), -1)
    ids[masks.point_ids] = masks.owners
    return ids


def united(room: RoomData) -> PointMasks:
    """Returns true instances melted together: the shell of the room is one mask, things are united by two.

    The things nearest to each other come first, each at most once; one may stay alone.

    Raises:
        ValueError: a room that was prepared without voxels, which tell where its points lie.
    """
    if room.voxels is None:
        raise ValueError(f"{room.name}: voxels tell where points lie; prepare the rooms with them")
    instances = instances_of(room)
    is_shell = torch.zeros(int(instances.max()) + 1, dtype=torch.bool)
    is_shell[instances[room.labels < len(STRUCTURE)]] = True
    name = torch.arange(len(is_shell))
    name[is_shell] = int(is_shell.nonzero()[0])
    apart = gaps(room.voxels.cells[room.voxels.of_point.long()], instances)
    free = ~is_shell
    for place in apart.flatten().argsort(stable=True).tolist():
        one, other = divmod(place, len(name))
        if one < other and free[one] and free[other]:
            free[one] = free[other] = False
            name[other] = one
    return PointMasks.from_labels(name[instances])


def gaps(cells: Tensor, instances: Tensor) -> Tensor:
    """Returns (I, I) the least distance of points of two instances, of at most 128 points of each, spread evenly.

    Args:
        cells: (N, 3) places.
        instances: (N,) int64, 0 … I - 1.
    """
    members = [(instances == i).nonzero().squeeze(1) for i in range(int(instances.max()) + 1)]
    places = [cells[rows[:: max(1, -(-len(rows) // _LOOKED_AT))]].to(torch.float32) for rows in members]
    return torch.stack([torch.stack([torch.cdist(one, other).min() for other in places]) for one in places])


def shuffled(room: RoomData, masks: PointMasks, seed: int) -> PointMasks:
    """Returns masks of the same sizes over other superpoints: lumps of surface that belong together by chance.

    Points are put in an order in which superpoints stay whole; each takes the place of one in another such order.
    """
    ids = room.superpoints["standard"]
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(int(ids.max()) + 1, generator=generator)[ids].argsort(stable=True) for _ in range(2)]
    place = torch.empty(len(ids), dtype=torch.int64)
    place[orders[0]] = orders[1]
    moved = place[masks.point_ids]
    order = (masks.owners * len(ids) + moved).argsort()
    return replace(masks, point_ids=moved[order])
