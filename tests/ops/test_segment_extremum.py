"""segment_max and segment_min: kernels against references, ties, NaN, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import segment_extremum as ops
from geoguide3d.ops import segment_max, segment_min
from geoguide3d.ops.csr_transpose import rows_by_index
from tests.ops.segment_cases import CASES, DEVICES, DTYPES, Op, count_compilations, masks, rows, torch_threads

INFINITY, NAN = float("inf"), float("nan")


def first_rows(values: Tensor, index: Tensor, s: int, *, largest: bool = True) -> tuple[Tensor, Tensor]:
    """(extrema, the rows that hold them first)."""
    row_ids, offsets, _ = rows_by_index(index, s)
    extrema = torch.ops.geoguide3d.segment_extremum(values, row_ids, offsets, largest, index)
    return extrema, torch.ops.geoguide3d.segment_first(values, extrema, row_ids, offsets)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lists", ["dense ids", "masks"])
@pytest.mark.parametrize(("n", "c", "s"), CASES)
def test_matches_reference(n: int, c: int, s: int, lists: str, dtype: torch.dtype, device: str) -> None:
    values, _, index = rows(n, c, s, dtype, device)
    values = values if dtype == torch.float64 else values.round(decimals=1)  # many ties
    row_ids, offsets = masks(n, s, device) if lists == "masks" else rows_by_index(index, s)[:2]
    segment_ids, row_offsets = torch.ops.geoguide3d.csr_transpose(row_ids, offsets, n)
    for largest in (True, False):
        extrema = torch.ops.geoguide3d.segment_extremum(values, row_ids, offsets, largest, None)
        expected = ops.segment_extremum_reference(values, row_ids, offsets, largest)
        torch.testing.assert_close(extrema, expected, rtol=0, atol=0)
        first = torch.ops.geoguide3d.segment_first(values, extrema, row_ids, offsets)
        assert torch.equal(first, ops.segment_first_reference(values, extrema, row_ids, offsets))
        placed = torch.ops.geoguide3d.segment_place(extrema, first, segment_ids, row_offsets, dtype)
        expected = ops.segment_place_reference(extrema, first, segment_ids, row_offsets, dtype)
        torch.testing.assert_close(placed, expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31), st.integers(1, 4))
def test_any_sizes_match_the_reference_and_threads_do_not_matter(
    n: int, c: int, s: int, seed: int, threads: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 4, (n, c), generator=generator).double()  # many ties
    values[torch.rand(n, c, generator=generator) < 0.01] = NAN
    index = (torch.rand(n, generator=generator) ** 3 * s).long()  # segments of very different sizes
    row_ids, offsets, _ = rows_by_index(index, s)
    with torch_threads(threads):
        extrema, first = first_rows(values, index, s)
    expected = ops.segment_extremum_reference(values, row_ids, offsets, True)
    torch.testing.assert_close(extrema, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(first, ops.segment_first_reference(values, expected, row_ids, offsets))


@pytest.mark.parametrize("device", DEVICES)
def test_max_takes_the_first_of_equal_rows_and_gives_it_the_gradient(device: str) -> None:
    values = torch.tensor([[1.0], [3.0], [3.0], [-2.0]], device=device, requires_grad=True)
    index = torch.tensor([2, 2, 2, 0], device=device)
    maxima = segment_max(values, index, 3)
    assert maxima.flatten().tolist() == [-2.0, 0.0, 3.0]
    maxima.sum().backward()
    assert values.grad is not None
    assert values.grad.flatten().tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_of_equal_rows_in_another_part_of_a_long_segment(device: str) -> None:
    values = torch.zeros(5000, 1, device=device)
    values[2900:4500] = 1
    index = torch.zeros(5000, dtype=torch.int64, device=device)
    assert first_rows(values, index, 1)[1].item() == 2900
    assert first_rows(-values, index, 1)[1].item() == 0


@pytest.mark.parametrize("device", DEVICES)
def test_extrema_of_nan_and_infinity(device: str) -> None:
    values = torch.tensor([[1.0], [NAN], [INFINITY], [-INFINITY], [-INFINITY], [NAN]], device=device)
    index = torch.tensor([0, 0, 0, 1, 1, 0], device=device)
    for sign, largest in ((1, True), (-1, False)):
        extrema, first = first_rows(sign * values, index, 2, largest=largest)
        assert first.flatten().tolist() == [1, 3]
        assert bool(extrema[0].isnan())
        assert extrema[1].item() == sign * -INFINITY


@pytest.mark.parametrize("device", DEVICES)
def test_min_is_minus_the_max_of_minus(device: str) -> None:
    values, _, index = rows(2000, 7, 30, torch.float32, device)
    assert torch.equal(segment_min(values, index, 31), -segment_max(-values, index, 31))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", [segment_max, segment_min])
@pytest.mark.parametrize(("n", "c", "s"), [(20, 3, 5), (4, 1, 9), (0, 2, 2)])
def test_gradcheck(op: Op, n: int, c: int, s: int, device: str) -> None:
    values, _, index = rows(n, c, s, torch.float64, device)
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: op(v, index, s), values)
    assert torch.autograd.gradgradcheck(lambda v: op(v, index, s), values)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_and_gradients_have_the_dtype_of_values(dtype: torch.dtype, device: str) -> None:
    values, _, index = rows(30, 4, 5, dtype, device)
    maxima = segment_max(values.requires_grad_(), index, 5)
    (grad,) = torch.autograd.grad(maxima.sum(), values)
    assert (maxima.dtype, grad.dtype, grad.shape) == (dtype, dtype, values.shape)


def test_a_row_that_is_twice_in_a_mask_gets_its_gradient_once() -> None:
    values = torch.tensor([[1.0], [5.0]], requires_grad=True)
    maxima = torch.ops.geoguide3d.segment_extremum(values, torch.tensor([1, 0, 1]), torch.tensor([0, 3]), True, None)
    (grad,) = torch.autograd.grad(maxima.sum(), values)
    assert grad.flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    values, _, _ = rows(20, 3, 5, torch.float32, device)
    row_ids, offsets = masks(20, 5, device)
    segment_ids, row_offsets = torch.ops.geoguide3d.csr_transpose(row_ids, offsets, 20)
    namespace = torch.ops.geoguide3d
    extrema = namespace.segment_extremum(values, row_ids, offsets, True, None)
    first = namespace.segment_first(values, extrema, row_ids, offsets)
    values.requires_grad_()
    torch.library.opcheck(namespace.segment_extremum.default, (values, row_ids, offsets, False, None))
    torch.library.opcheck(namespace.segment_first.default, (values.detach(), extrema, row_ids, offsets))
    arguments = (extrema.requires_grad_(), first, segment_ids, row_offsets, torch.float32)
    torch.library.opcheck(namespace.segment_place.default, arguments)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    def both(values: Tensor, index: Tensor, s: int) -> Tensor:
        return segment_max(values * 2, index, s) - segment_min(values, index, s)

    compiled_once, compilations = count_compilations(both)
    for n, s in [(40, 7), (60, 11), (33, 5)]:
        values, _, index = rows(n, 3, s, torch.float32, device)
        torch.testing.assert_close(compiled_once(values, index, s), both(values, index, s))
    assert len(compilations) == 1


def test_compiled_training_step_gives_the_eager_gradient() -> None:
    values, _, index = rows(40, 3, 7, torch.float32)
    values.requires_grad_()

    def loss(values: Tensor) -> Tensor:
        return segment_max(values.tanh(), index, 7).square().sum()

    step = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    (got,) = torch.autograd.grad(step(values), values)
    (expected,) = torch.autograd.grad(loss(values), values)
    torch.testing.assert_close(got, expected)
