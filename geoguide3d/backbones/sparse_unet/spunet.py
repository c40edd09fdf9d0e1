"""Pointcept's sparse U-Net, SpUNet-v1m1, as a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.checkpoint import load_parameters, network_in, read_checkpoint
from geoguide3d.backbones.network_input import NetworkInput, Placement
from geoguide3d.backbones.sparse_unet.backbone import SparseUNetBackbone
from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig
from geoguide3d.backbones.zoo_names import spunet_names
from geoguide3d.sparse.tensor import SparseTensor

_STEM, _FINAL = "conv_input.0.weight", "final.weight"


class SpUNet(SparseUNetBackbone):
    """Features of a SpUNet checkpoint in the user's hands, trained by Pointcept; a FrozenBackbone.

    They are the decoder's output at the finest voxels, `dec.0`, before the layer `final` that tells classes apart: 96
    channels at the published size. The network sees colour and normal of a voxel; of positions only the cells.
    """

    name = "spunet"
    needs: tuple[str, ...] = ("colors", "normals")
    placement = Placement.ROOM

    def __init__(
        self,
        network: SparseUNet,
        *,
        voxel_size_m: float = 0.02,
        centred_colors: bool = True,
        upstream_compat: bool = False,
        licence: str = "unknown",
    ) -> None:
        """Keeps the network and the settings; `load` reads the network from a file.

        Args:
            voxel_size_m: side of a voxel; the published weights were trained at 0.02.
            centred_colors: colours reach the network as −1 … 1, as the published weights were trained; False: as
                0 … 1, which is what Pointcept's NormalizeColor makes of them since it was changed for Sonata.
            upstream_compat: voxels are found by division in float32, as upstream does under numpy 1.
            licence: of the checkpoint, which says nothing of it.

        Raises:
            ValueError: a voxel size that is not positive, or a network that takes other than six channels.
        """
        if network.config.in_channels != 6:
            raise ValueError(f"the network takes {network.config.in_channels} channels; colours and normals are 6")
        super().__init__(network, voxel_size_m, upstream_compat, licence)
        self.channels = network.config.channels[-1]
        self._centred_colors = centred_colors
        self.config["centred_colors"] = centred_colors

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", **config: Any) -> SpUNet:
        """Returns the backbone of a checkpoint: of Pointcept's training, of torch-pointcloud, or a bare state_dict.

        The network's sizes are read off the shapes of its parameters.

        Args:
            config: settings of the backbone, as its own `config` gives them.

        Raises:
            FileNotFoundError, ValueError: what `read_checkpoint` and `load_parameters` refuse.
        """
        checkpoint = network_in(spunet_names(read_checkpoint(path)), [_STEM, _FINAL])
        with torch.device("meta"):  # no random numbers for what the file fills
            network = SparseUNet(_sizes(checkpoint.state_dict))
        load_parameters(network, checkpoint)
        return cls(network.to(device), **config)

    def _values(self, seen: NetworkInput) -> Tensor:
        colors = seen.colors * 2 - 1 if self._centred_colors else seen.colors
        return torch.cat([colors, seen.normals], dim=1)

    def _features(self, voxels: SparseTensor) -> Tensor:
        out: SparseTensor = self.network(voxels)
        return out.features


def _sizes(state: Mapping[str, Tensor]) -> SparseUNetConfig:
    """Returns the sizes of a network with these parameters.

    Where they cannot be read off, the published size is returned, and `load_parameters` says what differs from it.
    """
    channels, layers = [], []
    for part in ("enc", "dec"):
        steps = _count(state, part + ".{}.block0.conv1.weight")
        firsts = [state[f"{part}.{step}.block0.conv1.weight"] for step in range(steps)]
        depths = [_count(state, f"{part}.{step}.block{{}}.conv1.weight") for step in range(steps)]
        order = 1 if part == "enc" else -1  # both lists run along the network: down, then up
        channels += [weight.shape[0] for weight in firsts][::order]
        layers += depths[::order]
    stem = state.get(_STEM)
    if stem is None or stem.ndim != 5 or not channels or len(channels) % 2:
        return SparseUNetConfig()
    classes = len(state[_FINAL]) if _FINAL in state else 0
    return SparseUNetConfig(stem.shape[-1], classes, stem.shape[0], tuple(channels), tuple(layers))


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many of pattern.format(0), pattern.format(1) … there are without a gap."""
    number = 0
    while pattern.format(number) in state:
        number += 1
    return number
