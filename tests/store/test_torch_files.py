"""Files of torch.save: tensors and arrays come back, objects are refused and do not run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoguide3d.store.torch_files import HoldsObjects, numbers_of, read_torch_file

NUMBERS = st.sampled_from([np.bool_, np.int8, np.int64, np.uint8, np.uint16, np.float16, np.float32, np.float64])
BOTH_FORMATS = pytest.mark.parametrize("as_zip", [True, False])


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("a file ran code",))


def save(content: object, path: Path, as_zip: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)


@BOTH_FORMATS
@given(data=st.data())
def test_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, as_zip: bool, data: Any) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.pth"
    shape = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    array = data.draw(arrays.arrays(data.draw(NUMBERS), shape))
    save((array, np.asfortranarray(array), 0), path, as_zip)
    back, transposed, scalar = read_torch_file(path)
    for found in (back, transposed):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert scalar == 0


@BOTH_FORMATS
def test_tensors_and_numbers_in_dictionaries_come_back(tmp_path: Path, as_zip: bool) -> None:
    save({"feat": torch.ones(2, 3), "best": np.float64(0.5), "n": np.int64(3)}, tmp_path / "a.pt", as_zip)
    back = read_torch_file(tmp_path / "a.pt")
    assert torch.equal(back["feat"], torch.ones(2, 3))
    assert (back["best"], back["n"]) == (0.5, 3)


@BOTH_FORMATS
@pytest.mark.parametrize(
    "content", [Payload(), {"a": [Path("x")]}, np.array([Payload()], dtype=object), np.array(["word"])]
)
def test_objects_are_refused_and_do_not_run(
    tmp_path: Path, as_zip: bool, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    save(content, tmp_path / "a.pth", as_zip)
    with pytest.raises(HoldsObjects, match=r"a\.pth is refused: .* whatever code is in the file"):
        read_torch_file(tmp_path / "a.pth")
    assert "ran code" not in capsys.readouterr().out


@BOTH_FORMATS
@given(cut=st.floats(0, 0.999), place=st.floats(0, 0.999), byte=st.integers(0, 255))
def test_whatever_the_damage_the_error_is_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, as_zip: bool, cut: float, place: float, byte: int
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.pth"
    save((np.arange(6.0).reshape(2, 3), torch.ones(2)), path, as_zip)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = byte
    for damaged in (bytes(content[: int(cut * len(content))]), bytes(content)):
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            read_torch_file(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy's, as the array is freed
@pytest.mark.parametrize("flags", [1, 2, 4, 0x3F, 0x7F])
def test_an_array_with_forged_flags_is_no_array_of_objects(tmp_path: Path, flags: int) -> None:
    """numpy's own flag for objects is one byte of the pickle, behind the type's byte order, names and sizes."""
    save(np.arange(3), tmp_path / "a.pth", as_zip=False)
    before = b"(K\x03X\x01\x00\x00\x00<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"
    content = (tmp_path / "a.pth").read_bytes()
    assert content.count(before + b"\x00") == 1
    (tmp_path / "a.pth").write_bytes(content.replace(before + b"\x00", before + bytes([flags])))
    with contextlib.suppress(ValueError):
        assert not read_torch_file(tmp_path / "a.pth").dtype.hasobject


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        read_torch_file(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.5, 2.0], ">f4"),
        torch.tensor([1.5, 2.0], dtype=torch.bfloat16),
        torch.tensor([1.5, 2.0], requires_grad=True),
    ],
)
def test_numbers_of_arrays_and_of_tensors_that_numpy_has_not(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "a.pt"
    torch.save(value, path)
    found = numbers_of(read_torch_file(path), "ids", path)
    assert found.dtype.isnative
    assert found.tolist() == [1.5, 2.0]


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.eye(2).to_sparse(), "must be a dense tensor of numbers, got torch.float32, torch.sparse_coo; save its"),
        (torch.ones(2, dtype=torch.complex64), "must be an array or a tensor of numbers, got complex64"),
        ([1, 2], "must be an array or a tensor of numbers, got list"),
    ],
)
def test_what_holds_no_numbers_is_named_with_its_file(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.pt: the ids {message}"):
        numbers_of(value, "the ids", tmp_path / "a.pt")


@pytest.mark.parametrize("wrap", [list, tuple, lambda arrays: {"a": arrays}, lambda arrays: [{"a": (arrays,)}]])
def test_arrays_of_words_are_refused_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: Any
) -> None:
    """A damaged file can make them: numpy knows types by letters that the unpickler never sees."""
    (tmp_path / "a.pt").touch()
    monkeypatch.setattr(torch, "load", lambda *_, **__: wrap([np.zeros(2), np.array(["word"])]))
    with pytest.raises(ValueError, match=r"a\.pt holds an array that is not of numbers, or is damaged"):
        read_torch_file(tmp_path / "a.pt")
