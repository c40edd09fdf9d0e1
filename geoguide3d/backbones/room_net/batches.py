"""From rooms to what one training step sees: two views of a place in each, their voxels, and which of them match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from geoguide3d.backbones.room_net.augmentation import Augmentation, PartialView, two_views
from geoguide3d.backbones.room_net.clouds import TrainingRoom
from geoguide3d.backbones.room_net.network import voxel_values
from geoguide3d.ops import voxel_hash
from geoguide3d.sparse.tensor import SparseTensor


@dataclass(frozen=True)
class Sampling:
    """What of a batch the losses look at.

    Args:
        rooms: rooms per step; of each, two views.
        matches: points per room that both views show, at most.
        described: voxels per view whose descriptors are to be foretold, at most.
        balance: 0 draws points evenly, 1 as many from each piece of the room; most points lie on walls and floors.
    """

    rooms: int = 3
    matches: int = 1024
    described: int = 1024
    balance: float = 0.7


@dataclass(frozen=True)
class Batch:
    """Voxels of all views, and rows of them.

    Args:
        voxels: (M, 8), cloud 2r and 2r + 1 are the views of room r.
        first, second: (P,) int64, voxels in the two views of a room that hold the same point.
        piece: (P,) int64, the piece of the room that the point belongs to; no two rooms share one.
        described: (D,) int64, voxels whose descriptors are known.
        descriptors: (D, 223), those.
    """

    voxels: SparseTensor
    first: Tensor
    second: Tensor
    piece: Tensor
    described: Tensor
    descriptors: Tensor


def make_batch(
    rooms: Sequence[TrainingRoom], how: Augmentation, sampling: Sampling, voxel_size_m: float, seed: torch.Generator
) -> Batch:
    """Returns a batch of two views of a place in each room."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    voxels, pieces = 0, 0
    for number, room in enumerate(rooms):
        ways = []
        for half, view in enumerate(two_views(room.scene, how, seed)):
            cells, values, voxel_of_point = voxelized(view, voxel_size_m)
            parts["cells"].append(pad(cells, (1, 0), value=2 * number + half))
            parts["values"].append(values)
            drawn = draw_balanced(room.piece[view.rows], sampling.described, sampling.balance, seed)
            parts["described"].append(voxel_of_point[drawn] + voxels)
            parts["descriptors"].append(room.described[room.described_row[view.rows[drawn]]])
            voxel_of_row = torch.full((len(room.scene),), -1)
            voxel_of_row[view.rows] = voxel_of_point + voxels
            ways.append(voxel_of_row)
            voxels += len(cells)
        shared = one_of_each_voxel(*ways)
        shared = shared[draw_balanced(room.piece[shared], sampling.matches, sampling.balance, seed)]
        parts["first"].append(ways[0][shared])
        parts["second"].append(ways[1][shared])
        parts["piece"].append(room.piece[shared] + pieces)
        pieces += int(room.piece.max()) + 1
    whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
    return Batch(SparseTensor.of(whole.pop("values"), whole.pop("cells")), **whole)


def voxelized(view: PartialView, voxel_size_m: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the cells (M, 3), what the network sees of them (M, 8), and (P,) the voxel of each point of a view."""
    if len(view.points) == 0:
        return view.rows.new_empty(0, 3), voxel_values(view.points, view.colors, view.normals), view.rows
    cells, point_of_voxel, voxel_of_point = voxel_hash(view.points - view.points.amin(dim=0), voxel_size_m)
    picked = (values[point_of_voxel] for values in (view.points, view.colors, view.normals))
    return cells, voxel_values(*picked), voxel_of_point


def one_of_each_voxel(first: Tensor, second: Tensor) -> Tensor:
    """Returns the rows of points that both views show, rising, one for each voxel of the first.

    Args:
        first, second: (N,) int64, the voxel of every point of the scene in either view, -1 where it is not shown.
    """
    both = ((first >= 0) & (second >= 0)).nonzero().squeeze(1)
    _, group = torch.unique(first[both], return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    row = torch.full((count,), len(first)).scatter_reduce_(0, group, both, "amin")
    return row.sort().values


def draw_balanced(piece: Tensor, count: int, balance: float, seed: torch.Generator) -> Tensor:
    """Returns at most count different rows of piece ((P,) int64), those of large pieces less likely."""
    if len(piece) == 0:
        return piece
    weights = torch.bincount(piece)[piece].to(torch.float64).pow(-balance)
    return torch.multinomial(weights, min(count, len(piece)), generator=seed)
