"""Sonata: a frozen Point Transformer V3, pre-trained without labels on indoor scans; Concerto by its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from geoguide3d.backbones.checkpoint import load_parameters, read_checkpoint
from geoguide3d.backbones.network_input import network_input
from geoguide3d.backbones.ptv3.config import SONATA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder, shuffled_orders
from geoguide3d.backbones.ptv3.levels import NodeFeatures, up_cast
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeaturePieces


class Sonata:
    """Features of Sonata's encoder, or of Concerto's, from a checkpoint in the user's hands; a FrozenBackbone.

    Deterministic: orders are not shuffled, the first point of a voxel stands for it, and nothing is dropped out.
    """

    name = "sonata"
    needs: tuple[str, ...] = ("colors", "normals")

    def __init__(
        self,
        encoder: PTv3Encoder,
        *,
        voxel_size_m: float = 0.02,
        level: int = 0,
        order_seed: int | None = None,
        upstream_compat: bool = False,
        licence: str = "CC-BY-NC-4.0",
    ) -> None:
        """Keeps the encoder and the settings; `load` reads the encoder from a file.

        Args:
            voxel_size_m: side of a voxel of the finest level; both were trained at 0.02.
            level: features of this level and of all coarser ones are set side by side. 0: every voxel has its own, 1232
                channels at Sonata's size; 2: voxels of four times the side share them, 1088 channels.
            order_seed: shuffles the orders as upstream's inference does; None: the config's orders.
            upstream_compat: voxels are found by division in float32, as upstream does under numpy 1.
            licence: of the checkpoint. The default is that of Sonata's.

        Raises:
            ValueError: a level that the encoder does not have, a voxel size that is not positive, or an encoder that
                takes other than nine channels.
        """
        if not 0 <= level < encoder.config.levels:
            raise ValueError(f"level must be 0 … {encoder.config.levels - 1}, got {level}")
        if not voxel_size_m > 0:
            raise ValueError(f"voxel_size_m must be positive, got {voxel_size_m}")
        if encoder.config.in_channels != 9:
            raise ValueError(
                f"the encoder takes {encoder.config.in_channels} channels; positions, colours and normals are 9"
            )
        self.encoder = encoder.eval().requires_grad_(False)
        self.voxel_size_m, self.level, self.licence = voxel_size_m, level, licence
        self.channels = encoder.config.channels_from(level)
        self._orders = None if order_seed is None else shuffled_orders(encoder.config, order_seed)
        self._upstream_compat = upstream_compat
        self.config: dict[str, Any] = {
            "voxel_size_m": voxel_size_m,
            "level": level,
            "order_seed": order_seed,
            "upstream_compat": upstream_compat,
            "licence": licence,
        }

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", **config: Any) -> Sonata:
        """Returns the backbone of a checkpoint: {"config": …, "state_dict": …} of torch, or safetensors.

        A file without a config is read as Sonata's published size, which is Concerto's base size too.

        Args:
            config: settings of the backbone, as its own `config` gives them.

        Raises:
            FileNotFoundError, ValueError: what `read_checkpoint` and `load_parameters` refuse.
        """
        checkpoint = read_checkpoint(path)
        sizes = SONATA if checkpoint.config is None else PTv3Config.from_upstream(checkpoint.config)
        with torch.device("meta"):  # no random numbers for what the file fills
            encoder = PTv3Encoder(sizes)
        load_parameters(encoder, checkpoint)
        return cls(encoder.to(device), **config)

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients, on the CPU.

        Missing normals and a missing up direction are estimated, missing colours count as black (all logged).

        Raises:
            ValueError: colours outside of 0 … 255, coordinates that float32 cannot tell apart at this voxel size, or
                more than 2¹⁶ voxels along an axis.
        """
        return self.encode_nodes(scene).per_row()

    def encode_pieces(self, scene: Scene) -> FeaturePieces:
        """Returns what `encode` does, each feature once, as the cache keeps them."""
        nodes = self.encode_nodes(scene)
        return FeaturePieces([nodes.features], nodes.node_of_row)

    @torch.no_grad()
    def encode_nodes(self, scene: Scene) -> NodeFeatures:
        """Returns what `encode` does, each feature once: at the voxels of `level`, with the voxel of every point."""
        seen = network_input(scene, self.voxel_size_m, self.needs, self._upstream_compat)
        values = torch.cat([seen.points, seen.colors, seen.normals], dim=1)
        device = next(self.encoder.parameters()).device
        cells = pad(seen.cells, (1, 0))  # cloud 0
        levels = self.encoder(values.to(device), cells.to(device), seen.points.to(device), self._orders)
        nodes = up_cast(levels, self.level)
        return NodeFeatures(nodes.features.float().cpu(), nodes.node_of_row.cpu()[seen.voxel_of_point])
