"""Nearest neighbours of points in space, exact. The contract is written in csrc/knn.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
Ids and distances carry no gradient: distances between points of interest are one subtraction away from the ids.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

KNN = "geoguide3d::knn"
RADIUS = "geoguide3d::radius"

_MOST_PAIRS = 1 << 22  # of one step of the references
_MOST_POINTS = {"cpu": 2**32 - 1, "cuda": 2**31 - 1}  # ids inside the kernels have 32 bits


def knn(points: Tensor, k: int, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the k nearest points of every query, nearest first, as (ids (M, k) int64, distances (M, k) float32).

    A query that is itself one of the points finds itself, at distance 0 (or, before it, a point of a smaller id at the
    same place). There are min(k, N) columns, so a cloud smaller than k is answered whole. Distances are computed in
    float64 and are in the unit of the points; equally near points come in the order of their ids.

    Args:
        points: (N, 3) any float dtype, finite, N ≥ 1.
        k: number of neighbours, at least 1.
        queries: (M, 3) any float dtype, finite, in the frame of the points; None: the points themselves.

    Raises:
        ValueError: k below 1, no points, coordinates that are not finite, shapes, dtypes or devices that do not fit.
    """
    points, queries = _check(points, queries)
    if k < 1 or len(points) == 0:
        raise ValueError(f"nearest neighbours need k >= 1 and at least one point, got k = {k}, {len(points)} points")
    ids, distances = torch.ops.geoguide3d.knn(points, queries, min(k, len(points)))
    return ids, distances


def radius(
    points: Tensor, r: float, queries: Tensor | None = None, max_neighbors: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns all points within r of every query, nearest first, as (offsets (M + 1,), ids (E,), distances (E,)).

    The neighbours of query m are `ids[offsets[m]:offsets[m + 1]]`, int64 as the offsets; distances are float32. A point
    at distance r counts. Equally near points come in the order of their ids.

    Args:
        points: (N, 3) any float dtype, finite.
        r: distance in the unit of the points, not negative.
        queries: (M, 3) any float dtype, finite, in the frame of the points; None: the points themselves.
        max_neighbors: keep only that many of each query, the nearest; None: keep all.

    Raises:
        ValueError: a radius that is negative or not finite, max_neighbors below 1, coordinates that are not finite,
            shapes, dtypes or devices that do not fit.
    """
    points, queries = _check(points, queries)
    if not 0 <= r < math.inf:
        raise ValueError(f"r must be finite and not negative, got {r}")
    if max_neighbors is not None and max_neighbors < 1:
        raise ValueError(f"max_neighbors must be at least 1, got {max_neighbors}")
    offsets, ids, distances = torch.ops.geoguide3d.radius(points, queries, r, max_neighbors)
    return offsets, ids, distances


def _check(points: Tensor, queries: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Returns both without gradient in one dtype that the kernels know."""
    _check_places("points", points, points.device)
    most = _MOST_POINTS.get(points.device.type)
    if most is not None and len(points) > most:
        raise ValueError(f"at most {most} points can be searched on {points.device}, got {len(points)}")
    if queries is None:
        _check_values("points", points)
        return points.detach().to(_dtype(points)), None
    _check_places("queries", queries, points.device)
    _check_values("points", points)
    _check_values("queries", queries)
    dtype = torch.promote_types(_dtype(points), _dtype(queries))
    return points.detach().to(dtype), queries.detach().to(dtype)


def _check_places(name: str, places: Tensor, device: torch.device) -> None:
    if places.ndim != 2 or places.shape[1] != 3 or not places.is_floating_point():
        raise ValueError(f"{name} must be (N, 3) floats, got {tuple(places.shape)} {places.dtype}")
    if places.device != device:
        raise ValueError(f"{name} must be on {device} as points are, got {places.device}")


def _check_values(name: str, places: Tensor) -> None:
    if torch.compiler.is_compiling():  # a graph cannot look at values; there the kernels alone refuse them
        return
    finite = places.isfinite()
    if not bool(finite.all()):
        row = int((~finite.all(dim=1)).nonzero()[0])
        raise ValueError(f"{name} must be finite, row {row} is {places[row].tolist()}")


def _dtype(places: Tensor) -> torch.dtype:
    return torch.float64 if places.dtype == torch.float64 else torch.float32


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def knn_reference(points: Tensor, queries: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    places = points if queries is None else queries
    squares = places.new_empty(len(places), k, dtype=torch.float64)
    ids = places.new_empty(len(places), k, dtype=torch.int64)
    for rows in _steps(places, points):
        # A stable sort leaves equal distances in the order of their ids.
        ordered, order = _squared_distances(places[rows], points).sort(dim=1, stable=True)
        squares[rows], ids[rows] = ordered[:, :k], order[:, :k]
    return ids, squares.sqrt().to(torch.float32)


def radius_reference(
    points: Tensor, queries: Tensor | None, r: float, max_neighbors: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    places = points if queries is None else queries
    found = [places.new_empty(0, dtype=torch.int64)]
    squares = [places.new_empty(0, dtype=torch.float64)]
    counts = places.new_zeros(len(places), dtype=torch.int64)
    for rows in _steps(places, points):
        ordered, order = _squared_distances(places[rows], points).sort(dim=1, stable=True)
        near = (ordered <= r * r)[:, :max_neighbors]
        counts[rows] = near.sum(dim=1)
        found.append(order[:, :max_neighbors][near])
        squares.append(ordered[:, :max_neighbors][near])
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return offsets, torch.cat(found), torch.cat(squares).sqrt().to(torch.float32)


def _steps(places: Tensor, points: Tensor) -> list[slice]:
    rows = max(1, _MOST_PAIRS // max(1, len(points)))
    return [slice(begin, begin + rows) for begin in range(0, len(places), rows)]


def _squared_distances(places: Tensor, points: Tensor) -> Tensor:
    """Returns (M, N) float64, in the order of operations that the contract fixes."""
    x, y, z = (places.double()[:, axis, None] - points.double()[:, axis] for axis in range(3))
    return (x * x + y * y) + z * z


# --- shapes -----------------------------------------------------------------------------------------------------------


def _knn_shape(points: Tensor, queries: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    shape = ((points if queries is None else queries).shape[0], k)
    return points.new_empty(shape, dtype=torch.int64), points.new_empty(shape, dtype=torch.float32)


def _radius_shape(
    points: Tensor, queries: Tensor | None, r: float, max_neighbors: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    rows = (points if queries is None else queries).shape[0]
    edges = torch.library.get_ctx().new_dynamic_size()
    return (
        points.new_empty(rows + 1, dtype=torch.int64),
        points.new_empty(edges, dtype=torch.int64),
        points.new_empty(edges, dtype=torch.float32),
    )


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(KNN, "(Tensor points, Tensor? queries, SymInt k) -> (Tensor, Tensor)")
torch.library.impl(KNN, "CompositeExplicitAutograd", knn_reference)
torch.library.register_fake(KNN, _knn_shape)

torch.library.define(
    RADIUS, "(Tensor points, Tensor? queries, float r, SymInt? max_neighbors) -> (Tensor, Tensor, Tensor)"
)
torch.library.impl(RADIUS, "CompositeExplicitAutograd", radius_reference)
torch.library.register_fake(RADIUS, _radius_shape)
