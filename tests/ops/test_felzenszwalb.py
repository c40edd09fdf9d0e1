"""mesh_edges, edge_weights and felzenszwalb: kernels against references, the official segmentator's numbers, edges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.felzenszwalb import (
    edge_weights,
    edge_weights_reference,
    felzenszwalb,
    felzenszwalb_reference,
    mesh_edges,
    mesh_edges_reference,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SIZES = [(0, 0), (1, 0), (5, 0), (3, 1), (4, 9), (50, 90), (1000, 2000), (40_000, 70_001)]  # points, faces
MESHES = ["noisy_room", "tie_corner", "degenerate", "icl_nuim_tsdf", "real_hololens"]
NAN, INF = float("nan"), float("inf")


def mesh(n: int, f: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Random points and faces, some of them without area."""
    generator = torch.Generator().manual_seed(n + 7 * f)
    vertices = torch.randn(n, 3, generator=generator)
    faces = torch.randint(0, max(n, 1), (f, 3), generator=generator)
    return vertices.to(device), faces.to(device)


def graph(n: int, e: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Random edges; a third of the weights are drawn from few values, some are NaN, infinite or negative."""
    generator = torch.Generator().manual_seed(n + 7 * e)
    edges = torch.randint(0, max(n, 1), (e, 2), generator=generator)
    few = torch.tensor([0.0, -0.0, 0.01, 0.25, 2.0, -1e-7, INF, -INF, NAN, 1e-40])
    weights = few[torch.randint(0, len(few), (e,), generator=generator)]
    several = torch.rand(e, generator=generator) ** 6
    weights = torch.where(torch.rand(e, generator=generator) < 0.66, several, weights)
    return edges.to(device), weights.to(device)


def assert_same_bits(got: Tensor, expected: Tensor) -> None:
    """NaN equals NaN."""
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


def canonical(roots: np.ndarray) -> Tensor:
    """Labels numbered in the order of their first points."""
    _, first, inverse = np.unique(roots, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "f"), SIZES)
def test_mesh_edges_match_reference(n: int, f: int, device: str) -> None:
    vertices, faces = mesh(n, f, device)
    edges, weights = mesh_edges(vertices, faces)
    expected_edges, expected_weights = mesh_edges_reference(vertices, faces)
    assert torch.equal(edges, expected_edges)
    assert_same_bits(weights, expected_weights)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "e"), SIZES)
def test_edge_weights_match_reference(n: int, e: int, device: str) -> None:
    points, _ = mesh(n, e, device)
    normals = torch.nn.functional.normalize(mesh(n, e + 1, device)[0])
    edges, _ = graph(n, e, device)
    assert_same_bits(edge_weights(points, normals, edges), edge_weights_reference(points, normals, edges))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "e"), SIZES)
@pytest.mark.parametrize(("k", "min_size"), [(0.01, 20), (0.0, 0), (0.3, 3)])
def test_felzenszwalb_matches_reference(n: int, e: int, k: float, min_size: int, device: str) -> None:
    edges, weights = graph(n, e, device)
    labels = felzenszwalb(edges, weights, n, k, min_size)
    assert torch.equal(labels, felzenszwalb_reference(edges, weights, n, k, min_size))
    assert labels.dtype == torch.int64 and labels.device == edges.device


def load_graph(shared_fixtures: Path, name: str, device: str) -> tuple[dict[str, np.ndarray], int, Tensor, Tensor]:
    """Returns the recorded arrays, the number of points, and our edges and weights."""
    recorded = dict(np.load(shared_fixtures / "modules" / "superpoints" / f"{name}.npz"))
    if name == "points_knn10":
        points, normals = (torch.from_numpy(recorded[key]).to(device) for key in ("points", "normals"))
        edges = torch.from_numpy(recorded["edges"]).long().to(device)
        return recorded, len(points), edges, edge_weights(points, normals, edges)
    vertices, faces = torch.from_numpy(recorded["vertices"]), torch.from_numpy(recorded["faces"]).long()
    return recorded, len(vertices), *mesh_edges(vertices.to(device), faces.to(device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*MESHES, "points_knn10"])
def test_weights_are_the_official_segmentators_bit_for_bit(name: str, device: str, shared_fixtures: Path) -> None:
    # One fused multiply-add anywhere would change some of them.
    recorded, _, _, weights = load_graph(shared_fixtures, name, device)
    official = torch.from_numpy(recorded["edge_weight"])
    defined = ~official.isnan()
    got = weights.cpu()[defined]
    assert len(got) > 10_000
    assert torch.equal(got.view(torch.int32), official[defined].view(torch.int32))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*MESHES, "points_knn10"])
def test_partitions_are_the_official_segmentators(name: str, device: str, shared_fixtures: Path) -> None:
    recorded, n, edges, weights = load_graph(shared_fixtures, name, device)
    # Official results with a stable sort, and without the faces of no area, which poison normals there.
    key = "labels_clean" if name == "degenerate" else "labels_stable"
    for run, (k, min_size) in enumerate(recorded["params"].tolist()):
        labels = felzenszwalb(edges, weights, n, k, int(min_size))
        assert torch.equal(labels.cpu(), canonical(recorded[f"{key}_{run}"]))


def test_faces_without_area_are_the_flagged_ones(shared_fixtures: Path) -> None:
    recorded, _, _, weights = load_graph(shared_fixtures, "degenerate", "cpu")
    assert np.array_equal(weights.isnan().reshape(-1, 3).all(1).numpy(), recorded["face_is_degenerate"])


def test_references_give_the_official_numbers(shared_fixtures: Path) -> None:
    recorded, n, _, _ = load_graph(shared_fixtures, "noisy_room", "cpu")
    vertices, faces = torch.from_numpy(recorded["vertices"]), torch.from_numpy(recorded["faces"]).long()
    edges, weights = mesh_edges_reference(vertices, faces)
    assert torch.equal(weights, torch.from_numpy(recorded["edge_weight"]))
    k, min_size = recorded["params"][0].tolist()
    assert torch.equal(felzenszwalb_reference(edges, weights, n, k, int(min_size)), canonical(recorded["labels_0"]))


@pytest.mark.parametrize("device", DEVICES)
def test_known_answers_of_joining(device: str) -> None:
    edges = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4]], device=device)
    weights = torch.tensor([0.1, 0.4, 0.1, 0.1], device=device)
    # k = 0.5: {0, 1} has threshold 0.1 + 0.5 / 2, {2, 3, 4} has 0.1 + 0.5 / 3; both are below 0.4.
    assert felzenszwalb(edges, weights, 6, 0.5, 1).tolist() == [0, 0, 1, 1, 1, 2]
    assert felzenszwalb(edges, weights, 6, 0.5, 3).tolist() == [0, 0, 0, 0, 0, 1]  # the small one is joined
    assert felzenszwalb(edges, weights, 6, 1.0, 1).tolist() == [0, 0, 0, 0, 0, 1]
    weights[1] = NAN  # an edge that does not exist joins nothing, not even small components
    assert felzenszwalb(edges, weights, 6, 1.0, 6).tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("device", DEVICES)
def test_equal_weights_keep_their_order(device: str) -> None:
    edges = torch.tensor([[1, 2], [0, 1], [2, 3]], device=device)
    weights = torch.tensor([0.0, -0.0, 0.0], device=device)  # zeros of both signs are equal
    # With k = 0 nothing above 0 would join; with min_size 2 each point takes the first edge that it has.
    assert felzenszwalb(edges, weights, 4, 0.0, 0).tolist() == [0, 0, 0, 0]
    assert felzenszwalb(edges, weights + 1, 4, 0.0, 2).tolist() == [0, 0, 0, 0]
    assert felzenszwalb(edges[[1, 2, 0]], weights + 1, 4, 0.0, 2).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("k", [0.01, 1.0, 3e38, 1e-38, *(n * 2.0**-149 for n in (1, 2, 3, 5, 7, 11))])
def test_thresholds_rise_to_nearly_twice_k(k: float) -> None:
    # Pairs of pairs of pairs, each joined at the very threshold of both: no order of joining raises thresholds higher.
    edges, weights, threshold = [], [], torch.tensor(k)
    for level in range(12):
        step = 2**level
        edges += [[first, first + step] for first in range(0, 4096, 2 * step)]
        weights += [float(threshold)] * (2048 // step)
        threshold = threshold + torch.tensor(k) / (2 * step)
    assert felzenszwalb(torch.tensor(edges), torch.tensor(weights), 4096, k, 0).max() == 0


@pytest.mark.parametrize("device", DEVICES)
def test_known_answers_of_weights(device: str) -> None:
    points = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 0, 2]], device=device)
    up, left = [0.0, 0, 1], [-1.0, 0, 0]
    edges = torch.tensor([[0, 1], [1, 2], [2, 1], [1, 1]], device=device)
    normals = torch.tensor([up, up, left], device=device)  # a floor and a wall seen from inside: concave
    assert edge_weights(points, normals, edges).tolist() == [0, 1, 1, 0]
    tilted = torch.tensor([up, [0.6, 0, 0.8], left], device=device)  # bends away from the first point: convex
    torch.testing.assert_close(edge_weights(points, tilted, edges[:1]), torch.tensor([0.2**2], device=device))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.integers(0, 3000), st.integers(0, 2**31), st.integers(1, 4))
def test_any_graph_matches_the_reference_and_threads_do_not_matter(n: int, e: int, seed: int, threads: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    edges, weights = graph(n, e)
    k = float(torch.rand((), generator=generator) ** 4)
    min_size = int(torch.randint(0, 30, (), generator=generator))
    with torch_threads(threads):
        labels = felzenszwalb(edges, weights, n, k, min_size)
    assert torch.equal(labels, felzenszwalb_reference(edges, weights, n, k, min_size))
    # What stays small has no edge that leaves it; labels come in the order of first points.
    a, b = labels[edges[~weights.isnan()]].unbind(1)
    size = labels.bincount()
    assert bool((size[torch.cat([a[a != b], b[a != b]])] >= min_size).all())
    assert torch.equal(labels, canonical(labels.numpy()))


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 60), st.integers(0, 200), st.integers(0, 2**31), st.sampled_from([1e-25, 1e-3, 1.0, 1e15]))
def test_any_mesh_matches_the_reference(n: int, f: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Points of a coarse lattice: many coincide or lie on lines. Scales at which squares under- or overflow.
    vertices = torch.randint(-2, 3, (n, 3), generator=generator) * scale
    vertices[0, 0] = NAN if seed % 3 == 0 else 0.0
    faces = torch.randint(0, n, (f, 3), generator=generator)
    edges, weights = mesh_edges(vertices, faces)
    expected_edges, expected_weights = mesh_edges_reference(vertices, faces)
    assert torch.equal(edges, expected_edges)
    assert_same_bits(weights, expected_weights)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    vertices, faces = mesh(60_000, 120_000, device)
    edges, weights = mesh_edges(vertices, faces)
    labels = felzenszwalb(edges, weights, len(vertices), 0.1, 5)
    assert 1 < int(labels.max()) < len(vertices) - 1
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again, weights_again = mesh_edges(vertices, faces)
            assert torch.equal(edges, again)
            assert_same_bits(weights, weights_again)
            assert torch.equal(labels, felzenszwalb(edges, weights, len(vertices), 0.1, 5))


@pytest.mark.parametrize("device", DEVICES)
def test_outputs_carry_no_gradient(device: str) -> None:
    vertices, faces = mesh(30, 50, device)
    vertices.requires_grad_()
    edges, weights = mesh_edges(vertices, faces)
    assert not weights.requires_grad
    assert not edge_weights(vertices, vertices, edges).requires_grad
    assert not felzenszwalb(edges, weights.nan_to_num().requires_grad_(), 30).requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    vertices, faces = mesh(20, 30, device)
    edges, weights = mesh_edges(vertices, faces)
    normals = torch.nn.functional.normalize(vertices)
    namespace = torch.ops.geoguide3d
    torch.library.opcheck(namespace.mesh_edges.default, (vertices, torch.arange(18, device=device).reshape(6, 3)))
    torch.library.opcheck(namespace.edge_weights.default, (vertices, normals, edges))
    torch.library.opcheck(namespace.felzenszwalb.default, (edges, weights, 20, 0.01, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def everything(vertices: Tensor, faces: Tensor, n: int, min_size: int) -> tuple[Tensor, Tensor]:
        edges, weights = mesh_edges(vertices * 2, faces)
        again = edge_weights(vertices, vertices.sin(), edges)
        return again + 1, felzenszwalb(edges, weights, n, 0.3, min_size) * 2

    compiled_once = torch.compile(everything, fullgraph=True, dynamic=True, backend=count_compilations)
    for n, f, min_size in [(40, 70, 3), (60, 110, 4), (33, 50, 5)]:  # sizes that change must not compile again
        vertices, faces = mesh(n, f, device)
        for got, expected in zip(
            compiled_once(vertices, faces, n, min_size), everything(vertices, faces, n, min_size), strict=True
        ):
            assert_same_bits(got, expected)
    assert calls == 1


@pytest.mark.parametrize("device", DEVICES)
def test_empty(device: str) -> None:
    nothing = torch.empty(0, 3, device=device)
    edges, weights = mesh_edges(nothing, torch.empty(0, 3, dtype=torch.int64, device=device))
    assert edges.shape == (0, 2) and weights.shape == (0,)
    assert edge_weights(nothing, nothing, edges).shape == (0,)
    assert felzenszwalb(edges, weights, 0).shape == (0,)
    assert felzenszwalb(edges, weights, 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    vertices, faces = mesh(50, 90, device)
    wide, turned = vertices.repeat(1, 2)[:, :3], faces.t().contiguous().t()
    edges, weights = mesh_edges(vertices, faces)
    assert_same_bits(mesh_edges(wide, turned)[1], weights)
    assert_same_bits(mesh_edges(vertices, faces[::2])[1], mesh_edges(vertices, faces[::2].contiguous())[1])
    normals = torch.nn.functional.normalize(vertices)
    expected = edge_weights(vertices, normals, edges)
    turned_edges = edges.t().contiguous().t()
    assert_same_bits(edge_weights(wide, normals.t().contiguous().t(), turned_edges), expected)
    spread = weights.repeat(2, 1).t().contiguous()[:, 0]
    assert torch.equal(felzenszwalb(turned_edges, spread, 50), felzenszwalb(edges, weights, 50))


@pytest.mark.parametrize("outside", [-1, 3, 2**40])
def test_rejects_ids_out_of_range(outside: int) -> None:
    points, edges = torch.rand(3, 3), torch.tensor([[0, 1], [outside, 1]])
    message = r"\[1, 0\] = .* is outside \[0, 3\)"
    with pytest.raises(ValueError, match=message):
        mesh_edges(points, torch.tensor([[0, 1, 2], [outside, 1, 2]]))
    with pytest.raises(ValueError, match=message):
        edge_weights(points, points, edges)
    with pytest.raises(ValueError, match=message):
        felzenszwalb(edges, torch.tensor([0.1, 0.2]), 3)


@pytest.mark.gpu
@pytest.mark.parametrize("outside", [-1, 3])
def test_rejects_ids_out_of_range_on_cuda(outside: int) -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch; from geoguide3d.ops import felzenszwalb; "
        f"felzenszwalb(torch.tensor([[0, {outside}]]).cuda(), torch.zeros(1).cuda(), 3); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


def test_rejects_wrong_tensors() -> None:
    points, edges, weights = torch.rand(4, 3), torch.zeros(5, 2, dtype=torch.int64), torch.rand(5)
    with pytest.raises(ValueError, match=r"vertices must be \(N, 3\) float32, got \(4, 3\) torch.float64"):
        mesh_edges(points.double(), torch.zeros(5, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"faces must be \(·, 3\) int64, got \(5, 3\) torch.int32"):
        mesh_edges(points, torch.zeros(5, 3, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"faces must be on cpu as the other tensors are, got meta"):
        mesh_edges(points, torch.zeros(5, 3, dtype=torch.int64, device="meta"))
    with pytest.raises(ValueError, match=r"points must be \(N, 3\) float32, got \(4, 2\)"):
        edge_weights(points[:, :2], points, edges)
    with pytest.raises(ValueError, match=r"normals must be \(4, 3\) on cpu as points are, got \(3, 3\)"):
        edge_weights(points, points[:3], edges)
    with pytest.raises(ValueError, match=r"edges must be \(·, 2\) int64, got \(5, 1\)"):
        edge_weights(points, points, edges[:, :1])
    with pytest.raises(ValueError, match=r"weights must be \(5,\) float32 for edges \(5, 2\), got \(4,\)"):
        felzenszwalb(edges, weights[:4], 4)
    with pytest.raises(ValueError, match=r"got \(5,\) torch.float64"):
        felzenszwalb(edges, weights.double(), 4)
    with pytest.raises(ValueError, match="edges must be on cpu as the other tensors are, got meta"):
        felzenszwalb(edges.to("meta"), weights, 4)


@pytest.mark.parametrize(
    ("n", "k", "min_size", "message"),
    [
        (-1, 0.1, 2, "num_points must be in .* got -1"),
        (2**31, 0.1, 2, "num_points must be in .* got 2147483648"),
        (4, -0.1, 2, "k_threshold must be finite and not negative, got -0.1"),
        (4, NAN, 2, "k_threshold must be finite and not negative, got nan"),
        (4, 0.1, -2, "min_size must not be negative, got -2"),
    ],
)
def test_rejects_wrong_numbers(n: int, k: float, min_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        felzenszwalb(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0), n, k, min_size)
