"""A network of our sparse layers, rebuilt with spconv's own layers and the same weights."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from geoguide3d.sparse.layers import InverseConv3d, StridedConv3d, SubmanifoldConv3d

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import spconv.pytorch as spconv
    from spconv.core import ConvAlgo


_ROOM = (
    96  # beyond the last cell, as upstream leaves it: a strided layer drops a last cell that has no neighbour's place
)


class Voxels:
    """spconv's tensor, with as much of `SparseTensor` as networks use."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    @classmethod
    def of(cls, features: Tensor, cells: Tensor) -> Voxels:
        extent = (cells[:, 1:].amax(0) + _ROOM).tolist()
        return cls(spconv.SparseConvTensor(features, cells.int(), extent, int(cells[:, 0].amax()) + 1))

    @property
    def features(self) -> Any:
        return self.tensor.features

    def with_features(self, features: Tensor) -> Voxels:
        return Voxels(self.tensor.replace_feature(features))


class Layer(nn.Module):
    """One of spconv's layers, from voxels to voxels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, voxels: Voxels) -> Voxels:
        return Voxels(self.layer(voxels.tensor))


def spconv_twin(network: nn.Module) -> nn.Module:
    """Returns a copy of a network whose sparse layers are spconv's: algorithm Native on the CPU, its own on a GPU.

    Layers with a bias are left as they are: spconv's CPU kernel takes none outside of training.
    """
    twin = copy.deepcopy(network)
    algorithm = ConvAlgo.Native if next(network.parameters()).device.type == "cpu" else None
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, SubmanifoldConv3d | StridedConv3d | InverseConv3d) and child.bias is None:
                setattr(module, name, Layer(_spconv_layer(child, algorithm)))
    return twin


def _spconv_layer(layer: Any, algorithm: Any) -> nn.Module:
    widths = (layer.in_channels, layer.out_channels, layer.kernel_size)
    options = {"bias": False, "algo": algorithm}
    if isinstance(layer, InverseConv3d):
        made = spconv.SparseInverseConv3d(*widths, indice_key=layer.index_key, **options)
    elif isinstance(layer, StridedConv3d):
        made = spconv.SparseConv3d(*widths, stride=layer.kernel_size, indice_key=layer.index_key, **options)
    else:
        made = spconv.SubMConv3d(*widths, indice_key=layer.index_key, **options)
    made.weight = torch.nn.Parameter(layer.weight.detach(), requires_grad=False)
    assert isinstance(made, nn.Module)
    return made.eval()
