"""segment_sum, segment_mean and weighted_segment_mean of dense ids: kernels against references, gradients, edges."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import segment_max, segment_mean, segment_min, segment_sum, weighted_segment_mean
from geoguide3d.ops import segment_reduce as ops
from tests.ops.segment_cases import (
    CASES,
    DEVICES,
    DTYPES,
    TOLERANCE,
    Op,
    count_compilations,
    rows,
    torch_threads,
)

ALL = [segment_sum, segment_mean, segment_max, segment_min]


def mean_of(values: Tensor, index: Tensor, s: int, weights: Tensor | None = None, eps: float = 0.0) -> Tensor:
    """The definition, one segment at a time, in float64."""
    values = values.double()
    weights = torch.ones(len(values)).to(values) if weights is None else weights.double()
    means = [
        (values[index == k] * weights[index == k][:, None]).sum(0) / (weights[index == k].sum() + eps)
        if bool((index == k).any())
        else values.new_zeros(values.shape[1])
        for k in range(s)
    ]
    return torch.stack(means) if means else values.new_zeros(0, values.shape[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "c", "s"), CASES)
def test_matches_reference(n: int, c: int, s: int, dtype: torch.dtype, device: str) -> None:
    values, weights, index = rows(n, c, s, dtype, device)
    by_segment = ops.rows_by_index(index, s)
    segments = torch.ops.geoguide3d.segment_sum(values, None, *by_segment)[0]
    calls = {
        "segment_sum": (values, None, *by_segment),
        "segment_expand": (segments, weights, index, None, segments.dtype),
        "segment_dot": (values, segments, index, None),
    }
    for name, arguments in [*calls.items(), ("segment_sum", (values, weights, *by_segment))]:
        got = getattr(torch.ops.geoguide3d, name)(*arguments)
        expected = getattr(ops, name + "_reference")(*arguments)
        scale = 1 + float(segments.abs().sum()) / max(1, len(segments)) if name == "segment_dot" else 1.0
        torch.testing.assert_close(got, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_expanded_rows_are_rounded_as_torch_rounds(dtype: torch.dtype, device: str) -> None:
    segments = torch.randn(50, 37, device=device) * 10.0 ** torch.randint(-9, 6, (50, 37), device=device)
    segments[0, :4] = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0], device=device)
    segments = segments.double() if dtype == torch.float64 else segments
    index = torch.arange(50, device=device)
    got = torch.ops.geoguide3d.segment_expand(segments, None, index, None, dtype)
    torch.testing.assert_close(got, segments.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
def test_means_match_their_definition(device: str) -> None:
    values, weights, index = rows(300, 7, 20, torch.float64, device)
    torch.testing.assert_close(segment_mean(values, index, 20), mean_of(values, index, 20))
    expected = mean_of(values, index, 20, weights, eps=1e-3)
    torch.testing.assert_close(weighted_segment_mean(values, weights, index, 20, eps=1e-3), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_one_huge_segment_stays_accurate(dtype: torch.dtype, device: str) -> None:
    values, _, _ = rows(200_003, 3, 1, dtype, device)
    values = values + 1  # sums that grow lose digits; in half precision they would overflow
    index = torch.zeros(len(values), dtype=torch.int64, device=device)
    mean = segment_mean(values, index, 1)
    torch.testing.assert_close(mean.double(), values.double().mean(0, keepdim=True), rtol=2e-6, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31), st.integers(1, 4))
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    n: int, c: int, s: int, seed: int, threads: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 4, (n, c), generator=generator).double()  # many ties, exact sums
    index = (torch.rand(n, generator=generator) ** 3 * s).long()  # segments of very different sizes
    by_segment = ops.rows_by_index(index, s)
    with torch_threads(threads):
        sums = torch.ops.geoguide3d.segment_sum(values, None, *by_segment)
    torch.testing.assert_close(sums, ops.segment_sum_reference(values, None, *by_segment), rtol=0, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    values, weights, index = rows(40_000, 9, 7, torch.float32, device)
    first = weighted_segment_mean(values, weights, index, 7)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            again = weighted_segment_mean(values, weights, index, 7)
        assert torch.equal(first, again)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "c", "s"), [(20, 3, 5), (4, 1, 9), (0, 2, 2)])
def test_gradcheck(n: int, c: int, s: int, device: str) -> None:
    values, weights, index = rows(n, c, s, torch.float64, device)
    values.requires_grad_()
    weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: segment_sum(v, index, s), values)
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, index, s), values)
    assert torch.autograd.gradcheck(lambda v, w: weighted_segment_mean(v, w, index, s), (values, weights))
    assert torch.autograd.gradgradcheck(lambda v, w: weighted_segment_mean(v, w, index, s), (values, weights))


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_keep_dtype_and_device(device: str) -> None:
    values, weights, index = rows(30, 4, 5, torch.float16, device)
    values.requires_grad_()
    weights = weights.half().requires_grad_()
    mean = weighted_segment_mean(values, weights, index, 5)
    mean.sum().backward()
    assert mean.dtype == torch.float32
    for leaf in (values, weights):
        assert leaf.grad is not None
        assert (leaf.grad.dtype, leaf.grad.device, leaf.grad.shape) == (leaf.dtype, leaf.device, leaf.shape)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_receive_a_gradient_where_values_need_none(device: str) -> None:
    values, weights, index = rows(30, 4, 5, torch.float64, device)
    weights.requires_grad_()
    (grad,) = torch.autograd.grad(weighted_segment_mean(values, weights, index, 5).square().sum(), weights)
    reference = weights.detach().clone().requires_grad_()
    sums, mass = ops.segment_sum_reference(values, reference, *ops.rows_by_index(index, 5))
    (expected,) = torch.autograd.grad((sums / (mass + 1e-6)[:, None]).square().sum(), reference)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    values, weights, index = rows(20, 3, 5, torch.float32, device)
    segments = torch.randn(5, 3, device=device, requires_grad=True)
    values.requires_grad_()
    weights.requires_grad_()
    namespace = torch.ops.geoguide3d
    by_segment = ops.rows_by_index(index, 5)
    torch.library.opcheck(namespace.segment_sum.default, (values, weights, *by_segment))
    torch.library.opcheck(namespace.segment_sum.default, (values, None, *by_segment))
    torch.library.opcheck(namespace.segment_expand.default, (segments, weights, index, None, torch.float32))
    torch.library.opcheck(namespace.segment_expand.default, (segments, None, index, None, torch.float16))
    torch.library.opcheck(namespace.segment_dot.default, (values, segments, index, None))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def everything(values: Tensor, weights: Tensor, index: Tensor, s: int) -> Tensor:
        mean = weighted_segment_mean(values * 2, weights, index, s) + segment_mean(values, index, s)
        return mean.sin() + segment_sum(values, index, s)

    compiled_once, compilations = count_compilations(everything)
    for n, s in [(40, 7), (60, 11), (33, 5)]:  # a number of segments that changes must not compile again
        values, weights, index = rows(n, 3, s, torch.float32, device)
        torch.testing.assert_close(compiled_once(values, weights, index, s), everything(values, weights, index, s))
    assert len(compilations) == 1


def test_compiled_training_step_gives_the_eager_gradient() -> None:
    values, weights, index = rows(40, 3, 7, torch.float32)
    weights.requires_grad_()

    def loss(weights: Tensor) -> Tensor:
        return weighted_segment_mean(values, weights.sigmoid(), index, 7).square().sum()

    step = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    (got,) = torch.autograd.grad(step(weights), weights)
    (expected,) = torch.autograd.grad(loss(weights), weights)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", ALL)
def test_empty_segment(op: Op, device: str) -> None:
    values, _, _ = rows(3, 2, 5, torch.float32, device)
    index = torch.tensor([4, 1, 4], device=device)
    result = op(values - 10, index, 5)
    assert bool((result[[0, 2, 3]] == 0).all())
    assert bool((result[[1, 4]] < 0).all())


@pytest.mark.parametrize("device", DEVICES)
def test_rows_whose_stride_is_not_c_are_read_in_place(device: str) -> None:
    values, _, index = rows(60, 24, 9, torch.float32, device)
    for view in (values[:, :16], values[:, 3:20], values[::3].repeat(3, 1)[:, 1:2], values[:1].expand(60, 24)):
        torch.testing.assert_close(segment_sum(view, index, 9), segment_sum(view.clone(), index, 9), rtol=0, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_segment_whose_weights_are_all_zero_is_zero_and_finite(device: str) -> None:
    values, _, _ = rows(3, 2, 2, torch.float32, device)
    weights = torch.tensor([0.0, 0.0, 1.0], device=device, requires_grad=True)
    mean = weighted_segment_mean(values, weights, torch.tensor([0, 0, 1], device=device), 2)
    mean.sum().backward()
    assert bool((mean[0] == 0).all())
    assert weights.grad is not None
    assert bool(weights.grad.isfinite().all())


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    values, weights, index = rows(50, 6, 8, torch.float32, device)
    for op in ALL:
        expected = op(values[::2, 1::2].contiguous(), index[::2].contiguous(), 8)
        torch.testing.assert_close(op(values[::2, 1::2], index[::2], 8), expected)
        torch.testing.assert_close(op(values.t().contiguous().t(), index, 8), op(values, index, 8))
    got = weighted_segment_mean(values[::2], weights[::2], index[::2], 8)
    expected = weighted_segment_mean(values[::2].contiguous(), weights[::2].contiguous(), index[::2].contiguous(), 8)
    torch.testing.assert_close(got, expected)
    broadcast = torch.ones(1, 6, device=device).expand(50, 6)  # strides of 0, as the gradient of a sum has
    torch.testing.assert_close(segment_mean(broadcast, index, 8), segment_mean(broadcast.clone(), index, 8))


@pytest.mark.parametrize("outside", [-1, 3, 2**40])
@pytest.mark.parametrize("op", ALL)
def test_rejects_index_out_of_range(op: Op, outside: int) -> None:
    with pytest.raises(ValueError, match=r"index\[1\] = .* is outside \[0, 3\)"):
        op(torch.ones(2, 4), torch.tensor([0, outside]), 3)


@pytest.mark.gpu
@pytest.mark.parametrize("outside", [-1, 3])
def test_rejects_index_out_of_range_on_cuda(outside: int) -> None:
    # The assertion ends the process's use of the device, so it happens in another process.
    script = (
        "import torch; from geoguide3d.ops import segment_sum; "
        f"segment_sum(torch.ones(2, 4).cuda(), torch.tensor([0, {outside}]).cuda(), 3); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


@pytest.mark.parametrize("op", ALL)
def test_rejects_wrong_dtype(op: Op) -> None:
    with pytest.raises(ValueError, match=r"index must be \(2,\) int64 .* got \(2,\) torch.int32"):
        op(torch.ones(2, 4), torch.zeros(2, dtype=torch.int32), 3)
    with pytest.raises(ValueError, match=r"values must be \(N, C\) floats, got \(2, 4\) torch.int64"):
        op(torch.ones(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), 3)


def test_rejects_wrong_shapes() -> None:
    index = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"got \(2,\) torch.float32"):
        segment_sum(torch.ones(2), index, 3)
    with pytest.raises(ValueError, match=r"index must be \(5,\) int64 for values \(5, 4\), got \(2,\)"):
        segment_mean(torch.ones(5, 4), index, 3)
    with pytest.raises(ValueError, match=r"weights must be \(2,\) floats on cpu, got \(3,\)"):
        weighted_segment_mean(torch.ones(2, 4), torch.ones(3), index, 3)
    with pytest.raises(ValueError, match="index must be on meta as values are, got cpu"):
        segment_sum(torch.ones(2, 4, device="meta"), index, 3)
    with pytest.raises(ValueError, match="not be negative, got -1"):
        segment_max(torch.ones(2, 4), index, -1)
