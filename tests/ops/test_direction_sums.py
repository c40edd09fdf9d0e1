"""direction_sums, direction_dot and direction_total: kernels against references, gradients, edges."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import direction_dot, direction_sums, direction_total
from geoguide3d.ops.csr_transpose import rows_by_index
from geoguide3d.ops.direction_sums import (
    direction_dot_reference,
    direction_sums_backward_reference,
    direction_sums_reference,
)
from tests.ops.segment_cases import CASES, DEVICES, DTYPES, count_compilations, rows, torch_threads

NAMESPACE = torch.ops.geoguide3d
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.float16: 1e-4, torch.bfloat16: 1e-4}
ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1e-2}  # of the gradient


def seen_rows(
    n: int, c: int, s: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors (a row of zeros, a tiny one and one near the mean among them), counts, index and a mean."""
    values, weights, index = rows(n, c, s, torch.float64)
    mean = torch.linspace(-1, 1, c, dtype=torch.float64) if c > 1 else torch.full((c,), 0.5, dtype=torch.float64)
    mean = 0.8 * mean / mean.norm().clamp(min=1e-3)
    for row, special in enumerate((torch.zeros(c), 1e-12 * torch.ones(c), mean * 5 + 1e-6)):
        values[row : row + 1] = special
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return values.to(dtype).to(device), (weights < 0.8).to(device), index.to(device), mean.to(wide).to(device)


def assert_rows_close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    """Of each row, relative to its greatest element: a gradient is as large as its row is short."""
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    if got.numel():
        greatest = expected.double().abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
        assert float(((got.double() - expected.double()).abs() / greatest).max()) < tolerance


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "c", "s"), CASES)
@pytest.mark.parametrize("with_mean", [False, True])
def test_matches_reference(n: int, c: int, s: int, with_mean: bool, dtype: torch.dtype, device: str) -> None:
    values, some, index, centre = seen_rows(n, c, s, dtype, device)
    mean = centre if with_mean else None
    tolerance = TOLERANCE[dtype]
    for counts in (None, some):
        arguments = values, counts, mean, *rows_by_index(index, s)
        got, expected = NAMESPACE.direction_sums(*arguments), direction_sums_reference(*arguments)
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * 10)
    segments = torch.randn(s, c, generator=torch.Generator().manual_seed(s)).to(centre)
    got = NAMESPACE.direction_dot(values, segments, mean, index)
    torch.testing.assert_close(
        got, direction_dot_reference(values, segments, mean, index), rtol=tolerance, atol=tolerance * 10
    )
    for added in (None, values.flip(0) * 3):
        turned = values, some, mean, segments, index, added
        got, expected = NAMESPACE.direction_sums_backward(*turned), direction_sums_backward_reference(*turned)
        assert_rows_close(got[3:], expected[3:], ROUNDING[dtype])
        assert bool(got.isfinite().all()) == bool(expected.isfinite().all())


