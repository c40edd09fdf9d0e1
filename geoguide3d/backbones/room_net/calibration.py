"""The last step of training: channels are scaled by how much they vary between things instead of between voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from geoguide3d.backbones.network_input import network_input
from geoguide3d.backbones.room_net.clouds import TrainingRoom
from geoguide3d.backbones.room_net.network import RoomNetwork, columns, voxel_values
from geoguide3d.backbones.room_net.objective import piece_means
from geoguide3d.sparse.tensor import SparseTensor

LEAST_POINTS = 30  # a smaller piece is a splinter


@torch.no_grad()
def calibrate(network: RoomNetwork, rooms: Sequence[TrainingRoom], voxel_size_m: float) -> None:
    """Sets the mean and the deviation that the network's features are freed of to those of the rooms' pieces.

    The features of a piece are the means over its points; a channel that varies within things and not between them
    would else have as loud a voice as one that tells them apart.

    Args:
        network: in eval mode.
        rooms: with at least two pieces of 30 points between them.
    """
    parts = []
    for room in rooms:
        seen = network_input(room.scene, voxel_size_m, ("colors", "normals"))
        values = voxel_values(seen.points, seen.colors, seen.normals)
        levels = network.unet.levels(SparseTensor.of(values, pad(seen.cells, (1, 0))))
        parts.append(piece_means(columns(levels, seen.voxel_of_point), room.piece, LEAST_POINTS))
    variance, mean = torch.var_mean(torch.cat(parts), dim=0)
    network.norm.load_state_dict({"running_mean": mean, "running_var": variance}, strict=False)
