"""Patches: runs of equal length along a curve, inside which voxels attend to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.backbones.ptv3.serialization import curve_codes, curve_depth


@dataclass(frozen=True)
class Patches:
    """Where the curve through M voxels is cut: every cloud into patches of `size` voxels, and a rest.

    Voxels of the rest attend to the last `size` voxels of their cloud's curve. Upstream fills its last patch with
    voxels of the one before it, which are just these.

    Args:
        rows: (M,) int64, the voxel at each position of the curve, clouds one after another.
        position_of_row: (M,) int64, the way back.
        counts: voxels of each cloud, at least `size`.
        size: voxels of a patch.
    """

    rows: Tensor
    position_of_row: Tensor
    counts: tuple[int, ...]
    size: int

    def groups(self, most: int) -> Iterator[tuple[Tensor, int]]:
        """Yields (rows (P · size,), queries), along the curve: the last `queries` voxels of each of P patches attend.

        Args:
            most: patches in one group.
        """
        start = 0
        for count in self.counts:
            end, rest = start + count, count % self.size
            for group in torch.split(self.rows[start : end - rest], most * self.size):
                yield group, self.size
            if rest:
                yield self.rows[end - self.size : end], rest
            start = end


def cut_patches(cells: Tensor, orders: Sequence[str], patch_size: int) -> dict[str, Patches]:
    """Returns the patches of cells ((M, 4) int64: cloud, x, y, z) along each of the orders.

    Patches hold at most patch_size voxels, and no more than the smallest of the clouds has, as upstream's without
    flash attention.

    Raises:
        ValueError: a cloud below the highest number without voxels, or what `curve_depth` refuses.
    """
    counts = cells[:, 0].bincount().tolist()
    if not counts or min(counts) == 0:
        raise ValueError(f"every cloud of a batch needs voxels, their counts are {counts}")
    size = min(patch_size, *counts)
    names = list(dict.fromkeys(orders))
    cut = {}
    for name, codes in zip(names, curve_codes(cells, curve_depth(cells), names), strict=True):
        rows = codes.argsort(stable=True)
        position_of_row = torch.empty_like(rows)
        position_of_row[rows] = torch.arange(len(rows), device=rows.device)
        cut[name] = Patches(rows, position_of_row, tuple(counts), size)
    return cut