@pytest.mark.parametrize("device", DEVICES)
def test_total_is_the_sum_of_unit_rows(device: str) -> None:
    values = seen_rows(3000, 12, 4, torch.float64, device)[0]
    expected = torch.nn.functional.normalize(values, dim=1, eps=1e-8).sum(0)
    torch.testing.assert_close(direction_total(values), expected)
    assert direction_total(values[:0]).tolist() == [0.0] * 12


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 40), st.integers(1, 12), st.integers(1, 4), st.booleans())
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    n: int, c: int, s: int, threads: int, with_mean: bool
) -> None:
    values, counts, index, centre = seen_rows(n, c, s, torch.float32)
    mean = centre if with_mean else None
    arguments = values, counts, mean, *rows_by_index(index, s)
    with torch_threads(threads):
        sums = NAMESPACE.direction_sums(*arguments)
    with torch_threads(1):
        assert torch.equal(sums, NAMESPACE.direction_sums(*arguments))
    torch.testing.assert_close(sums, direction_sums_reference(*arguments), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    values, counts, index, mean = seen_rows(20_000, 19, 7, torch.float32, device)

    def run() -> tuple[Tensor, Tensor, Tensor]:
        leaf = values.clone().requires_grad_()
        sums = direction_sums(leaf, index, 7, counts, mean)
        (grad,) = torch.autograd.grad(sums.square().sum(), leaf)
        return sums.detach(), grad, direction_dot(values, sums, index, mean)

    first = run()
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert all(torch.equal(one, other) for one, other in zip(first, run(), strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "c", "s"), [(20, 3, 5), (4, 2, 9), (0, 2, 2)])
@pytest.mark.parametrize("with_mean", [False, True])
def test_gradcheck(n: int, c: int, s: int, with_mean: bool, device: str) -> None:
    values, _, index = rows(n, c, s, torch.float64, device)
    counts, mean = torch.arange(n, device=device) % 3 > 0, torch.full((c,), 0.2, dtype=torch.float64, device=device)
    seen_from = mean if with_mean else None
    assert torch.autograd.gradcheck(
        lambda leaf: direction_sums(leaf, index, s, counts, seen_from), values.requires_grad_()
    )


def test_there_is_no_second_derivative() -> None:
    leaf = torch.ones(2, 3, requires_grad=True)
    sums = direction_sums(leaf, torch.tensor([0, 1]), 2)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(sums.sum(), leaf, create_graph=True)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    values, counts, index, mean = seen_rows(20, 3, 5, torch.float32, device)
    segments = torch.randn(5, 3, device=device)
    by_segment = rows_by_index(index, 5)
    torch.library.opcheck(NAMESPACE.direction_dot.default, (values, segments, mean, index))
    torch.library.opcheck(NAMESPACE.direction_sums_backward.default, (values, counts, mean, segments, index, values))
    torch.library.opcheck(NAMESPACE.direction_sums_backward.default, (values, None, None, segments, index, None))
    leaf = values[3:].requires_grad_()  # away from rows whose gradient is large
    by_segment = rows_by_index(index[3:], 5)
    torch.library.opcheck(NAMESPACE.direction_sums.default, (leaf, counts[3:], mean, *by_segment))
    torch.library.opcheck(NAMESPACE.direction_sums.default, (leaf, None, None, *by_segment))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def everything(values: Tensor, index: Tensor, counts: Tensor, mean: Tensor, s: int) -> Tensor:
        sums = direction_sums(values * 2, index, s, counts, mean)
        return sums.sin().sum() + direction_dot(values, sums, index, mean).sum() + direction_total(values).sum()

    compiled_once, compilations = count_compilations(everything)
    for n, s in [(40, 7), (60, 11), (33, 5)]:  # a number of segments that changes must not compile again
        values, counts, index, mean = seen_rows(n, 3, s, torch.float32, device)
        arguments = values, index, counts, mean, s
        torch.testing.assert_close(compiled_once(*arguments), everything(*arguments))
    assert len(compilations) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_empty_segment(device: str) -> None:
    index = torch.tensor([4, 1, 4], device=device)
    sums = direction_sums(torch.ones(3, 2, device=device), index, 5)
    assert bool((sums[[0, 2, 3]] == 0).all()) and bool((sums[[1, 4]] > 0).all())


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_do_not_count_are_not_read(device: str) -> None:
    values = torch.tensor([[3.0, 4.0], [torch.nan, 1.0]], device=device).requires_grad_()
    counts = torch.tensor([True, False], device=device)
    sums = direction_sums(values, torch.zeros(2, dtype=torch.int64, device=device), 1, counts)
    torch.testing.assert_close(sums.tolist(), [[0.6, 0.8]])
    (grad,) = torch.autograd.grad(sums.sum(), values)
    assert bool((grad[1] == 0).all()) and bool(grad.isfinite().all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("device", DEVICES)
def test_numbers_that_are_not_finite_survive(bad: float, device: str) -> None:
    values = torch.ones(40, 35, device=device)
    values[7, 33] = bad
    index = torch.zeros(40, dtype=torch.int64, device=device)
    for mean in (None, torch.full((35,), 0.1, device=device)):
        assert not bool(direction_sums(values, index, 1, None, mean).isfinite().all())
        assert not bool(direction_dot(values, torch.ones(1, 35, device=device), index, mean)[7].isfinite())


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    values, counts, index, mean = seen_rows(60, 24, 9, torch.float32, device)
    segments = torch.randn(18, 24, device=device)
    for view in (values[:, :16], values[:, 3:20], values[:, ::2], values[:1].expand(60, 24), values.t().clone().t()):
        part = mean.repeat_interleave(2)[::2][: view.shape[1]]
        assert torch.equal(
            direction_sums(view, index, 9, counts, part), direction_sums(view.clone(), index, 9, counts, part)
        )
        some = segments[::2, : view.shape[1]]
        assert torch.equal(
            direction_dot(view, some, index, part), direction_dot(view.clone(), some.clone(), index, part)
        )
        made = NAMESPACE.direction_sums_backward(view, counts, part, some, index, view)
        again = NAMESPACE.direction_sums_backward(view.clone(), counts, part, some.clone(), index, view.clone())
        assert torch.equal(made, again)


@pytest.mark.parametrize("outside", [-1, 3, 2**40])
def test_rejects_index_out_of_range(outside: int) -> None:
    index = torch.tensor([0, outside])
    with pytest.raises(ValueError, match=r"index\[1\] = .* is outside \[0, 3\)"):
        direction_sums(torch.ones(2, 4), index, 3)
    with pytest.raises(ValueError, match=r"index\[1\] = .* is outside \[0, 3\)"):
        direction_dot(torch.ones(2, 4), torch.ones(3, 4), index)


@pytest.mark.gpu
def test_rejects_index_out_of_range_on_cuda() -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch; from geoguide3d.ops import direction_dot; "
        "direction_dot(torch.ones(2, 4).cuda(), torch.ones(3, 4).cuda(), torch.tensor([0, 3]).cuda()); "
        "torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


def test_rejects_wrong_dtype() -> None:
    index = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"index must be \(2,\) int64 .* got \(2,\) torch.int32"):
        direction_sums(torch.ones(2, 4), index.int(), 3)
    with pytest.raises(ValueError, match=r"values must be \(N, C\) floats, got \(2, 4\) torch.int64"):
        direction_sums(torch.ones(2, 4, dtype=torch.int64), index, 3)
    with pytest.raises(ValueError, match=r"counts must be \(2,\) bool, got \(2,\) torch.float32"):
        direction_sums(torch.ones(2, 4), index, 3, torch.ones(2))
    with pytest.raises(ValueError, match=r"mean must be \(4,\) floats, got \(4,\) torch.int64"):
        direction_sums(torch.ones(2, 4), index, 3, None, index.repeat(2))


def test_rejects_wrong_shapes() -> None:
    index = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"mean must be \(4,\) floats, got \(3,\)"):
        direction_sums(torch.ones(2, 4), index, 3, None, torch.ones(3))
    with pytest.raises(ValueError, match=r"segments must be \(S, 4\) on cpu, got \(3, 5\)"):
        direction_dot(torch.ones(2, 4), torch.ones(3, 5), index)
    with pytest.raises(ValueError, match="index must be on meta as values are, got cpu"):
        direction_sums(torch.ones(2, 4, device="meta"), index, 3)
