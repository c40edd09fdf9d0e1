"""Writes features of a scene in pieces, and reads any rows of them without reading the rest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.feature_format import (
    INDEX_DTYPES,
    FeatureDescription,
    FeatureLayout,
    header_bytes,
    read_header,
)

_NO_SUM = "0" * 64
_MOST_ROWS = 10**18  # more digits than any file needs: the header's place is kept before its numbers are known
_PIECE_BYTES = 1 << 24


class FeatureWriter:
    """Takes the rows of one feature file, one piece after another; `write_features` makes it."""

    def __init__(self, file: BinaryIO, description: FeatureDescription, inverse: Tensor | None) -> None:
        self._file, self._description, self._sum = file, description, hashlib.sha256()
        self._stored_rows, self._index_rows, self._least_rows = 0, 0, 0
        self._index_dtype: torch.dtype | None = None
        if inverse is not None:
            self._least_rows = _index_end(inverse)
            self._index_dtype = torch.int32 if self._least_rows < 2**31 else torch.int64
            self._index_rows = len(inverse)
        widest = replace(self._layout(_NO_SUM), stored_rows=_MOST_ROWS)
        self._header_length = len(header_bytes(widest))
        file.write(bytes(self._header_length))
        if inverse is not None:
            self._append(inverse.to(self._index_dtype))

    def add(
        self,
        rows: Tensor,  # (n, C) any float dtype
    ) -> None:
        """Appends rows, rounded to the file's dtype.

        Raises:
            ValueError: another width, no floats, or a value that is not finite in the file's dtype.
        """
        what = self._description
        if rows.ndim != 2 or rows.shape[1] != what.channels or not rows.is_floating_point():
            raise ValueError(f"rows must be (n, {what.channels}) floats, got {tuple(rows.shape)} {rows.dtype}")
        count = max(1, _PIECE_BYTES // (what.channels * 4))
        for piece in torch.split(rows.detach(), count):
            stored = piece.to(device="cpu", dtype=what.dtype)
            if not bool(stored.isfinite().all()):
                worst = piece.reshape(-1)[int((~stored.isfinite()).to(torch.uint8).argmax())].item()
                cure = "store float32" if np.isfinite(worst) else "mend what computed it"
                raise ValueError(f"a feature of {worst} is not finite as {what.dtype}; {cure}")
            self._append(stored)
        self._stored_rows += len(rows)

    def finish(self) -> None:
        """Writes the header, with the number of rows and the checksum.

        Raises:
            ValueError: the index names rows that were not added.
        """
        if self._least_rows > self._stored_rows:
            raise ValueError(f"inverse names row {self._least_rows - 1}, but {self._stored_rows} rows were added")
        self._file.seek(0)
        self._file.write(header_bytes(self._layout(self._sum.hexdigest()), self._header_length))

    def _layout(self, sha256: str) -> FeatureLayout:
        return FeatureLayout(self._description, self._stored_rows, self._index_dtype, self._index_rows, sha256)

    def _append(self, values: Tensor) -> None:
        data = values.detach().cpu().contiguous().numpy().data.cast("B") if values.numel() else b""
        self._sum.update(data)
        self._file.write(data)


@contextmanager
def write_features(
    path: str | os.PathLike[str],
    description: FeatureDescription,
    inverse: Tensor | None = None,  # (N,) int32 or int64
) -> Iterator[FeatureWriter]:
    """Gives a writer; on leaving without an exception the file is at path, whole. Pieces are not kept in memory.

    Args:
        inverse: row of the added ones that point n takes, for features that are constant over groups of points;
            None where every point has a row of its own. Stored as int32 where that holds it.

    Raises:
        ValueError: an index that is no vector of integers, or names rows below 0 or rows that were not added.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        writer = FeatureWriter(file, description, inverse)
        yield writer
        writer.finish()


