"""segment_softmax: against torch.softmax of one segment after the other, gradients, extreme scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import segment_softmax, segment_softmax_csr
from geoguide3d.ops.csr_transpose import rows_by_index
from geoguide3d.ops.segment_softmax import segment_softmax_reference
from tests.ops.segment_cases import CASES, DEVICES, DTYPES, count_compilations, rows, sorted_offsets, torch_threads


def one_by_one(scores: Tensor, index: Tensor, s: int) -> Tensor:
    """The definition, in float64."""
    shares = torch.zeros_like(scores, dtype=torch.float64)
    for k in range(s):
        shares[index == k] = scores[index == k].double().softmax(0)
    return shares


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "c", "s"), [case for case in CASES if case[2] < 100])
def test_matches_torch(n: int, c: int, s: int, dtype: torch.dtype, device: str) -> None:
    scores, _, index = rows(n, c, s, dtype, device)
    got = segment_softmax(scores, index, s)
    assert got.dtype == dtype
    tolerance = max(torch.finfo(dtype).eps, 1e-12)
    torch.testing.assert_close(got.double(), one_by_one(scores, index, s), rtol=8 * tolerance, atol=tolerance)
    order = index.sort(stable=True)[1]
    in_order = segment_softmax_csr(scores[order], sorted_offsets(index, s))
    torch.testing.assert_close(in_order, got[order], rtol=0, atol=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(1, 9), st.floats(-1e4, 1e4), st.integers(0, 2**31), st.integers(1, 3))
def test_shares_add_up_to_one_and_an_offset_does_not_matter(
    n: int, s: int, offset: float, seed: int, threads: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = 30 * torch.randn(n, generator=generator, dtype=torch.float64)
    index = torch.randint(0, s, (n,), generator=generator)
    with torch_threads(threads):
        shares = segment_softmax(scores + offset, index, s)
    torch.testing.assert_close(shares, one_by_one(scores, index, s), rtol=1e-9, atol=1e-12)
    sums = torch.zeros(s, dtype=torch.float64).index_add(0, index, shares)
    assert torch.allclose(sums[index.unique()], torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("device", DEVICES)
def test_extreme_scores_do_not_overflow(device: str) -> None:
    scores = torch.tensor([1000.0, 1000.0, -1000.0, -float("inf"), 5.0, -float("inf")], device=device)
    index = torch.tensor([0, 0, 0, 0, 1, 2], device=device)
    shares = segment_softmax(scores, index, 3)
    assert shares[:5].tolist() == [0.5, 0.5, 0.0, 0.0, 1.0]
    assert bool(shares[5].isnan())  # as torch.softmax of nothing but −∞


@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck(device: str) -> None:
    scores, _, index = rows(20, 3, 5, torch.float64, device)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segment_softmax(x, index, 5), scores)
    assert torch.autograd.gradgradcheck(lambda x: segment_softmax(x, index, 5), scores)
    assert torch.autograd.gradcheck(lambda x: segment_softmax_csr(x[:, 0], sorted_offsets(index, 5)), scores)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "c", "s"), CASES)
def test_matches_reference(n: int, c: int, s: int, dtype: torch.dtype, device: str) -> None:
    scores, _, index = rows(n, c, s, dtype, device)
    lists = rows_by_index(10 * index if s == 4096 else index, 10 * s)
    got = torch.ops.geoguide3d.segment_softmax(scores, *lists)
    expected = segment_softmax_reference(scores, *lists)
    tolerance = max(torch.finfo(dtype).eps, 1e-12)
    torch.testing.assert_close(got, expected, rtol=8 * tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_the_gradient_of_half_scores_has_their_dtype(device: str) -> None:
    scores, _, index = rows(40, 2, 5, torch.float16, device)
    (grad,) = torch.autograd.grad((segment_softmax(scores.requires_grad_(), index, 5) ** 2).sum(), scores)
    exact = scores.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad((segment_softmax(exact, index, 5) ** 2).sum(), exact)
    assert grad.dtype == torch.float16
    torch.testing.assert_close(grad.double(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    scores, _, index = rows(20, 3, 5, torch.float32, device)
    lists = rows_by_index(index, 5)
    torch.library.opcheck(torch.ops.geoguide3d.segment_softmax.default, (scores.requires_grad_(), *lists))


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous_and_empty(device: str) -> None:
    scores, _, index = rows(50, 6, 8, torch.float32, device)
    torch.testing.assert_close(
        segment_softmax(scores[::2, 1::2], index[::2], 8),
        segment_softmax(scores[::2, 1::2].clone(), index[::2].clone(), 8),
    )
    assert segment_softmax(scores[:0], index[:0], 0).shape == (0, 6)
    assert segment_softmax_csr(scores[:0, 0], torch.zeros(1, dtype=torch.int64, device=device)).shape == (0,)


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_bit_identical_from_run_to_run(device: str) -> None:
    scores, _, index = rows(20_000, 2, 7, torch.float32, device)
    first = segment_softmax(scores, index, 7)
    for threads in (1, 2, 3):
        with torch_threads(threads):
            assert torch.equal(first, segment_softmax(scores, index, 7))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device: str) -> None:
    compiled_once, compilations = count_compilations(segment_softmax)
    for n, s in [(40, 7), (60, 11), (33, 5)]:
        scores, _, index = rows(n, 3, s, torch.float32, device)
        torch.testing.assert_close(compiled_once(scores, index, s), segment_softmax(scores, index, s))
    assert len(compilations) == 1


def test_rejects_wrong_arguments() -> None:
    index = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"scores must be \(N,\) or \(N, C\) floats, got \(2, 1, 1\)"):
        segment_softmax(torch.ones(2, 1, 1), index, 1)
    with pytest.raises(ValueError, match=r"scores must be .* got \(2,\) torch.int64"):
        segment_softmax_csr(index, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"index must be \(3,\) int64"):
        segment_softmax(torch.ones(3), index, 1)
    with pytest.raises(ValueError, match="index must be on meta as values are, got cpu"):
        segment_softmax(torch.ones(2, device="meta"), index, 1)
    with pytest.raises(ValueError, match="offsets must lead from 0 to 2, got 0 to 1"):
        segment_softmax_csr(torch.ones(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"index\[0\] = 1 is outside \[0, 1\)"):
        segment_softmax(torch.ones(2), index + 1, 1)
