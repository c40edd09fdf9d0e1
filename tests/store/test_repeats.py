"""Repeated rows are stored once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide3d.store import repeats
from geoguide3d.store.repeats import without_repeats


@settings(max_examples=60, deadline=None)
@given(
    points=st.integers(0, 60),
    groups=st.integers(1, 10),
    channels=st.integers(1, 40),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_gives_the_same_rows_back(points: int, groups: int, channels: int, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    group = torch.randint(groups, (points,), generator=generator)
    rows = torch.randn(groups, channels, generator=generator).to(dtype)[group]
    stored, inverse = without_repeats(rows)
    if inverse is None:
        assert stored is rows
    else:
        assert torch.equal(stored[inverse], rows)
        assert len(stored) <= len(group.unique())
        assert list(dict.fromkeys(inverse.tolist())) == list(range(len(stored)))


def test_each_row_is_stored_once_in_the_order_of_first_occurrence() -> None:
    rows = torch.arange(24.0).reshape(4, 6)
    stored, inverse = without_repeats(rows[[2, 0, 2, 2, 0, 3, 3]])
    assert torch.equal(stored, rows[[2, 0, 3]])
    assert inverse is not None
    assert inverse.tolist() == [0, 1, 0, 0, 1, 2, 2]


def test_different_rows_stay_as_they_are() -> None:
    rows = torch.randn(50, 4)
    assert without_repeats(rows) == (rows, None)


def test_signs_of_zero_are_kept() -> None:
    rows = torch.zeros(8, 4)
    rows[::2, 1] = -0.0
    stored, inverse = without_repeats(rows)
    assert inverse is not None
    assert torch.equal(stored[inverse].view(torch.int32), rows.view(torch.int32))


def test_equal_hashes_of_different_rows_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_hashes", lambda bits: torch.zeros(len(bits), dtype=torch.int64))
    rows = torch.randn(9000, 4)
    assert without_repeats(rows) == (rows, None)
