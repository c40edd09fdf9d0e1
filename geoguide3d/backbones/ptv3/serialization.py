"""Orders of voxels along curves that fill space: what is near on the curve is near in the room.

A code is (cloud << 3·depth) | position on the curve of that cloud's 2^depth cells per axis, int64. "z" interleaves the
bits of the coordinates, x highest in each triple; "hilbert" is Hilbert's curve after Skilling, "Programming the Hilbert
curve" (2004), on the same triples. "-trans" swaps x and y first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
MAX_DEPTH = 16  # bits per axis: three axes and the number of the cloud share one int64

_SPREAD = (  # (shift, mask): after all steps, two zero bits stand between any two of the low 16
    (16, 0x001F_0000_FF00_00FF),
    (8, 0x100F_00F0_0F00_F00F),
    (4, 0x10C3_0C30_C30C_30C3),
    (2, 0x1249_2492_4924_9249),
)


def curve_depth(cells: Tensor) -> int:
    """Returns the bits per axis that codes of these cells ((M, 4): cloud, x, y, z) have: those of max(x, y, z) + 1.

    The Hilbert curve depends on it, so it is counted once for all clouds of a batch, and anew for each pooled level.

    Raises:
        ValueError: a coordinate below 0, or more than MAX_DEPTH bits.
    """
    if len(cells) == 0:
        return 1
    lows: list[int] = cells[:, 1:].amin(dim=0).tolist()
    highs: list[int] = cells[:, 1:].amax(dim=0).tolist()
    for axis, low, high in zip("xyz", lows, highs, strict=True):
        if low < 0 or high > 2**MAX_DEPTH - 2:
            raise ValueError(
                f"cells must be 0 … {2**MAX_DEPTH - 2} along each axis, but along {axis} they are {low} … {high}: drop "
                "stray points far from the scene, take a larger voxel_size_m, or encode it in tiles (tiles.core_m)"
            )
    return (max(highs) + 1).bit_length()


def curve_codes(
    cells: Tensor,  # (M, 4) int64: cloud, x, y, z
    depth: int,
    orders: Sequence[str] = ORDERS,
) -> Tensor:
    """Returns (len(orders), M) int64 codes of the cells along each curve.

    Args:
        depth: bits per axis, as `curve_depth` counts them; coordinates are below 2^depth.

    Raises:
        ValueError: an unknown order.
    """
    unknown = [order for order in orders if order not in ORDERS]
    if unknown:
        raise ValueError(f"unknown orders {unknown}; known: {', '.join(ORDERS)}")
    cloud, x, y, z = cells.to(torch.int64).unbind(dim=1)
    codes = []
    for order in orders:
        axes = (y, x, z) if order.endswith("-trans") else (x, y, z)
        position = hilbert_position(axes, depth) if order.startswith("hilbert") else z_position(axes)
        codes.append((cloud << 3 * depth) | position)
    return torch.stack(codes)


def z_position(axes: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Returns (M,) int64: the bits of three coordinates (M,), interleaved, the first one's highest."""
    x, y, z = (_spread(axis) for axis in axes)
    return (x << 2) | (y << 1) | z


def hilbert_position(axes: tuple[Tensor, Tensor, Tensor], depth: int) -> Tensor:
    """Returns (M,) int64: the place of each cell on Hilbert's curve through 2^depth cells per axis."""
    turned = list(axes)
    for bit in range(depth - 1, 0, -1):  # undo the turns of the cubes, from the largest to the smallest
        below = (1 << bit) - 1
        for axis in range(3):
            mask = -((turned[axis] >> bit) & 1)  # all ones where the bit is set
            exchanged = (turned[0] ^ turned[axis]) & below & ~mask
            turned[0] = turned[0] ^ (below & mask) ^ exchanged
            if axis > 0:
                turned[axis] = turned[axis] ^ exchanged
    position = z_position((turned[0], turned[1], turned[2]))
    for shift in (1, 2, 4, 8, 16, 32):  # from Gray code to binary: every bit becomes the parity of those above it
        position = position ^ (position >> shift)
    return position


def _spread(values: Tensor) -> Tensor:
    """Returns values (below 2^16) with bit i at 3·i."""
    for shift, mask in _SPREAD:
        values = (values | (values << shift)) & mask
    return values
