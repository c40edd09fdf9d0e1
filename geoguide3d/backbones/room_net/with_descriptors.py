"""What a model is distilled on by default: RoomNet's features with the handcrafted descriptors beside them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.network_input import Bounds
from geoguide3d.backbones.room_net.backbone import VERSION, RoomNet
from geoguide3d.scenes.orientation import ensure_normals, with_up
from geoguide3d.scenes.scene import Scene


class RoomNetWithDescriptors:
    """The channels of RoomNet, then those of `Descriptors`; a FrozenBackbone.

    RoomNet sees things, descriptors colour and fine shape: docs/room_net.md has the numbers of each alone and of both.
    The channels have different units; compare them by cosine after standardising.

    Args:
        version: of RoomNet's embedded weights.
        descriptors: the config of the descriptors; None: their defaults.
        device: where RoomNet runs; the descriptors stay on the CPU.

    Raises:
        ValueError: a version of either that this package does not hold.
    """

    name = "room_net_with_descriptors"
    needs: tuple[str, ...] = ("colors", "normals")
    licence = "Apache-2.0"

    def __init__(
        self,
        version: int = VERSION,
        descriptors: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._learned = RoomNet.load(device=device, version=version)
        self._handcrafted = Descriptors(**(descriptors or {}))
        self.channels = self._learned.channels + self._handcrafted.channels
        # RoomNet's features wait while the descriptors take their memory.
        self.bytes_per_voxel = self._handcrafted.bytes_per_voxel + 4 * self.channels
        self.voxel_size_m = max(self._learned.voxel_size_m, self._handcrafted.voxel_size_m)
        self.config: dict[str, Any] = {**self._learned.config, "descriptors": self._handcrafted.config}

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients, on the CPU.

        Missing normals and a missing up direction are estimated, missing colours count as black (all logged).

        Raises:
            ValueError: what RoomNet refuses.
        """
        if len(scene) > 2:  # fewer have no normals to estimate; each of the two says so itself
            scene = with_up(ensure_normals(scene))
        return torch.cat([self._learned.encode(scene), self._handcrafted.encode(scene)], dim=1)

    def encode_part(self, part: Scene, whole: Bounds) -> Tensor:
        """Returns (N, G), as `encode` does, for a part of a scene; of the whole, descriptors know nothing."""
        return torch.cat([self._learned.encode_part(part, whole), self._handcrafted.encode(part)], dim=1)
