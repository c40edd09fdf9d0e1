"""Sparse convolution layers. Weights and names are those of spconv 2.x, so its checkpoints load unchanged."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geoguide3d.sparse.engines import current_engine
from geoguide3d.sparse.tensor import KernelMap, SparseTensor


class _SparseConv3d(nn.Module):
    """Parameters: weight (out, k, k, k, in), taps in the order of x, y, z, and bias (out,) or None."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool, index_key: str | None):
        super().__init__()
        if min(in_channels, out_channels, kernel_size) < 1:
            raise ValueError(
                f"channels and kernel_size must be at least 1, got {in_channels}, {out_channels}, {kernel_size}"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.index_key = index_key
        self.weight = nn.Parameter(torch.empty(out_channels, *[kernel_size] * 3, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        bound = 1 / math.sqrt(kernel_size**3 * in_channels)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, bias={self.bias is not None}, "
            f"index_key={self.index_key!r}"
        )

    def _check(self, x: SparseTensor) -> None:
        if x.features.shape[1] != self.in_channels:
            raise ValueError(f"features must have {self.in_channels} channels, got {x.features.shape[1]}")

    def _convolve(self, features: Tensor, neighbours: Tensor, transposed: Tensor | None) -> Tensor:
        weight = self.weight.flatten(1, 3)
        if torch.is_autocast_enabled(features.device.type):  # half types would be widened again by the kernels
            features = features.to(weight.dtype)
        return current_engine().sparse_conv(features, weight, self.bias, neighbours, transposed)


class SubmanifoldConv3d(_SparseConv3d):
    """Cross-correlates at the cells of its input: out(p) = bias + Σ weight[:, i, j, k] · in(p + (i, j, k) − centre).

    A kernel of size 1 multiplies by `weight.reshape(in, out)`, the raw buffer, as spconv does (its issue 450).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        index_key: str | None = None,
    ):
        """Makes a layer with random weights.

        Args:
            kernel_size: odd.
            index_key: layers of one kernel size on the same cells may share their kernel map by it; without one they
                share as long as they get the same `cells` tensor.

        Raises:
            ValueError: an even kernel_size, a size below 1.
        """
        super().__init__(in_channels, out_channels, kernel_size, bias, index_key)
        if kernel_size % 2 == 0:
            raise ValueError(f"a submanifold kernel_size must be odd, got {kernel_size}")

    def forward(self, x: SparseTensor) -> SparseTensor:
        self._check(x)
        if self.kernel_size == 1:
            out = x.features @ self.weight.reshape(self.in_channels, self.out_channels)
            return x.with_features(out if self.bias is None else out + self.bias)
        shape = ("submanifold", self.kernel_size)
        found = x.maps.get_or_make(self.index_key, x.cells, shape, lambda: self._map(x.cells, shape))
        return x.with_features(self._convolve(x.features, found.neighbours, found.transposed))

    def _map(self, cells: Tensor, shape: tuple[str, int]) -> KernelMap:
        return KernelMap(cells, cells, current_engine().submanifold_map(cells, self.kernel_size), None, shape)


class StridedConv3d(_SparseConv3d):
    """Convolves blocks of stride³ cells to one each: the output cells are ⌊cells / stride⌋, in lexicographic order."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 2,
        stride: int = 2,
        bias: bool = True,
        index_key: str | None = None,
    ):
        """Makes a layer with random weights.

        Args:
            kernel_size: equal to stride: blocks do not overlap.
            index_key: the `InverseConv3d` of this key leads back.

        Raises:
            ValueError: kernel_size other than stride, a size below 1.
        """
        super().__init__(in_channels, out_channels, kernel_size, bias, index_key)
        if kernel_size != stride:
            raise ValueError(f"kernel_size must equal stride, got {kernel_size} and {stride}")

    def forward(self, x: SparseTensor) -> SparseTensor:
        self._check(x)
        shape = ("strided", self.kernel_size)
        found = x.maps.get_or_make(self.index_key, x.cells, shape, lambda: self._map(x.cells, shape))
        out = self._convolve(x.features, found.neighbours, found.transposed)
        return SparseTensor(out, found.outputs, x.maps)

    def _map(self, cells: Tensor, shape: tuple[str, int]) -> KernelMap:
        coarse, children, parents = current_engine().strided_map(cells, self.kernel_size)
        return KernelMap(cells, coarse, children, parents, shape)


class InverseConv3d(_SparseConv3d):
    """Leads back to the cells before the `StridedConv3d` of its key, in their order: each takes its block's tap."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 2,
        bias: bool = True,
        *,
        index_key: str,
    ):
        """Makes a layer with random weights. `kernel_size` and `index_key` are those of the strided layer."""
        super().__init__(in_channels, out_channels, kernel_size, bias, index_key)
        self._strided_key = index_key

    def forward(self, x: SparseTensor) -> SparseTensor:
        self._check(x)
        found = x.maps.get(self._strided_key)
        if found.shape != ("strided", self.kernel_size) or len(found.outputs) != len(x.cells):
            raise ValueError(
                f"index_key {self._strided_key!r} belongs to a {found.shape} layer that made {len(found.outputs)} cells"
                f", not to a strided one of size {self.kernel_size} that made these {len(x.cells)}"
            )
        assert found.transposed is not None
        out = self._convolve(x.features, found.transposed, found.neighbours)
        return SparseTensor(out, found.cells, x.maps)
