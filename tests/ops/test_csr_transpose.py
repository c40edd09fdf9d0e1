"""csr_transpose: who has an id, in order; and the checks of lists that all segment ops share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.ops import csr_transpose
from geoguide3d.ops.csr_transpose import csr_transpose_reference
from geoguide3d.ops.kernels import compiled
from tests.ops.segment_cases import DEVICES, count_compilations, masks, rows

OUTSIDE = r"index\[1\] = .* is outside \[0, 3\)"


@pytest.mark.parametrize("device", DEVICES)
def test_known_answer(device: str) -> None:
    ids = torch.tensor([2, 0, 2, 1, 2], device=device)
    owners, begins = csr_transpose(ids, torch.tensor([0, 2, 2, 5], device=device), 4)
    assert owners.tolist() == [0, 2, 0, 2, 2]
    assert begins.tolist() == [0, 1, 2, 5, 5]
    owners, begins = csr_transpose(ids, None, 4)
    assert owners.tolist() == [1, 3, 0, 2, 4]
    assert begins.tolist() == [0, 1, 2, 5, 5]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "s"), [(0, 3), (1, 1), (5, 40_000), (3000, 1), (2000, 70), (0, 0)])
def test_matches_reference(n: int, s: int, device: str) -> None:
    row_ids, offsets = masks(n, s, device)
    _, _, index = rows(n, 1, s, torch.float32, device)
    for arguments in ((row_ids, offsets, n), (index, None, s)):
        got = torch.ops.geoguide3d.csr_transpose(*arguments)
        torch.testing.assert_close(got, csr_transpose_reference(*arguments), rtol=0, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_lie_in_order_get_their_segment(device: str) -> None:
    offsets = torch.tensor([0, 2, 2, 3], device=device)
    owners, begins = torch.ops.geoguide3d.csr_transpose(None, offsets, 3)
    assert owners.tolist() == [0, 0, 2]
    assert begins.tolist() == [0, 1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=8))
def test_the_same_pairs_from_the_other_side(lists: list[list[int]]) -> None:
    ids = torch.tensor([i for one in lists for i in one], dtype=torch.int64)
    offsets = torch.tensor([0, *(len(one) for one in lists)]).cumsum(0)
    owners, begins = csr_transpose(ids, offsets, 7)
    for i in range(7):
        expected = [k for k, one in enumerate(lists) for j in one if i == j]
        assert owners[begins[i] : begins[i + 1]].tolist() == expected
    back, again = csr_transpose(owners, begins, len(lists))
    assert torch.equal(again, offsets)
    assert back.tolist() == [i for one in lists for i in sorted(one)]


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    row_ids, offsets = masks(20, 5, device)
    op = torch.ops.geoguide3d.csr_transpose.default
    torch.library.opcheck(op, (row_ids, offsets, 20))
    torch.library.opcheck(op, (row_ids, None, 20))
    torch.library.opcheck(op, (None, torch.tensor([0, 3, 20], device=device), 20))


def test_compiles_without_graph_break() -> None:
    def both(ids: Tensor, offsets: Tensor, count: int) -> Tensor:
        owners, begins = csr_transpose(ids, offsets, count)
        return owners.sum() + begins

    compiled_once, compilations = count_compilations(both)
    for n, s in ((20, 5), (31, 7)):
        row_ids, offsets = masks(n, s)
        torch.testing.assert_close(compiled_once(row_ids, offsets, n), both(row_ids, offsets, n))
    assert len(compilations) == 1


def test_nothing_carries_a_gradient() -> None:
    owners, begins = csr_transpose(torch.tensor([0, 1]), None, 2)
    assert not owners.requires_grad
    assert not begins.requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_accepts_noncontiguous(device: str) -> None:
    row_ids, offsets = masks(30, 6, device)
    strided = torch.stack([row_ids, row_ids], dim=1)[:, 0]
    expected = csr_transpose(row_ids, offsets, 30)
    torch.testing.assert_close(csr_transpose(strided, torch.stack([offsets] * 2, 1)[:, 1], 30), expected)


@pytest.mark.parametrize("outside", [-1, 3, 2**40])
def test_rejects_ids_out_of_range(outside: int) -> None:
    with pytest.raises(ValueError, match=OUTSIDE):
        csr_transpose(torch.tensor([0, outside]), None, 3)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 3, 1, 4], r"offsets must not fall, got offsets\[1:3\] = \[3, 1\]"),
        ([1, 3, 4], "offsets must lead from 0 to 4, got 1 to 4"),
        ([0, 3], "offsets must lead from 0 to 4, got 0 to 3"),
        ([], r"offsets must be \(S \+ 1,\) int64, got \(0,\)"),
        ([[0, 4]], r"offsets must be \(S \+ 1,\) int64, got \(1, 2\)"),
    ],
)
def test_rejects_wrong_offsets(offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        csr_transpose(torch.zeros(4, dtype=torch.int64), torch.tensor(offsets, dtype=torch.int64), 1)


@pytest.mark.skipif(compiled == "none", reason="the references trust their lists")
@pytest.mark.parametrize("offsets", [[0, 3, 1, 4], [1, 3, 4], [0, 3], [0, 2**40, 4], [-5, 4]])
def test_kernels_check_offsets_too(offsets: list[int]) -> None:
    values, ids = torch.ones(1, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="offsets"):
        torch.ops.geoguide3d.csr_transpose(ids, torch.tensor(offsets), 1)
    with pytest.raises(ValueError, match="offsets"):
        torch.ops.geoguide3d.segment_sum(values, None, ids, torch.tensor(offsets), None)
    with pytest.raises(ValueError, match="offsets"):
        torch.ops.geoguide3d.segment_extremum(values, ids, torch.tensor(offsets), True, None)


def test_rejects_wrong_dtypes_counts_and_devices() -> None:
    ids = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"ids must be \(E,\) int64, got \(4,\) torch.int32"):
        csr_transpose(ids.int(), None, 1)
    with pytest.raises(ValueError, match=r"ids must be \(E,\) int64, got \(2, 2\)"):
        csr_transpose(ids.view(2, 2), None, 1)
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        csr_transpose(ids, None, -1)
    with pytest.raises(ValueError, match="offsets must be on cpu as values are, got meta"):
        csr_transpose(ids, torch.zeros(2, dtype=torch.int64, device="meta"), 1)
