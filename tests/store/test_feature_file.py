"""Feature files: what goes in comes out, in any pieces, and anything else is refused by name."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from geoguide3d.store.feature_file import FeatureFile, write_features
from geoguide3d.store.feature_format import FeatureDescription

WHAT = FeatureDescription("geometric", "toy-net", channels=3, about={"licence": "Apache-2.0"})
ROWS = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 8
INVERSE = torch.tensor([3, 0, 0, 1, 3])


def write(path: Path, rows: Tensor, inverse: Tensor | None = None, **changes: object) -> FeatureFile:
    what = replace(WHAT, channels=rows.shape[1], **changes)  # type: ignore[arg-type]
    with write_features(path, what, inverse) as writer:
        writer.add(rows)
    return FeatureFile(path)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 7), max_size=4),
    channels=st.integers(1, 9),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    points=st.none() | st.integers(0, 30),
    seed=st.integers(0, 2**31),
)
def test_round_trip(sizes: list[int], channels: int, dtype: torch.dtype, points: int | None, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pieces = [torch.randn(size, channels, generator=generator) for size in sizes]
    rows = torch.cat([torch.zeros(0, channels), *pieces]).to(dtype)
    inverse = None
    if points is not None:
        inverse = torch.randint(len(rows), (points if len(rows) else 0,), generator=generator) if len(rows) else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.safetensors"
        with write_features(path, FeatureDescription("semantic", "clip", channels, dtype), inverse) as writer:
            for piece in pieces:
                writer.add(piece)
        file = FeatureFile(path)
        file.verify()
        expected = rows if inverse is None else rows[inverse]
        assert file.description == FeatureDescription("semantic", "clip", channels, dtype)
        assert len(file) == len(expected)
        assert torch.equal(file.rows(), expected)
        if len(expected):
            ids = torch.randint(len(expected), (5,), generator=generator)
            assert torch.equal(file.rows(ids), expected[ids])
            assert torch.equal(file.rows(ids.int()), expected[ids])
            assert torch.equal(file.rows(slice(1, None, 2)), expected[1::2])
            assert torch.equal(file.rows(slice(None, None, -1)), expected.flip(0))


def test_is_a_safetensors_file_that_others_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors", ROWS, INVERSE)
    with safe_open(tmp_path / "a.safetensors", "pt") as other:
        assert torch.equal(other.get_tensor("features"), ROWS.half())
        assert torch.equal(other.get_tensor("inverse"), INVERSE.int())
        metadata = other.metadata()
    assert metadata.pop("sha256") == file.layout.sha256
    assert metadata == {
        "format": "geoguide3d.features", "format_version": "1", "kind": "geometric", "space": "toy-net",
        "encoding": "plain", "channels": "3", "dtype": "float16", "rows": "5", "about.licence": "Apache-2.0",
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(space=st.text(min_size=1), about=st.dictionaries(st.text(), st.text(), max_size=4))
def test_any_words_survive(space: str, about: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "a", ROWS, INVERSE, space=space, about=about)
        assert (file.description.space, file.description.about) == (space, about)
        with safe_open(Path(folder) / "a", "pt") as other:
            assert other.metadata()["space"] == space


def test_a_header_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorten what `about` says"):
        write(tmp_path / "a", ROWS, about={"poem": "x" * 2**20})


def test_pieces_do_not_change_the_bytes(tmp_path: Path) -> None:
    write(tmp_path / "whole", ROWS)
    with write_features(tmp_path / "pieces", WHAT) as writer:
        for row in ROWS:
            writer.add(row.unsqueeze(0).double())
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_nodes_with_an_index_take_a_fifteenth_of_the_bytes(tmp_path: Path) -> None:
    nodes, points = torch.randn(100, 1088), torch.arange(1600) % 100
    small, large = write(tmp_path / "nodes", nodes, points), write(tmp_path / "points", nodes[points])
    assert torch.equal(small.rows(), large.rows())
    assert small.path.stat().st_size * 15 < large.path.stat().st_size


def test_rows_are_read_without_the_rest(tmp_path: Path) -> None:
    """A file with a hole of 96 GB: more than the memory, and reading it would take longer than a test may."""
    path, rows = tmp_path / "large", 2**33 + 1
    write(path, torch.zeros(1, 3), dtype=torch.float32)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    header["features"].update(shape=[rows, 3], data_offsets=[0, rows * 12])
    header["__metadata__"]["rows"] = str(rows)
    text = json.dumps(header).encode().ljust(1016)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.seek(1024 + (rows - 1) * 12)
        file.write(struct.pack("<3f", 1, 2, 3))
    features = FeatureFile(path)
    assert features.rows(torch.tensor([rows - 1, 0])).tolist() == [[1, 2, 3], [0, 0, 0]]
    assert features.rows(slice(rows - 1, rows)).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_both_index_types_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a"
    write(path, ROWS, INVERSE)
    content = path.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:begin])
    if dtype == torch.int64:
        header["inverse"].update(dtype="I64", data_offsets=[0, 40])
        header["features"]["data_offsets"] = [40, 64]
    text = json.dumps(header).encode().ljust(1016)
    path.write_bytes(
        struct.pack("<Q", len(text)) + text + INVERSE.to(dtype).numpy().tobytes() + ROWS.half().numpy().tobytes()
    )
    assert torch.equal(FeatureFile(path).rows(), ROWS.half()[INVERSE])


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inverse names row 3, but 2 rows were added"):
        write(tmp_path / "a", ROWS[:2], INVERSE)
    with (
        pytest.raises(ValueError, match=r"rows must be \(n, 3\) floats, got \(4, 2\)"),
        write_features(tmp_path / "a", WHAT) as writer,
    ):
        writer.add(ROWS[:, :2])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "dtype", "cure"),
    [(1e5, torch.float16, "store float32"), (torch.inf, torch.float32, "mend"), (torch.nan, torch.float16, "mend")],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, value: float, dtype: torch.dtype, cure: str) -> None:
    rows = ROWS.clone()
    rows[2, 1] = value
    with pytest.raises(ValueError, match=f"a feature of {value} is not finite as {dtype}; {cure}"):
        write(tmp_path / "a", rows, dtype=dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "other"}, "kind must be one of geometric, semantic, got 'other'"),
        ({"space": ""}, "space must name"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"dtype": torch.bfloat16}, "float16 or float32, got torch.bfloat16"),
        ({"encoding": "int8"}, "unknown encoding 'int8'; known: plain"),
    ],
)
def test_descriptions_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(WHAT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("inverse", [torch.tensor([0.0]), torch.zeros(1, 1, dtype=torch.int64), torch.tensor([-1])])
def test_an_index_is_checked(tmp_path: Path, inverse: Tensor) -> None:
    with pytest.raises(ValueError, match=r"inverse must (be \(N,\) int32 or int64|not name rows below 0), got"):
        write(tmp_path / "a", ROWS, inverse)


@pytest.mark.parametrize("ids", [torch.tensor([5]), torch.tensor([-1]), torch.tensor([1.0]), torch.tensor([[1]])])
def test_ids_are_checked(tmp_path: Path, ids: Tensor) -> None:
    file = write(tmp_path / "a", ROWS, INVERSE)
    with pytest.raises(ValueError, match=r"a: ids must be .*, got"):
        file.rows(ids)


def test_spaces_are_not_mixed(tmp_path: Path) -> None:
    file = write(tmp_path / "a", ROWS)
    file.require_space("geometric", "toy-net")
    for kind, space in (("geometric", "sonata"), ("semantic", "toy-net")):
        with pytest.raises(ValueError, match=f"holds geometric features of 'toy-net', {kind} ones of '{space}'"):
            file.require_space(kind, space)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent: no such feature file"):
        FeatureFile(tmp_path / "absent")


def in_header(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    assert len(old) == len(new)

    def change(content: bytes) -> bytes:
        assert content.count(old) == 1
        return content.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "not a feature file, or truncated"),
        (lambda content: content[:100], "not a feature file, or truncated"),
        (lambda content: content[:-1], "truncated or damaged"),
        (lambda content: content + b"x", "truncated or damaged"),
        (lambda content: b"\x89PNG\r\n\x1a\n" + content, "not a feature file, or truncated"),
        (lambda content: content[:8] + b"\xff" + content[9:], "no readable header"),
        (in_header(b'"geoguide3d.features"', b'"geoguide3d.featurez"'), "format 'geoguide3d.featurez'"),
        (in_header(b'"format_version": "1"', b'"format_version": "2"'), "format version 2, this geoguide3d reads 1"),
        (in_header(b'"plain"', b'"int8"\x20'), "unknown encoding 'int8', this geoguide3d reads plain"),
        (in_header(b'"channels": "3"', b'"channels": "4"'), "damaged header: 'channels' is 4"),
        (in_header(b'"rows": "5"', b'"rows": "6"'), "damaged header: 'rows' is 6, the rest of it says 5"),
        (in_header(b'"shape": [4, 3]', b'"shape": [3, 4]'), "damaged header"),
        (in_header(b'"shape": [4, 3]', b'"shape": [9, 3]'), "damaged header"),
        (in_header(b'"shape": [4, 3]', b'"shape": [4.,3]'), "readable header"),
        (in_header(b'"dtype": "F16"', b'"dtype": "F32"'), "damaged header"),
        (in_header(b'"dtype": "F16"', b'"dtype": "BF1"'), "damaged header"),
        (in_header(b'"geometric"', b'"geometrik"'), "damaged header"),
        (in_header(b'"features":', b'"featurez":'), "damaged header"),
    ],
)
def test_foreign_and_damaged_files_are_named(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "scene.safetensors"
    write(path, ROWS, INVERSE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"scene.safetensors: .*{message}.*; "):
        FeatureFile(path)


def test_a_foreign_safetensors_file_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"features": ROWS}, tmp_path / "a", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"a: format 'pt', a feature file has 'geoguide3d.features'"):
        FeatureFile(tmp_path / "a")


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_payload_escapes_verify(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "a", ROWS, INVERSE)
        content = bytearray(file.path.read_bytes())
        content[len(content) - 1 - place % file.layout.payload_bytes] ^= 1 << bit
        file.path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a: damaged: .*; compute the features again"):
            FeatureFile(file.path).verify()


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 10**6), place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_whatever_the_damage_the_error_is_a_value_error(cut: int, place: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        write(path, ROWS, INVERSE)
        content = bytearray(path.read_bytes())
        content[place % len(content)] = byte
        path.write_bytes(content[: len(content) - cut % len(content)] if cut % 2 else content)
        try:
            file = FeatureFile(path)
            file.verify()
            file.rows()
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_an_index_of_a_file_with_a_forged_checksum_is_still_checked(tmp_path: Path) -> None:
    file = write(tmp_path / "a", ROWS, INVERSE)
    content = bytearray(file.path.read_bytes())
    content[len(content) - file.layout.payload_bytes] = 200
    file.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a: damaged: its index must be in \[0, 4\), got 0 … 200"):
        FeatureFile(file.path).rows()
