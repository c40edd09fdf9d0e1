"""Point Transformer V3 as a backbone: what Sonata, Concerto and Utonia share."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch.nn.functional import pad

from geoguide3d.backbones.checkpoint import Checkpoint, load_parameters, network_in, read_checkpoint
from geoguide3d.backbones.network_input import Bounds, Placement, network_input
from geoguide3d.backbones.node_features import EncodesNodes, NodeFeatures
from geoguide3d.backbones.ptv3.config import PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder, shuffled_orders
from geoguide3d.backbones.ptv3.levels import up_cast
from geoguide3d.backbones.zoo_names import encoder_names
from geoguide3d.scenes.scene import Scene

_log = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_IN_CHANNELS = 9  # positions, colours and normals
_SURE_NAMES = ("embedding.stem.linear.weight", "enc.enc0.block0.norm1.0.weight")  # of every PTv3 encoder


@dataclass(frozen=True)
class InputTransform:
    """What a network was shown of scenes in its training.

    Args:
        voxel_size_m: side of a voxel of the finest level, metres in the room.
        scale: the network's units per metre; its grid is voxel_size_m · scale.
        placement: where its coordinates have zero.
        needs: what it is shown besides points; the rest of its nine channels is zero.
    """

    voxel_size_m: float
    scale: float = 1.0
    placement: Placement = Placement.ROOM
    needs: tuple[str, ...] = ("colors", "normals")


@dataclass(frozen=True)
class PTv3Settings:
    """What a user may choose.

    Args:
        voxel_size_m: side of a voxel of the finest level; None: that of the transform, with which it was trained.
        level: features of this level and of all coarser ones are set side by side. 0: every voxel has its own, 1232
            channels at Sonata's size; 2: voxels of four times the side share them, 1088 channels.
        order_seed: shuffles the orders as upstream's inference does; None: the config's orders.
        upstream_compat: voxels are found by division in float32, as upstream does under numpy 1.
        licence: of the checkpoint; None: known for files under their published names, else said to be unknown.
        transform: one of the backbone's own: "indoor", or "outdoor" where it has it.
        dtype: of products and attention, by torch.autocast: "float32", "bfloat16" or "float16"; parameters stay
            float32. On the recorded networks bfloat16 changes features by less than 3 % of their length
            (1 − cosine < 5e-4), float16 by less than 0.5 % (1e-5).

    Raises:
        ValueError: a voxel size that is not positive, or another dtype.
    """

    voxel_size_m: float | None = None
    level: int = 0
    order_seed: int | None = None
    upstream_compat: bool = False
    licence: str | None = None
    transform: str = "indoor"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.voxel_size_m is not None and not self.voxel_size_m > 0:
            raise ValueError(f"voxel_size_m must be positive, got {self.voxel_size_m}")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, got {self.dtype!r}")


class PTv3Backbone(EncodesNodes):
    """Features of a Point Transformer V3 encoder from a checkpoint in the user's hands; a FrozenBackbone.

    Deterministic: orders are not shuffled, the first point of a voxel stands for it, and nothing is dropped out.
    The features of a voxel depend on the whole scene, because patches run along curves that fill it. So tiles
    (`TiledBackbone`) change them a little everywhere, not at their seams alone, whatever their margin. Cut only what
    does not fit.
    """

    name: str
    rotary: ClassVar[bool] = False
    transforms: ClassVar[dict[str, InputTransform]]
    published: ClassVar[dict[str, str]]  # file name → licence

    def __init__(self, encoder: PTv3Encoder, settings: PTv3Settings | None = None) -> None:
        """Keeps the encoder and the settings; `load` reads the encoder from a file.

        Raises:
            ValueError: a level that the encoder does not have, an unknown transform, or an encoder of another kind.
        """
        settings = settings or PTv3Settings()
        if not 0 <= settings.level < encoder.config.levels:
            raise ValueError(f"level must be 0 … {encoder.config.levels - 1}, got {settings.level}")
        if settings.transform not in self.transforms:
            known = ", ".join(self.transforms)
            raise ValueError(f"transform of {self.name!r} must be one of {known}, got {settings.transform!r}")
        if encoder.config.in_channels != _IN_CHANNELS:
            raise ValueError(
                f"the encoder takes {encoder.config.in_channels} channels; positions, colours and normals are 9"
            )
        if (encoder.config.rope_base is not None) != self.rotary:
            has, other = ("no", "sonata or concerto") if self.rotary else ("", "utonia")
            raise ValueError(f"this encoder has {has} rotary attention, so it is none of {self.name!r}; try {other}")
        self.encoder = encoder.eval().requires_grad_(False)
        self.transform = self.transforms[settings.transform]
        self.voxel_size_m = settings.voxel_size_m or self.transform.voxel_size_m
        self.needs = self.transform.needs
        self.licence = settings.licence or "unknown"
        self.channels = encoder.config.channels_from(settings.level)
        # At the peak, besides the features of points: 6 and 2 bytes a channel were seen at 105,000 voxels, more at few.
        self.bytes_per_voxel = self.channels * (8 if settings.level == 0 else 4)
        self.settings = replace(settings, voxel_size_m=self.voxel_size_m, licence=self.licence)
        self._orders = None if settings.order_seed is None else shuffled_orders(encoder.config, settings.order_seed)
        self.config: dict[str, Any] = asdict(self.settings)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", **config: Any) -> Self:
        """Returns the backbone of a checkpoint: torch's or safetensors, as published, as Pointcept's training keeps it
        (the student of pre-training is taken), or under torch-pointcloud's names.

        A file without a config is read as a network of the published family; its shapes tell which.

        Args:
            config: settings of the backbone, as its own `config` gives them.

        Raises:
            FileNotFoundError, ValueError: what `read_checkpoint` and `load_parameters` refuse.
        """
        settings = PTv3Settings(**config)
        if settings.licence is None:
            settings = replace(settings, licence=cls.published.get(path.name))
            if settings.licence is None:
                _log.warning("%s: no published name, so its licence is unknown; the config's 'licence' says it", path)
        checkpoint = network_in(encoder_names(read_checkpoint(path)), _SURE_NAMES)
        with torch.device("meta"):  # no random numbers for what the file fills
            encoder = PTv3Encoder(_sizes(checkpoint))
        load_parameters(encoder, checkpoint)
        return cls(encoder.to(device), settings)

    @torch.no_grad()
    def encode_nodes(self, scene: Scene, whole: Bounds | None = None) -> NodeFeatures:
        """Returns what `encode` does, each feature once: at the voxels of `level`, with the voxel of every point."""
        compat, placement = self.settings.upstream_compat, self.transform.placement
        seen = network_input(scene, self.voxel_size_m, self.needs, compat, placement, whole)
        points = seen.points * self.transform.scale
        values = torch.cat([points, seen.colors, seen.normals], dim=1)
        device = next(self.encoder.parameters()).device
        cells = pad(seen.cells, (1, 0))  # cloud 0
        half = self.settings.dtype != "float32"
        # Also switched off here where it is not asked for: features must not depend on who calls.
        with torch.autocast(device.type, _DTYPES[self.settings.dtype] if half else None, enabled=half):
            levels = self.encoder(values.to(device), cells.to(device), points.to(device), self._orders)
        nodes = up_cast(levels, self.settings.level)
        return NodeFeatures(nodes.features.float().cpu(), nodes.node_of_row.cpu()[seen.voxel_of_point])


def _sizes(checkpoint: Checkpoint) -> PTv3Config:
    try:
        if checkpoint.config is None:
            return PTv3Config.from_shapes(checkpoint.state_dict)
        return PTv3Config.from_upstream(checkpoint.config)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from error
