"""What computes kernel maps and convolutions. Weights and kernel maps are the same in all engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor

from geoguide3d.ops.kernel_map import (
    strided_map,
    strided_map_reference,
    submanifold_map,
    submanifold_map_reference,
)
from geoguide3d.ops.sparse_conv import sparse_conv, sparse_conv_reference
from geoguide3d.sparse.spconv_engine import spconv_sparse_conv

Convolve = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Engine:
    """Three functions, with the arguments and results of `geoguide3d.ops` of the same names."""

    submanifold_map: Callable[[Tensor, int], Tensor]
    strided_map: Callable[[Tensor, int, int, int], tuple[Tensor, Tensor, Tensor]]
    sparse_conv: Convolve


ENGINES = {
    "csrc": Engine(submanifold_map, strided_map, sparse_conv),
    "spconv": Engine(submanifold_map, strided_map, spconv_sparse_conv),
    "torch": Engine(submanifold_map_reference, strided_map_reference, sparse_conv_reference),
}
_DEFAULT = "csrc"  # where no kernel is built, its operators run the references

_chosen: ContextVar[str] = ContextVar("sparse_engine", default=_DEFAULT)


def current_engine() -> Engine:
    """Returns the engine that layers run on."""
    return ENGINES[_chosen.get()]


@contextmanager
def sparse_engine(name: str) -> Iterator[None]:
    """Runs the layers inside on one engine.

    "csrc": compiled kernels, the default. "torch": the plain reference. "spconv": spconv's gather-GEMM-scatter
    (ConvAlgo.Native) on our maps, on both devices. Its implicit GEMM on a GPU takes maps of its own making, so it is no
    engine here; benchmarks/sparse_conv.py times spconv's layers with it.

    Raises:
        ValueError: an engine that is not there.
    """
    if name not in ENGINES:
        raise ValueError(f"sparse_engine must be one of {sorted(ENGINES)}, got {name!r}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)
