"""Keeps freed memory in the process, because the page faults of taking it again can dwarf the arithmetic."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # names and numbers of glibc's malloc.h
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to reuse freed blocks instead of returning them to the kernel; True where that took effect.

    By default glibc maps every block above 32 MiB afresh and unmaps it when freed, so each (N, C) temporary costs one
    page fault per 4 KiB: seconds per training step at N = 150k. Call it once, before the first large tensor. Freed
    memory then stays with the process until it ends, and because free blocks do not always fit the next request, the
    process may come to hold about twice what it uses. Without glibc (macOS, Windows, musl) nothing is changed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    never_map: bool = mallopt(_M_MMAP_MAX, 0) == 1
    never_trim: bool = mallopt(_M_TRIM_THRESHOLD, -1) == 1  # -1 becomes SIZE_MAX inside
    return never_map and never_trim
