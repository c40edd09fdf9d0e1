"""Sums, means, maxima and minima over lists of rows: masks that overlap, and rows in the order of their segments."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import (
    segment_max_csr,
    segment_mean,
    segment_mean_csr,
    segment_min_csr,
    segment_sum_csr,
    weighted_segment_mean,
    weighted_segment_mean_csr,
)
from geoguide3d.ops import segment_reduce as ops
from tests.ops.segment_cases import (
    CASES,
    DEVICES,
    DTYPES,
    TOLERANCE,
    Op,
    count_compilations,
    masks,
    rows,
    sorted_offsets,
    torch_threads,
)

ALL = [segment_sum_csr, segment_mean_csr, segment_max_csr, segment_min_csr]


def one_by_one(op: Op, values: Tensor, offsets: Tensor, row_ids: Tensor) -> Tensor:
    """The definition: one mask after the other, in float64."""
    reduce = {
        segment_sum_csr: lambda rows: rows.sum(0),
        segment_mean_csr: lambda rows: rows.mean(0),
        segment_max_csr: lambda rows: rows.amax(0),
        segment_min_csr: lambda rows: rows.amin(0),
    }[op]
    result = values.new_zeros(len(offsets) - 1, values.shape[1], dtype=torch.float64)
    for s in range(len(result)):
        ids = row_ids[offsets[s] : offsets[s + 1]]
        if len(ids) > 0:
            result[s] = reduce(values[ids].double())
    return result


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "c", "s"), CASES)
def test_matches_reference(n: int, c: int, s: int, dtype: torch.dtype, device: str) -> None:
    values, weights, _ = rows(n, c, s, dtype, device)
    row_ids, offsets = masks(n, s, device)
    segment_ids, row_offsets = torch.ops.geoguide3d.csr_transpose(row_ids, offsets, n)
    segments = torch.ops.geoguide3d.segment_sum(values, None, row_ids, offsets, None)[0]
    for name, arguments in [
        ("segment_sum", (values, None, row_ids, offsets, None)),
        ("segment_sum", (values, weights, row_ids, offsets, None)),
        ("segment_expand", (segments, weights, segment_ids, row_offsets, dtype)),
        ("segment_dot", (values, segments, segment_ids, row_offsets)),
    ]:
        got = getattr(torch.ops.geoguide3d, name)(*arguments)
        expected = getattr(ops, name + "_reference")(*arguments)
        scale = 1 + float(segments.abs().sum()) if name != "segment_sum" else 1.0
        rounding = torch.finfo(dtype).eps if name == "segment_expand" else 0.0  # two sums may round to neighbours
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(got, expected, rtol=tolerance + rounding, atol=tolerance * scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", ALL)
def test_matches_its_definition(op: Op, device: str) -> None:
    values, _, _ = rows(700, 5, 9, torch.float64, device)
    row_ids, offsets = masks(700, 9, device)
    torch.testing.assert_close(op(values, offsets, row_ids), one_by_one(op, values, offsets, row_ids))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_in_order_need_no_ids_and_dense_ids_give_the_same(device: str) -> None:
    values, weights, index = rows(3000, 6, 40, torch.float64, device)
    index = index.sort()[0]
    offsets = sorted_offsets(index, 40)
    assert torch.equal(segment_mean_csr(values, offsets), segment_mean(values, index, 40))
    expected = weighted_segment_mean(values, weights, index, 40)
    assert torch.equal(weighted_segment_mean_csr(values, weights, offsets), expected)
    for op in ALL:
        assert torch.equal(op(values, offsets), op(values, offsets, torch.arange(3000, device=device)))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(0, 9),
    st.integers(1, 9),
    st.integers(0, 80),
    st.integers(0, 2**31),
    st.integers(1, 4),
)
def test_any_masks_match_their_definition_and_threads_do_not_matter(
    n: int, s: int, c: int, cover: int, seed: int, threads: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 4, (n, c), generator=generator).double()  # many ties, exact sums
    row_ids, offsets = masks(n, s, cover=cover)
    with torch_threads(threads):
        for op in ALL:
            got = op(values, offsets, row_ids)
            torch.testing.assert_close(got, one_by_one(op, values, offsets, row_ids))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("of", ["masks", "rows in order"])
def test_gradcheck(of: str, device: str) -> None:
    values, weights, index = rows(18, 3, 5, torch.float64, device)
    row_ids, offsets = masks(18, 5, device) if of == "masks" else (None, sorted_offsets(index, 5))
    values.requires_grad_()
    weights.requires_grad_()
    for op in ALL:
        assert torch.autograd.gradcheck(lambda v, op=op: op(v, offsets, row_ids), values)
        assert torch.autograd.gradgradcheck(lambda v, op=op: op(v, offsets, row_ids), values)
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda v, w: weighted_segment_mean_csr(v, w, offsets, row_ids), (values, weights))


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_overlapping_masks_are_bit_identical_from_run_to_run(device: str) -> None:
    values, weights, _ = rows(5000, 9, 30, torch.float32, device)
    row_ids, offsets = masks(5000, 30, device, cover=12)
    leaves = (values.requires_grad_(), weights.requires_grad_())

    def gradients() -> tuple[Tensor, ...]:
        mean = weighted_segment_mean_csr(values, weights, offsets, row_ids) + segment_max_csr(values, offsets, row_ids)
        return torch.autograd.grad(mean.square().sum(), leaves)

    first = gradients()
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert all(torch.equal(a, b) for a, b in zip(first, gradients(), strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_in_two_masks_gets_both_gradients(device: str) -> None:
    values = torch.tensor([[1.0], [5.0], [2.0]], device=device, requires_grad=True)
    row_ids, offsets = torch.tensor([0, 1, 1, 2], device=device), torch.tensor([0, 2, 4], device=device)
    factors = torch.tensor([[10.0], [100.0]], device=device)
    for op, expected in ((segment_sum_csr, [10, 110, 100]), (segment_max_csr, [0, 110, 0])):
        (grad,) = torch.autograd.grad((op(values, offsets, row_ids) * factors).sum(), values)
        assert grad.flatten().tolist() == expected


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_keep_the_dtype_of_values(device: str) -> None:
    values, _, _ = rows(30, 4, 5, torch.float16, device)
    row_ids, offsets = masks(30, 5, device)
    values.requires_grad_()
    for op in ALL:
        (grad,) = torch.autograd.grad(op(values, offsets, row_ids).float().sum(), values)
        assert (grad.dtype, grad.shape) == (torch.float16, values.shape)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def everything(values: Tensor, weights: Tensor, offsets: Tensor, row_ids: Tensor) -> Tensor:
        mean = weighted_segment_mean_csr(values * 2, weights, offsets, row_ids)
        return mean + segment_mean_csr(values, offsets, row_ids) + segment_max_csr(values, offsets, row_ids)

    compiled_once, compilations = count_compilations(everything)
    for n, s in [(40, 7), (60, 11), (33, 5)]:
        values, weights, _ = rows(n, 3, s, torch.float32, device)
        row_ids, offsets = masks(n, s, device)
        got = compiled_once(values, weights, offsets, row_ids)
        torch.testing.assert_close(got, everything(values, weights, offsets, row_ids))
    assert len(compilations) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    values, weights, _ = rows(20, 3, 5, torch.float32, device)
    row_ids, offsets = masks(20, 5, device)
    segment_ids, row_offsets = torch.ops.geoguide3d.csr_transpose(row_ids, offsets, 20)
    segments = torch.randn(5, 3, device=device, requires_grad=True)
    leaves = (values.requires_grad_(), weights.requires_grad_())
    namespace = torch.ops.geoguide3d
    torch.library.opcheck(namespace.segment_sum.default, (*leaves, row_ids, offsets, None))
    torch.library.opcheck(
        namespace.segment_expand.default, (segments, weights, segment_ids, row_offsets, torch.float32)
    )
    torch.library.opcheck(namespace.segment_dot.default, (values, segments, segment_ids, row_offsets))


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    values, _, _ = rows(50, 6, 8, torch.float32, device)
    row_ids, offsets = masks(50, 8, device)
    strided_ids, strided_offsets = torch.stack([row_ids] * 2, 1)[:, 0], torch.stack([offsets] * 2, 1)[:, 0]
    for op in ALL:
        expected = op(values.clone(), offsets, row_ids)
        torch.testing.assert_close(op(values.t().contiguous().t(), strided_offsets, strided_ids), expected)


def test_values_of_more_than_two_to_the_31_elements() -> None:
    n, c = 2**16 + 3, 2**15  # 4.3 GB of address space, of which a few pages are ever touched
    values = torch.empty(n, c, dtype=torch.float16)
    values[n - 1], values[1] = 3, 1
    row_ids, offsets = torch.tensor([n - 1, 1, n - 1]), torch.tensor([0, 2, 3])
    assert segment_sum_csr(values, offsets, row_ids)[:, ::1000].unique(dim=1).flatten().tolist() == [4, 3]
    assert segment_max_csr(values, offsets, row_ids)[:, ::1000].unique(dim=1).flatten().tolist() == [3, 3]


@pytest.mark.parametrize("op", ALL)
def test_rejects_wrong_arguments(op: Op) -> None:
    values, offsets, row_ids = torch.ones(3, 2), torch.tensor([0, 1, 3]), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"values must be \(N, C\) floats, got \(3,\)"):
        op(values[:, 0], offsets)
    with pytest.raises(ValueError, match=r"values must be \(N, C\) floats, got \(3, 2\) torch.int64"):
        op(values.long(), offsets)
    with pytest.raises(ValueError, match=r"offsets must be \(S \+ 1,\) int64, got \(3,\) torch.int32"):
        op(values, offsets.int())
    with pytest.raises(ValueError, match="offsets must lead from 0 to 3, got 0 to 2"):
        op(values, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"row_ids must be \(E,\) int64, got \(3,\) torch.int32"):
        op(values, offsets, row_ids.int())
    with pytest.raises(ValueError, match="row_ids must be on cpu as values are, got meta"):
        op(values, offsets, row_ids.to("meta"))
    with pytest.raises(ValueError, match="offsets must be on cpu as values are, got meta"):
        op(values, offsets.to("meta"))
    with pytest.raises(ValueError, match=r"index\[2\] = 3 is outside \[0, 3\)"):
        op(values, offsets, row_ids + 1)
    with pytest.raises(ValueError, match=r"index\[0\] = -1 is outside \[0, 3\)"):
        op(values, offsets, row_ids - 1)


def test_rejects_wrong_weights() -> None:
    with pytest.raises(ValueError, match=r"weights must be \(3,\) floats on cpu, got \(2,\)"):
        weighted_segment_mean_csr(torch.ones(3, 2), torch.ones(2), torch.tensor([0, 3]))


@pytest.mark.gpu
@pytest.mark.parametrize("offsets", [[0, 2, 1, 3], [0, 2], [1, 3]])
def test_rejects_wrong_offsets_on_cuda(offsets: list[int]) -> None:
    script = (
        "import torch; from geoguide3d.ops import segment_sum_csr; "
        f"segment_sum_csr(torch.ones(3, 4).cuda(), torch.tensor({offsets}).cuda()); torch.cuda.synchronize()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr
