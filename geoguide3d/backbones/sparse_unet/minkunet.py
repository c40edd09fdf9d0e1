"""MinkUNet18A as OpenScene trains it: a distilled network whose features lie in the space of a text encoder.

Its checkpoints are MinkowskiEngine's, with other names and another layout of the kernels: `from_minkowski` converts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.checkpoint import Checkpoint, load_parameters, network_in, read_checkpoint
from geoguide3d.backbones.network_input import NetworkInput, Placement
from geoguide3d.backbones.sparse_unet.backbone import SparseUNetBackbone
from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig
from geoguide3d.sparse.tensor import SparseTensor

STEPS = 4  # down, and as many up: all of MinkowskiEngine's U-Nets
MINKUNET18A = SparseUNetConfig(
    in_channels=3,
    num_classes=768,
    base_channels=32,
    channels=(32, 64, 128, 256, 128, 128, 96, 96),
    layers=(2,) * 8,
    final_bias=False,
    widening="block",
    norm_eps=1e-5,
    norm_momentum=0.1,
)


class MinkUNet18A(SparseUNetBackbone):
    """Features of OpenScene's distilled 3D network, from a checkpoint in the user's hands; a FrozenBackbone.

    They are the output of the layer `final`, which OpenScene trained to match CLIP features of pixels: 768 channels
    (OpenSeg, whose text encoder is CLIP ViT-L/14@336px) or 512 (LSeg, ViT-B/32). The network sees ones at the occupied
    voxels: geometry alone, no colour and no normal. Voxels are cut from the scene's own zero, as OpenScene cuts them.

    OpenScene turns, scales and shifts a scene by chance before it is cut into voxels, also in its evaluation, which
    adds up five runs; here nothing is drawn. That its numbers come out is proven for the layers and for the whole
    network against dense convolutions by MinkowskiEngine's definition, not against recorded outputs of
    MinkowskiEngine.
    """

    name = "minkunet18a"
    needs: tuple[str, ...] = ()
    placement = Placement.SENSOR

    def __init__(
        self,
        network: SparseUNet,
        *,
        voxel_size_m: float = 0.02,
        text_features: bool = True,
        upstream_compat: bool = False,
        licence: str = "unknown",
    ) -> None:
        """Keeps the network and the settings; `load` reads the network from a file.

        Args:
            voxel_size_m: side of a voxel; OpenScene's is 0.02 indoors and 0.05 on nuScenes.
            text_features: the output of `final`; False: of the decoder before it, 96 channels.
            upstream_compat: voxels are found by division in float32.
            licence: of the checkpoint; OpenScene states none for its weights.

        Raises:
            ValueError: a voxel size that is not positive, or a network that takes other than three channels.
        """
        if network.config.in_channels != 3:
            raise ValueError(f"the network takes {network.config.in_channels} channels; OpenScene's takes three ones")
        super().__init__(network, voxel_size_m, upstream_compat, licence)
        self.channels = network.config.num_classes if text_features else network.config.channels[-1]
        self._text_features = text_features
        self.config["text_features"] = text_features

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", **config: Any) -> MinkUNet18A:
        """Returns the backbone of a checkpoint that OpenScene's training wrote, `model_best.pth.tar`.

        Args:
            config: settings of the backbone, as its own `config` gives them.

        Raises:
            FileNotFoundError, ValueError: what `read_checkpoint`, `from_minkowski` and `load_parameters` refuse.
        """
        checkpoint = from_minkowski(network_in(read_checkpoint(path), ["conv0p1s1.kernel", "final.kernel"]))
        final = checkpoint.state_dict["final.weight"]
        with torch.device("meta"):  # no random numbers for what the file fills
            network = SparseUNet(replace(MINKUNET18A, num_classes=len(final)))
        load_parameters(network, checkpoint)
        return cls(network.to(device), **config)

    def _values(self, seen: NetworkInput) -> Tensor:
        return torch.ones(len(seen.cells), 3)

    def _features(self, voxels: SparseTensor) -> Tensor:
        out: SparseTensor = self.network(voxels)
        return self.network.classify(out).features if self._text_features else out.features


def from_minkowski(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the parameters of a MinkUNet18A of MinkowskiEngine under the names and in the layout of `SparseUNet`.

    Names that a MinkUNet18A does not have are left as they are, for `load_parameters` to refuse.

    Raises:
        ValueError: names that are missing, as the file would have them, or kernels of a shape that has no place.
    """
    with torch.device("meta"):
        theirs = {name: minkowski_name(name) for name in SparseUNet(MINKUNET18A).state_dict()}
    state = checkpoint.state_dict
    if missing := [name for name in theirs.values() if name not in state]:
        raise ValueError(
            f"{checkpoint.path} is no MinkUNet18A of MinkowskiEngine: it has {len(theirs) - len(missing)} of "
            f"{len(theirs)} names and lacks {', '.join(missing[:6])}{' …' if len(missing) > 6 else ''}"
        )
    converted = {ours: _in_our_layout(name, state[name]) for ours, name in theirs.items()}
    unknown = {name: value for name, value in state.items() if name not in theirs.values()}
    return replace(checkpoint, state_dict=converted | unknown)


def minkowski_name(name: str) -> str:
    """Returns what OpenScene's MinkUNet18A calls the parameter that `SparseUNet` calls `name`."""
    module, _, leaf = name.rpartition(".")
    part, *path = module.split(".")
    step = int(path[0]) if path else 0
    match part:
        case "conv_input":
            theirs = ("conv0p1s1", "bn0.bn")[step]
        case "down":
            theirs = (f"conv{step + 1}p{2**step}s2", f"bn{step + 1}.bn")[int(path[1])]
        case "up":
            number = 2 * STEPS - 1 - step  # on the way up they count on
            theirs = (f"convtr{number}p{2 ** (step + 1)}s2", f"bntr{number}.bn")[int(path[1])]
        case "enc" | "dec":
            number = step + 1 if part == "enc" else 2 * STEPS - step
            theirs = f"block{number}.{path[1].removeprefix('block')}.{_IN_A_BLOCK['.'.join(path[2:])]}"
        case _:
            theirs = part
    return f"{theirs}.{leaf if theirs.endswith('.bn') or leaf != 'weight' else 'kernel'}"


_IN_A_BLOCK = {
    "conv1": "conv1",
    "bn1": "norm1.bn",
    "conv2": "conv2",
    "bn2": "norm2.bn",
    "proj.0": "downsample.0",
    "proj.1": "downsample.1.bn",
}


def _in_our_layout(name: str, value: Tensor) -> Tensor:
    """Returns a parameter; kernels (taps, in, out) as (out, x, y, z, in), those of one tap, (in, out), as that buffer.

    MinkowskiEngine counts taps with x fastest (`kernel_region.hpp`): odd sizes about the centre, even ones from 0.
    A transposed convolution takes the taps of the strided one that it undoes.
    """
    if not name.endswith(".kernel"):
        return value
    if value.ndim == 2:
        return value.reshape(value.shape[1], 1, 1, 1, value.shape[0])  # SubmanifoldConv3d reads it as (in, out)
    size = round(len(value) ** (1 / 3))
    if value.ndim != 3 or size**3 != len(value):
        raise ValueError(f"{name} is {tuple(value.shape)}, not (taps, in, out) with a cubic number of taps")
    return value.reshape(size, size, size, *value.shape[1:]).permute(4, 2, 1, 0, 3).contiguous()
