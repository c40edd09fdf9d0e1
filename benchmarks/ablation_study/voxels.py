"""What a sparse network sees of a room: all of its cloud as RoomNet's voxels, and where the kept points lie in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.backbones.network_input import network_input
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.network import RoomNetConfig, voxel_values
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
