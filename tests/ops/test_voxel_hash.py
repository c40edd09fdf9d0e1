"""voxel_hash: kernels against the reference and against a dictionary of cells, limits, edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops.kernels import compiled
from geoguide3d.ops.voxel_hash import voxel_hash, voxel_hash_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = [torch.float32, torch.float64]
SIZES = [0, 1, 2, 7, 8, 9, 1000, 70_001]  # up to more than the threads' shares are cut from
CELLS = [1e-5, 0.02, 0.3, 100.0]  # keys that fill two words, keys of a room, keys of no bits


def cloud(n: int, seed: int = 0) -> Tensor:
    """(n, 3) float64 in a room of 6 by 4 by 3 metres, some of them on the borders of cells."""
    generator = torch.Generator().manual_seed(seed + n)
    points = torch.rand(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([6.0, 4.0, 3.0]) - 2.0
    return torch.where(torch.arange(n)[:, None] % 5 == 0, (points / 0.02).round() * 0.02, points)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_equal(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for tensor, other in zip(got, expected, strict=True):
        assert (tensor.dtype, tensor.shape, tensor.device) == (torch.int64, other.shape, other.device)
        assert torch.equal(tensor, other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", CELLS)
@pytest.mark.parametrize("n", SIZES)
def test_matches_reference(n: int, size: float, dtype: torch.dtype, device: str) -> None:
    points = cloud(n).to(device, dtype)
    assert_equal(voxel_hash(points, size), voxel_hash_reference(points, size))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3000), st.floats(0.01, 2.0), st.floats(-1e6, 1e6), st.integers(1, 4))
def test_equals_a_dictionary_of_cells_and_threads_do_not_matter(
    seed: int, n: int, size: float, shift: float, threads: int
) -> None:
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + shift
    cells = [tuple(math.floor(value / size) for value in point) for point in points.tolist()]
    least = [min(cell[axis] for cell in cells) for axis in range(3)]
    first: dict[tuple[int, ...], int] = {}
    for row, cell in enumerate(cells):
        first.setdefault(tuple(c - s for c, s in zip(cell, least, strict=True)), row)
    with torch_threads(threads):
        got, point_of_voxel, voxel_of_point = voxel_hash(points, size)
    assert [tuple(cell) for cell in got.tolist()] == sorted(first)
    assert point_of_voxel.tolist() == [first[cell] for cell in sorted(first)]
    assert [tuple(cell) for cell in (got[voxel_of_point] + torch.tensor(least)).tolist()] == cells


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [1e-5, 0.02])
def test_results_are_the_same_from_run_to_run_and_for_any_number_of_threads(size: float, device: str) -> None:
    points = cloud(200_003).to(device)
    first = voxel_hash(points, size)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert_equal(voxel_hash(points, size), first)


@pytest.mark.parametrize("device", DEVICES)
def test_known_answer(device: str) -> None:
    points = torch.tensor([[1.0, 0.0, 2.5], [-0.5, 0.0, 0.0], [1.9, 0.9, 2.1], [-0.1, 0.0, 3.0]], device=device)
    cells, point_of_voxel, voxel_of_point = voxel_hash(points, 1.0)
    assert cells.tolist() == [[0, 0, 0], [0, 0, 3], [2, 0, 2]]
    assert point_of_voxel.tolist() == [1, 3, 0]
    assert voxel_of_point.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize("device", DEVICES)
def test_the_division_is_in_float64(device: str) -> None:
    """float32(0.7) is less than 0.7 and belongs to cell 6; divided in float32 it rounds up to 7."""
    points = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.7, 0.0, 0.0]], device=device)
    assert voxel_hash(points, 0.1)[0][:, 0].tolist() == [0, 3, 6]


@pytest.mark.parametrize("device", DEVICES)
def test_one_cell_for_all(device: str) -> None:
    points = torch.full((100_000, 3), -7.3, device=device)
    cells, point_of_voxel, voxel_of_point = voxel_hash(points, 0.02)
    assert (cells.tolist(), point_of_voxel.tolist()) == ([[0, 0, 0]], [0])
    assert not voxel_of_point.any()


@pytest.mark.parametrize("device", DEVICES)
def test_the_largest_extent_fits_and_one_more_is_refused(device: str) -> None:
    ends = torch.tensor([[0.5, 0.5, 0.5], [2**21 - 0.5, 0.5, 2**21 - 0.5]], dtype=torch.float64, device=device)
    assert voxel_hash(ends, 1.0)[0].tolist() == [[0, 0, 0], [2**21 - 1, 0, 2**21 - 1]]
    ends[1, 1] += 2**21
    with pytest.raises(ValueError, match=r"2097153 voxels of 1\.0 m along one axis, .* larger voxel_size_m"):
        voxel_hash(ends, 1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    wide = cloud(300).to(device).repeat(1, 2)
    assert_equal(voxel_hash(wide[::2, 1:4], 0.1), voxel_hash(wide[::2, 1:4].contiguous(), 0.1))
    assert_equal(voxel_hash(wide[:3].T[:, :3], 0.1), voxel_hash(wide[:3].T[:, :3].contiguous(), 0.1))
    assert_equal(voxel_hash(wide[:1, :3].expand(50, 3), 0.1), voxel_hash(wide[:1, :3].repeat(50, 1), 0.1))


def test_half_points_and_no_gradient() -> None:
    points = cloud(100)
    for dtype in (torch.float16, torch.bfloat16):
        assert_equal(voxel_hash(points.to(dtype), 0.1), voxel_hash_reference(points.to(dtype), 0.1))
    assert not any(tensor.requires_grad for tensor in voxel_hash(points.requires_grad_(), 0.1))


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    for dtype in DTYPES:
        torch.library.opcheck(torch.ops.geoguide3d.voxel_hash.default, (cloud(50).to(device, dtype), 0.3))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    calls = 0

    def count_compilations(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        nonlocal calls
        calls += 1
        return graph.forward

    def firsts(points: Tensor) -> Tensor:
        cells, point_of_voxel, voxel_of_point = voxel_hash(points * 2, 0.3)
        return points[point_of_voxel] + cells + voxel_of_point.amax()

    step = torch.compile(firsts, fullgraph=True, dynamic=True, backend=count_compilations)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        for n in (40, 60, 33):
            points = cloud(n).to(device)
            torch.testing.assert_close(step(points), firsts(points))
    assert calls == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("row", [0, 30, 69_999])
def test_rejects_what_is_not_finite(row: int, bad: float, device: str) -> None:
    points = cloud(70_000).to(device)
    points[row, row % 3] = bad
    with pytest.raises(ValueError, match=f"points must be finite, row {row} is"):
        voxel_hash(points, 0.02)
    if compiled != "none":  # as a compiled graph meets the kernel, which has no door; CUDA's raises RuntimeError
        with pytest.raises((ValueError, RuntimeError), match=r"points must be finite|cells along an axis"):
            torch.ops.geoguide3d.voxel_hash(points, 0.02)


@pytest.mark.parametrize("size", [0.0, -0.1, math.nan, math.inf])
def test_rejects_a_size_that_is_not_positive(size: float) -> None:
    with pytest.raises(ValueError, match=f"voxel_size_m must be positive and finite, got {size}"):
        voxel_hash(torch.zeros(1, 3), size)


@pytest.mark.parametrize("points", [torch.zeros(4, 2), torch.zeros(3), torch.zeros(4, 3, dtype=torch.int64)])
def test_rejects_wrong_shapes_and_dtypes(points: Tensor) -> None:
    with pytest.raises(ValueError, match=r"points must be \(N, 3\) floats, got"):
        voxel_hash(points, 0.1)
