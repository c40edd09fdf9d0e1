"""Features of occupied voxels, and the kernel maps that the layers of one forward pass share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

MOST_CELLS = 2**16  # along an axis


@dataclass(frozen=True)
class Window:
    """What a convolution reads: its output at o the cells at o·stride − padding + tap, tap in [0, kernel_size)³.

    Raises:
        ValueError: kernel_size or stride below 1, padding below 0.
    """

    kernel_size: int = 2
    stride: int = 2
    padding: int = 0

    def __post_init__(self) -> None:
        if min(self.kernel_size, self.stride) < 1 or self.padding < 0:
            raise ValueError(f"kernel_size and stride must be at least 1 and padding at least 0, got {self}")


Shape = tuple[str, Window]  # "submanifold" or "strided"


@dataclass(frozen=True)
class KernelMap:
    """Which rows meet at each tap, and the cells on both sides."""

    cells: Tensor  # (M, 4) int64, what the convolution reads
    outputs: Tensor  # (P, 4) int64, what it writes
    neighbours: Tensor  # (K, P) int32, the row that each tap of an output reads; −1: none
    transposed: Tensor | None  # (K, M) int32, the output that reads a row by each tap; None: neighbours, reversed
    shape: Shape  # a map serves layers of one form


@dataclass(frozen=True)
class KernelMaps:
    """Maps found so far, by index key."""

    _by_key: dict[object, KernelMap] = field(default_factory=dict)

    def get(self, key: str) -> KernelMap:
        """Returns the map of that key.

        Raises:
            ValueError: no layer of that key has run yet.
        """
        if key not in self._by_key:
            raise ValueError(f"no layer with index_key {key!r} ran before; there are {sorted(map(str, self._by_key))}")
        return self._by_key[key]

    def get_or_make(self, key: str | None, cells: Tensor, shape: Shape, make: Callable[[], KernelMap]) -> KernelMap:
        """Returns the map of that key, made where it is new. Without a key, layers of one form on one tensor share.

        Raises:
            ValueError: the key was used for other cells or another form of layer.
        """
        place = (shape, id(cells)) if key is None else key  # the map holds the cells, so their id stays theirs
        found = self._by_key.get(place)
        if found is None:
            found = self._by_key[place] = make()
        if found.shape != shape or not (found.cells is cells or torch.equal(found.cells, cells)):
            raise ValueError(
                f"index_key {key!r} belongs to a {found.shape} layer on {len(found.cells)} cells, "
                f"not to a {shape} one on these {len(cells)}"
            )
        return found


@dataclass(frozen=True)
class SparseTensor:
    """Features of occupied voxels. `SparseTensor.of` checks what comes from outside."""

    features: Tensor  # (M, C)
    cells: Tensor  # (M, 4) int64: batch, x, y, z; any order, no cell twice
    maps: KernelMaps  # shared by all tensors of one forward pass

    @classmethod
    def of(cls, features: Tensor, cells: Tensor) -> SparseTensor:
        """Returns a tensor without kernel maps.

        Args:
            features: (M, C) floats.
            cells: (M, 4) int64: batch, x, y, z, in any order, no cell twice; all in [0, 2¹⁶). Layers are fastest on
                cells in lexicographic order, as `voxel_hash` returns them.

        Raises:
            ValueError: shapes, dtypes or devices that do not fit, a coordinate out of range. A cell that occurs twice
                is found by the first layer.
        """
        if cells.ndim != 2 or cells.shape[1] != 4 or cells.dtype != torch.int64:
            raise ValueError(f"cells must be (M, 4) int64, got {tuple(cells.shape)} {cells.dtype}")
        if features.ndim != 2 or len(features) != len(cells) or not features.is_floating_point():
            raise ValueError(f"features must be ({len(cells)}, C) floats, got {tuple(features.shape)} {features.dtype}")
        if features.device != cells.device:
            raise ValueError(f"cells must be on {features.device} as features are, got {cells.device}")
        wrong = ((cells < 0) | (cells >= MOST_CELLS)).any(dim=1).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(f"cells must lie in [0, {MOST_CELLS}), row {row} is {cells[row].tolist()}")
        return cls(features, cells, KernelMaps())

    def with_features(self, features: Tensor) -> SparseTensor:
        """Returns other features of the same cells.

        Raises:
            ValueError: the number of rows differs.
        """
        if features.ndim != 2 or len(features) != len(self.cells):
            raise ValueError(f"features must be ({len(self.cells)}, C), got {tuple(features.shape)}")
        return replace(self, features=features)
