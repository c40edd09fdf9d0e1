"""calibration: over the pieces of the rooms, every channel has mean 0 and, where it varies, deviation 1."""

from __future__ import annotations

from pathlib import Path

import torch

from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.calibration import LEAST_POINTS, calibrate
from geoguide3d.backbones.room_net.clouds import TrainingRooms
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork
from geoguide3d.backbones.room_net.objective import piece_means


def test_channels_vary_alike_between_pieces(fake_clouds: Path) -> None:
    torch.manual_seed(0)
    network = RoomNetwork(RoomNetConfig(voxel_size_m=0.06, base_channels=4, channels=(6, 8, 8, 6))).eval()
    rooms = TrainingRooms(fake_clouds, 4)[:3]

    def pieces() -> torch.Tensor:
        encode = RoomNet(network, 0.06).encode
        return torch.cat([piece_means(encode(room.scene), room.piece, LEAST_POINTS) for room in rooms])

    before = pieces().std(dim=0)
    calibrate(network, rooms, 0.06)
    deviation, mean = torch.std_mean(pieces(), dim=0)
    variance = network.norm.running_var
    assert variance is not None
    held_down = (variance / (variance + network.norm.eps)).sqrt()  # by BatchNorm's epsilon: channels that hardly vary
    assert torch.allclose(deviation, held_down, atol=1e-3)
    assert float(deviation.mean()) > 10 * float(before.mean())
    assert float(mean.abs().amax()) < 1e-3
