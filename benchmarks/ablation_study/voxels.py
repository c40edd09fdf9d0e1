"""What a sparse network sees of a room: all of its cloud as RoomNet's voxels, and where the kept points lie in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.backbones.network_input import network_input
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.network import RoomNetConfig, voxel_values
from geoguide3d.geometry.superpoints import neighbor_edges
from geoguide3d.scenes.scene import Scene


@dataclass(frozen=True)
class Voxels:
    """M voxels of a cloud of which N points are kept.

    Args:
        values: (M, 8) float16, the input of RoomNet's network.
        cells: (M, 3) int16, the smallest index of each axis is 0.
        of_point: (N,) int32 voxel of each kept point.
    """

    values: Tensor
    cells: Tensor
    of_point: Tensor


def voxels_of(scene: Scene, rows: Tensor) -> Voxels:
    """Returns the voxels of a cloud, as RoomNet cuts it.

    Args:
        rows: (N,) int64 points that are kept.
    """
    seen = network_input(scene, RoomNetConfig().voxel_size_m, RoomNet.needs, placement=RoomNet.placement)
    values = voxel_values(seen.points, seen.colors, seen.normals).to(torch.float16)
    return Voxels(values, seen.cells.to(torch.int16), seen.voxel_of_point[rows].to(torch.int32))


def contacts(voxels: Voxels, instances: Tensor) -> Tensor:
    """Returns (I, I) int64: how many pairs of neighbouring voxels two instances have, symmetric, 0 with themselves.

    Args:
        instances: (N,) int64 instance of each kept point, 0 … I - 1; a voxel's is that of its first kept point.
    """
    count, of_point = int(instances.max()) + 1, voxels.of_point.long()
    first = torch.full((len(voxels.cells),), len(of_point))
    first.scatter_reduce_(0, of_point, torch.arange(len(of_point)), "amin")
    owner = torch.cat([instances, torch.tensor([-1])])[first]
    pairs = owner[neighbor_edges(voxels.cells.to(torch.float32))]
    pairs = pairs[(pairs >= 0).all(dim=1) & (pairs[:, 0] != pairs[:, 1])]
    met = torch.bincount(pairs[:, 0] * count + pairs[:, 1], minlength=count * count).view(count, count)
    return met + met.T