class FeatureFile:
    """A feature file, mapped into memory: what is not asked for is not read.

    Attributes:
        path: of the file.
        layout: its header.
        stored: (R, C) the stored rows, mapped, not writable.
        inverse: (N,) the stored row of each point, mapped, not writable; None where every point has its own.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file and checks its header and its length, not its checksum.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a feature file, one of another version or encoding, damaged or truncated.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such feature file")
        with self.path.open("rb") as file:
            self.layout, begin = read_header(file, self.path)
            # Read-only, and so in numpy: torch maps copy-on-write alone, which Linux refuses to files beyond the RAM.
            self._bytes: np.ndarray[Any, np.dtype[np.uint8]] = (
                np.memmap(file, dtype=np.uint8, mode="r", offset=begin)
                if self.layout.payload_bytes
                else np.empty(0, dtype=np.uint8)
            )
        end, what, index = self.layout.index_bytes, self.layout.description, self.layout.index_dtype
        shape = (self.layout.stored_rows, what.channels)
        self.stored = self._bytes[end:].view(_numpy_name(what.dtype)).reshape(shape)
        self.inverse = None if index is None else self._bytes[:end].view(_numpy_name(index))

    @property
    def description(self) -> FeatureDescription:
        """What the numbers are."""
        return self.layout.description

    def __len__(self) -> int:
        return self.layout.rows

    def rows(
        self,
        which: slice | Tensor = slice(None),  # (n,) int64
    ) -> Tensor:
        """Returns (n, C) rows in the file's dtype, a copy. The file is read where these rows lie.

        Raises:
            ValueError: ids that are no (n,) integers in [0, len(self)), or an index that names rows the file has not.
        """
        place = which if isinstance(which, slice) else self._checked_ids(which)
        if self.inverse is not None:
            place = self.inverse[place]
            _check_range(place, self.layout.stored_rows, f"{self.path}: damaged: its index must be")
        if isinstance(place, slice):
            return torch.from_numpy(np.array(self.stored[place], order="C"))
        return torch.from_numpy(self.stored.take(place, axis=0))

    def _checked_ids(self, ids: Tensor) -> np.ndarray[Any, Any]:
        if ids.ndim != 1 or ids.dtype not in INDEX_DTYPES.values():
            raise ValueError(f"{self.path}: ids must be (n,) int32 or int64, got {tuple(ids.shape)} {ids.dtype}")
        _check_range(ids.cpu().numpy(), len(self), f"{self.path}: ids must be")
        return ids.cpu().numpy()

    def require_space(self, kind: str, space: str) -> None:
        """Passes where the features are of that kind and space.

        Raises:
            ValueError: they are not, so no comparison with them means anything.
        """
        found = (self.description.kind, self.description.space)
        if found != (kind, space):
            raise ValueError(
                f"{self.path}: holds {found[0]} features of {found[1]!r}, {kind} ones of {space!r} are needed; "
                "name a file of that space, or compute the features again"
            )

    def verify(self) -> None:
        """Reads the whole file and compares its checksum.

        Raises:
            ValueError: its bytes are not the ones that were written, or its index names rows that it has not.
        """
        checksum = hashlib.sha256()
        for begin in range(0, len(self._bytes), _PIECE_BYTES):
            checksum.update(self._bytes[begin : begin + _PIECE_BYTES].data)
        if checksum.hexdigest() != self.layout.sha256:
            raise ValueError(
                f"{self.path}: damaged: sha256 of its payload is {checksum.hexdigest()}, its header says "
                f"{self.layout.sha256}; compute the features again"
            )
        if self.inverse is not None:
            _check_range(self.inverse, self.layout.stored_rows, f"{self.path}: damaged: its index must be")


def _numpy_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _check_range(ids: np.ndarray[Any, Any], end: int, claim: str) -> None:
    if ids.size:
        least, largest = int(ids.min()), int(ids.max())
        if least < 0 or largest >= end:
            raise ValueError(f"{claim} in [0, {end}), got {least} … {largest}")


def _index_end(inverse: Tensor) -> int:
    """Returns one more than the largest row that the index names."""
    if inverse.ndim != 1 or inverse.dtype not in INDEX_DTYPES.values():
        raise ValueError(f"inverse must be (N,) int32 or int64, got {tuple(inverse.shape)} {inverse.dtype}")
    if inverse.numel() == 0:
        return 0
    least, largest = (int(value) for value in inverse.aminmax())
    if least < 0:
        raise ValueError(f"inverse must not name rows below 0, got {least}")
    return largest + 1
