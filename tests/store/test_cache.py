"""The cache: computed once, never for another input, whole whatever happens."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.store.cache import FeatureCache, FeaturePieces, content_key
from geoguide3d.store.feature_format import FeatureDescription

WHAT = FeatureDescription("geometric", "toy-net", channels=3)
ROWS = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 3


class Counted:
    """Computes features and counts how often it had to."""

    def __init__(self, features: Tensor | FeaturePieces = ROWS) -> None:
        self.features, self.calls = features, 0

    def __call__(self) -> Tensor | FeaturePieces:
        self.calls += 1
        return self.features


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_computes_once_and_gives_the_same_numbers_each_time(tmp_path: Path, dtype: torch.dtype) -> None:
    compute, cache = Counted(), FeatureCache(tmp_path / "new" / "cache", dtype)
    for _ in range(3):
        assert torch.equal(cache.get("key", WHAT, compute).rows(), ROWS.to(dtype))
    assert compute.calls == 1
    assert [path.name for path in cache.folder.iterdir()] == [f"key.{str(dtype)[6:]}.safetensors"]


def test_keys_and_dtypes_are_kept_apart(tmp_path: Path) -> None:
    compute = Counted()
    for key in ("a", "b"):
        for dtype in (torch.float16, torch.float32):
            assert FeatureCache(tmp_path, dtype).get(key, WHAT, compute).description.dtype == dtype
    assert compute.calls == 4


def test_repeated_rows_are_stored_once(tmp_path: Path) -> None:
    points = torch.arange(3000) % 100
    features = torch.randn(100, 64)[points]
    file = FeatureCache(tmp_path).get("key", FeatureDescription("geometric", "toy-net", 64), Counted(features))
    assert file.layout.stored_rows == 100
    assert torch.equal(file.rows(), features)


def test_pieces_are_written_as_they_come(tmp_path: Path) -> None:
    pieces = FeaturePieces((row.unsqueeze(0) for row in ROWS), torch.tensor([3, 1, 1, 0, 2]))
    file = FeatureCache(tmp_path).get("key", WHAT, Counted(pieces))
    assert torch.equal(file.rows(), ROWS[[3, 1, 1, 0, 2]])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "of another space"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    compute, cache = Counted(), FeatureCache(tmp_path)
    cache.get("key", WHAT, compute)
    path = cache.path("key")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    path.write_bytes({"truncated": content[:-5], "foreign": b"hello"}.get(damage, content))
    if damage == "of another space":
        path.write_bytes(content.replace(b'"toy-net"', b'"toy-not"'))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.get("key", WHAT, compute).rows(), ROWS)
    assert compute.calls == 2
    assert str(path) in caplog.text and "computed again" in caplog.text
    cache.get("key", WHAT, compute)
    assert compute.calls == 2


def test_a_failed_computation_leaves_nothing(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, torch.float16)
    with pytest.raises(ValueError, match=r"not finite as torch\.float16; store float32"):
        cache.get("key", WHAT, Counted(ROWS * 1e6))
    with pytest.raises(ZeroDivisionError):
        cache.get("key", WHAT, lambda: torch.zeros(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_wrong_caches_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"the cache .*file is a file; name a folder"):
        FeatureCache(tmp_path / "file")
    with pytest.raises(ValueError, match=r"holds float16 or float32, got torch\.int8"):
        FeatureCache(tmp_path, torch.int8)


def _fill(folder: str, start: object, process: int) -> None:
    start.wait()  # type: ignore[attr-defined]
    for round_ in range(20):
        file = FeatureCache(folder).get(f"key{round_}", WHAT, lambda: ROWS)
        file.verify()
        assert torch.equal(file.rows(), ROWS), process


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    processes = [context.Process(target=_fill, args=(str(tmp_path), start, n)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(list(tmp_path.iterdir())) == 20


@given(
    parts=st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5), max_size=4),
    others=st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5), max_size=4),
)
def test_keys_agree_exactly_where_the_parts_do(parts: dict[str, str | None], others: dict[str, str | None]) -> None:
    assert (content_key(parts) == content_key(others)) == (parts == others)
    assert content_key(parts) == content_key(dict(reversed(parts.items())))


def test_keys_tell_shapes_dtypes_and_absence_apart() -> None:
    zeros = torch.zeros(2, 3)
    values = [zeros, zeros.T, zeros.reshape(6), zeros.int(), zeros[:0], torch.eye(3)[:2], None, "", "none"]
    assert len({content_key({"a": value}) for value in values}) == len(values)
    assert content_key({"a": torch.eye(3)[:, :2]}) == content_key({"a": torch.eye(3)[:, :2].contiguous()})
