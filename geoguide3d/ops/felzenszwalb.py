"""Superpoints of meshes and graphs: edges, their weights, and the joining. The contract: csrc/felzenszwalb.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
"""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.check_range import check_range

MESH = "geoguide3d::mesh_edges"
WEIGHTS = "geoguide3d::edge_weights"
JOIN = "geoguide3d::felzenszwalb"

_FACE_EDGES = [0, 1, 0, 2, 2, 1]  # corners of (a, b), (a, c) and (c, b)


def mesh_edges(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the edges (3F, 2) int64 of a mesh's faces and their weights (3F,) float32, as ScanNet's segmentator does.

    The edges of face (a, b, c) are (a, b), (a, c) and (c, b). Their weights are those of `edge_weights`, with the
    running mean of the unit normals of a vertex's faces as its normal. Edges of faces without area weigh NaN, which
    for `felzenszwalb` means that they do not exist; such faces change no normal. No gradient reaches the vertices.

    Args:
        vertices: (N, 3) float32, any unit, any frame. Cast float64 only after taking off a far origin.
        faces: (F, 3) int64 rows of vertices.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, a vertex outside [0, N) (on CUDA a device-side
            assertion).
    """
    _check_vectors("vertices", vertices)
    _check_ids("faces", faces, 3, vertices.device)
    edges, weights = torch.ops.geoguide3d.mesh_edges(vertices.detach(), faces)
    return edges, weights


def edge_weights(points: Tensor, normals: Tensor, edges: Tensor) -> Tensor:
    """Returns (E,) float32 weights of edges (a, b): 1 − n_a·n_b, and its square where the surface is convex.

    It counts as convex where n_b·(p_b − p_a) > 0. Flat edges weigh 0. No gradient reaches points or normals.

    Args:
        points: (N, 3) float32, any unit, any frame.
        normals: (N, 3) float32 unit vectors in that frame, all on the same side of the surface.
        edges: (E, 2) int64 rows of points. Directed: (a, b) and (b, a) may weigh differently.

    Raises:
        ValueError: as `mesh_edges`.
    """
    _check_vectors("points", points)
    _check_vectors("normals", normals)
    if normals.shape != points.shape or normals.device != points.device:
        raise ValueError(
            f"normals must be {tuple(points.shape)} on {points.device} as points are, "
            f"got {tuple(normals.shape)} on {normals.device}"
        )
    _check_ids("edges", edges, 2, points.device)
    weights: Tensor = torch.ops.geoguide3d.edge_weights(points.detach(), normals.detach(), edges)
    return weights


def felzenszwalb(
    edges: Tensor, weights: Tensor, num_points: int, k_threshold: float = 0.01, min_size: int = 20
) -> Tensor:
    """Returns (N,) int64 superpoints of a weighted graph, 0, 1, … in the order of their first points.

    Felzenszwalb and Huttenlocher (2004): edges by ascending weight, equal ones in their order, join two components
    where the weight is at most both of their thresholds; a component's threshold is its heaviest joining weight plus
    k_threshold / size. A second walk joins components below min_size to a neighbour. A point without edges stays
    alone, whatever min_size is. ScanNet's published segments have k_threshold 0.01 and min_size 20, SAS 0.01 and 60.

    On CUDA the edges are sorted on the device; joining is sequential, so it runs on the host: the call waits for the
    device and moves 12 bytes per edge.

    Args:
        edges: (E, 2) int64 in [0, num_points).
        weights: (E,) float32. Edges of weight NaN do not exist.
        num_points: N, below 2³¹.
        k_threshold: `kThresh` of the segmentator, in units of weights: greater means larger superpoints.
        min_size: `segMinVerts` of the segmentator, in points.

    Raises:
        ValueError: shapes, dtypes, devices or numbers that do not fit, a point outside [0, num_points) (on CUDA a
            device-side assertion).
    """
    _check_ids("edges", edges, 2, weights.device)
    if weights.shape != edges.shape[:1] or weights.dtype != torch.float32:
        raise ValueError(
            f"weights must be ({len(edges)},) float32 for edges {tuple(edges.shape)}, "
            f"got {tuple(weights.shape)} {weights.dtype}"
        )
    if not 0 <= num_points < 2**31:
        raise ValueError(f"num_points must be in [0, 2³¹), got {num_points}")
    if not (math.isfinite(k_threshold) and k_threshold >= 0):
        raise ValueError(f"k_threshold must be finite and not negative, got {k_threshold}")
    if min_size < 0:
        raise ValueError(f"min_size must not be negative, got {min_size}")
    labels: Tensor = torch.ops.geoguide3d.felzenszwalb(edges, weights.detach(), num_points, k_threshold, min_size)
    return labels


def _check_vectors(name: str, vectors: Tensor) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != 3 or vectors.dtype != torch.float32:
        raise ValueError(f"{name} must be (N, 3) float32, got {tuple(vectors.shape)} {vectors.dtype}")
    if vectors.shape[0] >= 2**31:
        raise ValueError(f"{name} must have fewer than 2³¹ rows, got {vectors.shape[0]}")


def _check_ids(name: str, ids: Tensor, columns: int, device: torch.device) -> None:
    if ids.ndim != 2 or ids.shape[1] != columns or ids.dtype != torch.int64:
        raise ValueError(f"{name} must be (·, {columns}) int64, got {tuple(ids.shape)} {ids.dtype}")
    if ids.device != device:
        raise ValueError(f"{name} must be on {device} as the other tensors are, got {ids.device}")


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def mesh_edges_reference(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    check_range(faces, len(vertices), "faces")
    a, b, c = vertices[faces].unbind(1)
    (ux, uy, uz), (vx, vy, vz) = (b - a).unbind(1), (c - a).unbind(1)
    cross = torch.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], 1)
    length = _length(cross)
    has_area = (length > 0) & length.isfinite()

    # Walk r gives every vertex its r-th face; corners are sorted by vertex, those of one vertex in the order of faces.
    vertex, corner = faces[has_area].flatten().sort(stable=True)
    face_normal = (cross / length[:, None])[has_area].repeat_interleave(3, 0)[corner]
    degree = torch.bincount(vertex, minlength=len(vertices))
    rank = torch.arange(len(vertex), device=vertex.device) - (degree.cumsum(0) - degree)[vertex]
    normals = torch.zeros_like(vertices)
    for r in range(int(degree.max()) if len(degree) else 0):
        share = torch.tensor(1.0) / torch.tensor(r + 1.0)  # float32
        here = rank == r
        normals[vertex[here]] = share * face_normal[here] + (1 - share) * normals[vertex[here]]

    edges = faces[:, _FACE_EDGES].reshape(-1, 2)
    weights = edge_weights_reference(vertices, normals, edges)
    return edges, torch.where(has_area.repeat_interleave(3), weights, torch.nan)


def edge_weights_reference(points: Tensor, normals: Tensor, edges: Tensor) -> Tensor:
    check_range(edges, len(points), "edges")
    a, b = edges.unbind(1)
    step = points[b] - points[a]
    direction = step / _length(step)[:, None]
    weights = 1 - _dot(normals[a], normals[b])
    return torch.where(_dot(normals[b], direction) > 0, weights * weights, weights)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Returns the dot product of rows, from left to right, each operation rounded by itself."""
    x, y, z = (a * b).unbind(1)
    return x + y + z


def _length(a: Tensor) -> Tensor:
    """Returns the lengths of rows. By way of float64, because torch's square root of float32 is not the nearest one."""
    return _dot(a, a).double().sqrt().float()


def felzenszwalb_reference(
    edges: Tensor, weights: Tensor, num_points: int, k_threshold: float, min_size: int
) -> Tensor:
    check_range(edges, num_points, "edges")
    exists = ~weights.isnan()
    sorted_weights, order = weights[exists].sort(stable=True)
    pairs = edges[exists][order].tolist()
    parent = list(range(num_points))
    size = [1] * num_points
    threshold = [_float32(k_threshold)] * num_points

    def root(point: int) -> int:
        while parent[point] != point:
            parent[point] = point = parent[parent[point]]
        return point

    def join(a: int, b: int) -> None:
        parent[b] = a
        size[a] += size[b]

    for (a, b), weight in zip(pairs, sorted_weights.tolist(), strict=True):
        a, b = root(a), root(b)
        if a != b and weight <= threshold[a] and weight <= threshold[b]:
            join(a, b)
            threshold[a] = _float32(weight + _float32(_float32(k_threshold) / _float32(size[a])))
    for a, b in pairs:
        a, b = root(a), root(b)
        if a != b and (size[a] < min_size or size[b] < min_size):
            join(a, b)

    label: dict[int, int] = {}
    labels = [label.setdefault(root(point), len(label)) for point in range(num_points)]
    return torch.tensor(labels, dtype=torch.int64, device=edges.device)


def _float32(number: float) -> float:
    """Rounds to float32. A float64 sum or quotient of float32 numbers rounds to what float32 arithmetic gives."""
    return ctypes.c_float(number).value


# --- shapes -----------------------------------------------------------------------------------------------------------


def _mesh_shape(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    count = 3 * faces.shape[0]
    return faces.new_empty(count, 2), vertices.new_empty(count)


def _weights_shape(points: Tensor, normals: Tensor, edges: Tensor) -> Tensor:
    return points.new_empty(edges.shape[0])


def _join_shape(edges: Tensor, weights: Tensor, num_points: int, k_threshold: float, min_size: int) -> Tensor:
    return edges.new_empty(num_points)


# --- registration: no gradients, because the superpoints jump and the public functions detach -------------------------

torch.library.define(MESH, "(Tensor vertices, Tensor faces) -> (Tensor, Tensor)")
torch.library.impl(MESH, "CompositeExplicitAutograd", mesh_edges_reference)
torch.library.register_fake(MESH, _mesh_shape)

torch.library.define(WEIGHTS, "(Tensor points, Tensor normals, Tensor edges) -> Tensor")
torch.library.impl(WEIGHTS, "CompositeExplicitAutograd", edge_weights_reference)
torch.library.register_fake(WEIGHTS, _weights_shape)

torch.library.define(
    JOIN, "(Tensor edges, Tensor weights, SymInt num_points, float k_threshold, SymInt min_size) -> Tensor"
)
torch.library.impl(JOIN, "CompositeExplicitAutograd", felzenszwalb_reference)
torch.library.register_fake(JOIN, _join_shape)
