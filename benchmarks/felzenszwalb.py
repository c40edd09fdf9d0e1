"""Superpoints of a mesh of 150k vertices and 283k faces against a plain one-thread program in C++.

The plain side, felzenszwalb_plain.cpp, is compiled here with the system's C++ compiler and must give the same labels.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
import torch
from torch import Tensor

from geoguide3d.ops import compiled, felzenszwalb, mesh_edges

K_THRESHOLD, MIN_SIZE = 0.01, 60
SIDE, FACES = 394, 283_000
DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"


def room(spacing_m: float = 0.0155, noise_m: float = 0.0015) -> tuple[Tensor, Tensor]:
    """A room seen from above: floor, walls and furniture as one noisy height field with holes.

    Returns (150544, 3) float32 vertices in metres and (283000, 3) int64 faces. The weights of its edges spread as those
    of meshes fused from depth images do: their median is near 0.01, and a tenth is above 0.1.
    """
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(SIDE) * spacing_m
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    border = torch.stack([x, y, axis[-1] - x, axis[-1] - y]).amin(0)
    height = 2.5 * torch.sigmoid((0.2 - border) / 0.02)
    for _ in range(40):
        left, low, width, depth, top = (
            torch.rand(5, generator=generator) * torch.tensor([5, 5, 1.2, 1.2, 0.9])
        ).tolist()
        inside = torch.minimum(width / 2 - (x - left - width / 2).abs(), depth / 2 - (y - low - depth / 2).abs())
        height = torch.maximum(height, top * torch.sigmoid(inside / 0.01))
    vertices = torch.stack([x, y, height], 2).reshape(-1, 3)
    vertices = vertices + noise_m * torch.randn(vertices.shape, generator=generator)
    ids = torch.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
    faces = torch.stack([a, b, c, b, d, c], -1).reshape(-1, 3)
    hole = (torch.sin(7 * vertices[faces[:, 0]]) * torch.tensor([1.0, 1.0, 0.3])).sum(1)
    kept = hole.argsort()[:FACES].sort()[0]
    used, faces = faces[kept].unique(return_inverse=True)
    return vertices[used], faces


def shuffled(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    place = torch.randperm(len(vertices), generator=generator)
    order = torch.randperm(len(faces), generator=generator)
    return vertices[place.argsort()], place[faces[order]]


class Plain:
    """The functions of felzenszwalb_plain.cpp, on tensors."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).with_name("felzenszwalb_plain.cpp"), folder / "felzenszwalb_plain.so"
        command = ["c++", "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        self._library = ctypes.CDLL(str(library))

    def of_mesh(self, vertices: Tensor, faces: Tensor) -> Tensor:
        return self._call(self._library.superpoints_of_mesh, vertices, faces, len(vertices), len(faces))

    def of_graph(self, edges: Tensor, weights: Tensor, num_points: int) -> Tensor:
        return self._call(self._library.superpoints_of_graph, edges, weights, len(edges), num_points)

    def _call(self, function: Callable[..., None], first: Tensor, second: Tensor, *counts: int) -> Tensor:
        labels = torch.empty(
            counts[0] if function is self._library.superpoints_of_mesh else counts[1], dtype=torch.int64
        )
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (first, second)]
        sizes = [ctypes.c_int64(count) for count in counts]
        numbers = [ctypes.c_float(K_THRESHOLD), ctypes.c_int(MIN_SIZE)]
        function(*pointers, *sizes, *numbers, ctypes.c_void_p(labels.data_ptr()))
        return labels


def same_labels(ours: Tensor, plain: Tensor) -> None:
    assert torch.equal(ours.cpu(), plain), "the partitions differ"


def mesh_row(order: str, mesh: tuple[Tensor, Tensor], plain: Plain, runs: int) -> measure.Row:
    vertices, faces = (tensor.to(DEVICE) for tensor in mesh)

    def ours() -> Tensor:
        return felzenszwalb(*mesh_edges(vertices, faces), len(vertices), K_THRESHOLD, MIN_SIZE)

    sides: dict[str, measure.Side] = {"ours": ours, "plain": lambda: plain.of_mesh(*mesh)}
    return measure.compare(f"mesh, {order}", sides, aim=2.0, runs=runs, check=same_labels)


def graph_row(mesh: tuple[Tensor, Tensor], plain: Plain, runs: int) -> measure.Row:
    """Joining alone: the weights are there."""
    graph = mesh_edges(*mesh)
    edges, weights = (tensor.to(DEVICE) for tensor in graph)
    count = len(mesh[0])
    sides: dict[str, measure.Side] = {
        "ours": lambda: felzenszwalb(edges, weights, count, K_THRESHOLD, MIN_SIZE),
        "plain": lambda: plain.of_graph(*graph, count),
    }
    return measure.compare("sorting and joining alone", sides, aim=2.0, runs=runs, check=same_labels)


def main() -> None:
    options = measure.start(__doc__)
    mesh = room()
    with tempfile.TemporaryDirectory() as folder:
        plain = Plain(Path(folder))
        rows = [
            mesh_row("row by row", mesh, plain, options.runs),
            mesh_row("in random order", shuffled(*mesh), plain, options.runs),
            graph_row(mesh, plain, options.runs),
        ]
    measure.report("felzenszwalb", rows, as_json=options.json)


if __name__ == "__main__":
    main()
