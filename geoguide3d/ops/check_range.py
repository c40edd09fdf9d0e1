"""What references check and kernels check for themselves: that ids name something."""

from __future__ import annotations

from torch import Tensor


def check_range(ids: Tensor, count: int, name: str, least: int = 0) -> None:
    """Raises ValueError, with the first offender, unless all ids are in [least, count)."""
    outside = ((ids < least) | (ids >= count)).nonzero()
    if len(outside):
        place = tuple(outside[0].tolist())
        raise ValueError(f"{name}{list(place)} = {int(ids[place])} is outside [{least}, {count})")
