"""knn and radius: kernels against references on clouds of every shape, known answers, edges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.kernels import compiled
from geoguide3d.ops.knn import knn, knn_reference, radius, radius_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64]
SIZES = [1, 2, 15, 16, 17, 33, 100, 1000]  # around the size of a leaf, and a cloud of many
CLOUDS = ["uniform", "coincident", "lattice", "plane", "line", "clusters and outliers", "density falls as 1 / r"]
Shape = st.sampled_from(CLOUDS)


def cloud(shape: str, n: int, seed: int = 0) -> Tensor:
    """(n, 3) float64, each of which has been the undoing of some search."""
    generator = torch.Generator().manual_seed(seed + n)
    unit = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    if shape == "coincident":
        return torch.full_like(unit, 0.3)
    if shape == "lattice":  # most distances are equal, many points coincide
        return torch.floor(unit * 6)
    if shape == "plane":
        return unit * torch.tensor([1.0, 1.0, 0.0])
    if shape == "line":
        return unit[:, :1] * torch.tensor([1.0, 2.0, 3.0])
    if shape == "clusters and outliers":
        return torch.where(torch.arange(n)[:, None] % 17 == 3, unit * 1e6, unit * 1e-3)
    if shape == "density falls as 1 / r":
        return torch.nn.functional.normalize(unit - 0.5, dim=1) * torch.exp(12 * unit[:, :1])
    return unit


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_equals_reference(
    points: Tensor, queries: Tensor | None, k: int, r: float, max_neighbors: int | None = None
) -> None:
    """Bit for bit: the contract fixes the order of all operations."""
    ids, distances = torch.ops.geoguide3d.knn(points, queries, k)
    expected_ids, expected_distances = knn_reference(points, queries, k)
    assert torch.equal(distances, expected_distances)
    assert torch.equal(ids, expected_ids)
    got = torch.ops.geoguide3d.radius(points, queries, r, max_neighbors)
    for tensor, expected in zip(got, radius_reference(points, queries, r, max_neighbors), strict=True):
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shape", CLOUDS)
def test_matches_reference(shape: str, n: int, dtype: torch.dtype, device: str) -> None:
    points = cloud(shape, n).to(device, dtype)
    near = cloud(shape, 40, seed=1).to(device, dtype)
    far = near[:5] + 1e5
    for k in {1, min(10, n), min(150, n)}:
        assert_equals_reference(points, None, k, 0.1)
        assert_equals_reference(points, near, k, 0.5, max_neighbors=k)
        assert_equals_reference(points, far, k, 1.8e5, max_neighbors=k)
    assert_equals_reference(points, near, n, 1e9)


@settings(max_examples=80, deadline=None)
@given(Shape, st.integers(1, 700), st.integers(0, 2**31), st.integers(1, 60), st.floats(0, 3), st.integers(1, 4))
def test_any_cloud_matches_the_reference_and_threads_do_not_matter(
    shape: str, n: int, seed: int, k: int, r: float, threads: int
) -> None:
    points, queries = cloud(shape, n, seed), cloud("uniform", 50, seed) * 4 - 2
    with torch_threads(threads):
        assert_equals_reference(points, None, min(k, n), r)
        assert_equals_reference(points, queries, min(k, n), r, max_neighbors=k)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", ["uniform", "clusters and outliers", "coincident"])
def test_a_large_cloud_matches_the_reference(shape: str, device: str) -> None:
    """Larger than any cut of the work among threads; of its queries only some can be checked in time."""
    points = cloud(shape, 60_000).to(device)
    some = torch.arange(0, 60_000, 601)
    ids, distances = knn(points, 12)
    expected_ids, expected_distances = knn_reference(points, points[some], 12)
    assert torch.equal(ids[some], expected_ids)
    assert torch.equal(distances[some], expected_distances)
    offsets, ids, _ = radius(points, 0.02, max_neighbors=20)
    expected_offsets, expected_ids, _ = radius_reference(points, points[some], 0.02, 20)
    assert torch.equal(offsets[some + 1] - offsets[some], expected_offsets.diff())
    assert torch.equal(torch.cat([ids[offsets[n] : offsets[n + 1]] for n in some.tolist()]), expected_ids)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    points = cloud("lattice", 20_000).to(device) + cloud("uniform", 20_000).round(decimals=1).to(device)
    first, first_within = knn(points, 9), radius(points, 0.3)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again, again_within = knn(points, 9), radius(points, 0.3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first_within, again_within, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_a_small_cloud_is_answered_whole(device: str) -> None:
    ids, distances = knn(torch.tensor([[0.0, 0, 0], [3.0, 4.0, 0]], device=device), 10)
    assert ids.tolist() == [[0, 1], [1, 0]]
    assert distances.tolist() == [[0.0, 5.0], [0.0, 5.0]]
    assert (ids.dtype, distances.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("device", DEVICES)
def test_equal_distances_come_in_the_order_of_their_ids(device: str) -> None:
    corners = torch.tensor([[1.0, 1, 1], [-1.0, -1, -1], [1.0, -1, 1], [1.0, 1, 1], [-1.0, 1, 1]], device=device)
    center = torch.zeros(1, 3, device=device)
    assert knn(corners, 4, center)[0].tolist() == [[0, 1, 2, 3]]
    assert radius(corners, 2.0, center)[1].tolist() == [0, 1, 2, 3, 4]
    assert radius(corners, 2.0, center, max_neighbors=3)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("device", DEVICES)
def test_a_point_at_distance_r_counts(device: str) -> None:
    points = torch.tensor([[0.0, 0, 0], [3.0, 4.0, 0], [0.0, 0, 5.000001]], device=device)
    offsets, ids, distances = radius(points, 5.0)
    assert offsets.tolist() == [0, 2, 4, 5]
    assert ids.tolist() == [0, 1, 1, 0, 2]
    assert distances.tolist() == [0.0, 5.0, 0.0, 5.0, 0.0]
    assert radius(points, 0.0)[1].tolist() == [0, 1, 2]


def test_float32_coordinates_are_subtracted_in_float64() -> None:
    """In float32 the two differences below round to the same number."""
    points = torch.tensor([[1.0, 0, 0], [1.0 + 2**-23, 0, 0]])
    query = torch.tensor([[-(2.0**10), 0, 0]])
    assert knn(points, 1, query)[0].tolist() == [[0]]
    assert knn(points.flip(0), 1, query)[0].tolist() == [[1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_points_and_mixed_dtypes(dtype: torch.dtype) -> None:
    points, queries = cloud("uniform", 200).to(dtype), cloud("uniform", 20, seed=1)
    assert torch.equal(knn(points, 5)[0], knn_reference(points.float(), None, 5)[0])
    assert torch.equal(knn(points, 5, queries)[0], knn_reference(points.double(), queries, 5)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_empty(device: str) -> None:
    nothing, points = torch.zeros(0, 3, device=device), torch.rand(20, 3, device=device)
    ids, distances = knn(points, 4, nothing)
    assert ids.shape == distances.shape == (0, 4)
    for cloud_, queries, rows in ((points, nothing, 0), (nothing, points, 20), (nothing, None, 0)):
        offsets, ids, distances = radius(cloud_, 1.0, queries)
        assert offsets.tolist() == [0] * (rows + 1)
        assert ids.shape == distances.shape == (0,)


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    wide = cloud("uniform", 100).to(device).repeat(1, 2)
    points, queries = wide[::2, 1:4], wide[1::2].flip(1)[:, :3]
    for got, expected in (
        (knn(points, 5, queries), knn(points.contiguous(), 5, queries.contiguous())),
        (radius(points, 0.3, queries), radius(points.contiguous(), 0.3, queries.contiguous())),
        (knn(points[:1].expand(40, 3), 3), knn(points[:1].repeat(40, 1), 3)),
    ):
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_outputs_carry_no_gradient() -> None:
    points = torch.rand(30, 3, requires_grad=True)
    assert not any(tensor.requires_grad for tensor in (*knn(points, 3), *radius(points, 0.5)))
    assert not any(tensor.requires_grad for tensor in knn(torch.rand(9, 3), 2, points))


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    points, queries = cloud("uniform", 40).to(device), cloud("uniform", 7, seed=1).to(device)
    for places in (None, queries):
        torch.library.opcheck(torch.ops.geoguide3d.knn.default, (points, places, 4))
        torch.library.opcheck(torch.ops.geoguide3d.radius.default, (points, places, 0.4, None))
        torch.library.opcheck(torch.ops.geoguide3d.radius.default, (points, places, 0.4, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def everything(points: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        ids, distances = knn(points * 2, 6, queries)
        _, within, near = radius(points, 0.3, queries, max_neighbors=5)
        return points[ids] * distances[..., None], points[within] * near[:, None]

    step = torch.compile(everything, fullgraph=True, dynamic=True, backend=count_compilations)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        for n, m in [(40, 9), (60, 11), (33, 20)]:  # sizes that change must not compile again
            points, queries = cloud("uniform", n).to(device), cloud("uniform", m, seed=1).to(device)
            torch.testing.assert_close(step(points, queries), everything(points, queries))
    assert calls == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("search", [lambda p, q: knn(p, 2, q), lambda p, q: radius(p, 0.1, q)])
def test_rejects_what_is_not_finite(search: Callable[[Tensor, Tensor | None], object], bad: float) -> None:
    points, good = torch.rand(5, 3), torch.rand(5, 3)
    points[3, 1] = bad
    with pytest.raises(ValueError, match="points must be finite, row 3 is"):
        search(points, None)
    with pytest.raises(ValueError, match="queries must be finite, row 3 is"):
        search(good, points)


@pytest.mark.skipif(compiled == "none", reason="references take what the public door lets pass")
def test_the_kernels_refuse_what_is_not_finite_themselves() -> None:
    """As a compiled graph meets them, which has no door."""
    points = torch.tensor([[0.0, 0, 0], [0.0, float("nan"), 0]])
    with pytest.raises(ValueError, match="points must be finite"):
        torch.ops.geoguide3d.knn(points, None, 1)
    with pytest.raises(ValueError, match="queries must be finite"):
        torch.ops.geoguide3d.radius(torch.zeros(2, 3), points, 1.0, None)


@pytest.mark.gpu
def test_the_kernels_refuse_what_is_not_finite_on_cuda() -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch, geoguide3d.ops; "
        "torch.ops.geoguide3d.knn(torch.full((9, 3), torch.nan).cuda(), None, 1); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


@pytest.mark.parametrize(
    ("points", "queries", "message"),
    [
        (torch.zeros(4, 2), None, r"points must be \(N, 3\) floats, got \(4, 2\) torch.float32"),
        (torch.zeros(3), None, r"points must be \(N, 3\) floats, got \(3,\)"),
        (torch.zeros(4, 3, dtype=torch.int64), None, r"points must be .* got \(4, 3\) torch.int64"),
        (torch.zeros(4, 3), torch.zeros(5, 4), r"queries must be \(N, 3\) floats, got \(5, 4\)"),
        (torch.zeros(4, 3), torch.zeros(5, 3, dtype=torch.bool), r"queries must be .* torch.bool"),
        (torch.zeros(4, 3), torch.zeros(5, 3, device="meta"), "queries must be on cpu as points are, got meta"),
    ],
)
def test_rejects_wrong_shapes_dtypes_and_devices(points: Tensor, queries: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn(points, 1, queries)
    with pytest.raises(ValueError, match=message):
        radius(points, 1.0, queries)


def test_rejects_numbers_without_meaning() -> None:
    points = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"k >= 1 .* got k = 0"):
        knn(points, 0)
    with pytest.raises(ValueError, match=r"at least one point, .* 0 points"):
        knn(points[:0], 1)
    for r in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"r must be finite and not negative, got {r}"):
            radius(points, r)
    with pytest.raises(ValueError, match="max_neighbors must be at least 1, got 0"):
        radius(points, 1.0, max_neighbors=0)


def test_rejects_more_points_than_ids_have_bits() -> None:
    with pytest.raises(ValueError, match="at most 4294967295 points"):
        knn(torch.zeros(1, 3).expand(2**32, 3), 1)
