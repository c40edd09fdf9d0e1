"""Patches: runs of equal length along a curve, inside which voxels attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.backbones.ptv3.serialization import curve_codes, curve_depth


@dataclass(frozen=True)
class Patches:
    """P patches of `size` slots each along one curve through M voxels.

    The last patch of a cloud is filled up with voxels of the patch before it, at the same places in the patch.

    Args:
        rows: (P · size,) int64, the voxel in each slot.
        slot_of_row: (M,) int64, the slot from which each voxel takes its result; never one of the filled ones.
        size: slots of a patch.
    """

    rows: Tensor
    slot_of_row: Tensor
    size: int


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
    position_of_slot, slot_of_position = patch_slots(counts, size)
    position_of_slot, slot_of_position = position_of_slot.to(cells.device), slot_of_position.to(cells.device)
    names = list(dict.fromkeys(orders))
    cut = {}
    for name, codes in zip(names, curve_codes(cells, curve_depth(cells), names), strict=True):
        row_of_position = codes.argsort(stable=True)
        slot_of_row = torch.empty_like(row_of_position)
        slot_of_row[row_of_position] = slot_of_position
        cut[name] = Patches(row_of_position[position_of_slot], slot_of_row, size)
    return cut


def patch_slots(counts: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """Returns (position of each slot, slot of each position), both int64, for clouds one after another on a curve.

    Args:
        counts: voxels of each cloud, at least `size`.
    """
    positions, slots = [], []
    first_position = first_slot = 0
    for count in counts:
        padded = -(-count // size) * size
        slot = torch.arange(padded)
        positions.append(first_position + torch.where(slot < count, slot, slot - size))
        slots.append(first_slot + slot[:count])
        first_position, first_slot = first_position + count, first_slot + padded
    return torch.cat(positions), torch.cat(slots)
