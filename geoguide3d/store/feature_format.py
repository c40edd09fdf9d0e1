"""The feature file, version 1: what its header says, and how wrong ones are refused. docs/formats.md has the layout."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

FORMAT = "geoguide3d.features"
FORMAT_VERSION = 1
PLAIN = "plain"  # rows as they are; later encodings get names of their own
ENCODINGS = (PLAIN,)
KINDS = ("geometric", "semantic")
FEATURE_DTYPES = {"F16": torch.float16, "F32": torch.float32}
INDEX_DTYPES = {"I32": torch.int32, "I64": torch.int64}

_ALIGNMENT = 64
_LARGEST_HEADER = 1 << 20
_ABOUT = "about."
_CURE = "write it again with this version of geoguide3d"


@dataclass(frozen=True)
class FeatureDescription:
    """What the numbers of a feature file are.

    Args:
        kind: "geometric" (a 3D backbone's) or "semantic" (of a text space).
        space: the backbone's id or the text space's; only features of equal space are compared.
        channels: C.
        dtype: of the stored rows, float16 or float32.
        encoding: how a row is stored; "plain" is the only one of version 1.
        about: further remarks, such as the licence of the features.

    Raises:
        ValueError: a value that a file cannot have.
    """

    kind: str
    space: str
    channels: int
    dtype: torch.dtype = torch.float16
    encoding: str = PLAIN
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.space:
            raise ValueError("space must name the backbone or the text space, got an empty name")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")
        if self.dtype not in FEATURE_DTYPES.values():
            raise ValueError(f"features are stored as float16 or float32, got {self.dtype}")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"unknown encoding {self.encoding!r}; known: {', '.join(ENCODINGS)}")


@dataclass(frozen=True)
class FeatureLayout:
    """A file's header: the description, and where the numbers lie.

    Args:
        stored_rows: R, rows of the tensor `features`.
        index_dtype: of `inverse`; None where row n of the file is row n of `features`.
        index_rows: N, length of `inverse`.
        sha256: of all bytes behind the header, 64 hexadecimal digits.
    """

    description: FeatureDescription
    stored_rows: int
    index_dtype: torch.dtype | None
    index_rows: int
    sha256: str

    @property
    def rows(self) -> int:
        """Rows that a reader sees: N where there is an index, else R."""
        return self.stored_rows if self.index_dtype is None else self.index_rows

    @property
    def index_bytes(self) -> int:
        """Bytes of `inverse`, which comes first: with at least 4 bytes an entry it leaves the features aligned."""
        return 0 if self.index_dtype is None else self.index_rows * self.index_dtype.itemsize

    @property
    def payload_bytes(self) -> int:
        """Bytes behind the header."""
        return self.index_bytes + self.stored_rows * self.description.channels * self.description.dtype.itemsize


def header_bytes(layout: FeatureLayout, length: int = 0) -> bytes:
    """Returns the file's first bytes: the length of the JSON, and the JSON, padded with spaces.

    Args:
        length: of the bytes to return; 0 takes the next multiple of 64, so that what follows is aligned.

    Raises:
        ValueError: the header is larger than length.
    """
    what = layout.description
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "kind": what.kind,
        "space": what.space,
        "encoding": what.encoding,
        "channels": str(what.channels),
        "dtype": str(what.dtype).removeprefix("torch."),
        "rows": str(layout.rows),
        "sha256": layout.sha256,
        **{_ABOUT + key: value for key, value in what.about.items()},
    }
    content: dict[str, Any] = {"__metadata__": metadata}
    begin, end = layout.index_bytes, layout.payload_bytes
    if layout.index_dtype is not None:
        content["inverse"] = _entry(INDEX_DTYPES, layout.index_dtype, [layout.index_rows], 0, begin)
    content["features"] = _entry(FEATURE_DTYPES, what.dtype, [layout.stored_rows, what.channels], begin, end)
    text = json.dumps(content).encode()
    length = length or math.ceil((8 + len(text)) / _ALIGNMENT) * _ALIGNMENT
    if 8 + len(text) > length or length > _LARGEST_HEADER:
        raise ValueError(f"the header has {len(text)} bytes, more than fit; shorten what `about` says")
    return struct.pack("<Q", length - 8) + text.ljust(length - 8)


def _entry(names: dict[str, torch.dtype], dtype: torch.dtype, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    name = next(name for name, known in names.items() if known == dtype)
    return {"dtype": name, "shape": shape, "data_offsets": [begin, end]}


def read_header(file: BinaryIO, path: Path) -> tuple[FeatureLayout, int]:
    """Returns the header and the place in the file where the payload begins.

    Raises:
        ValueError: not a feature file, one of another version or encoding, damaged, or truncated.
    """
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= _LARGEST_HEADER or 8 + length > size:
        raise ValueError(f"{path}: not a feature file, or truncated: {size} bytes, a header of {length}; {_CURE}")
    try:
        content = json.loads(file.read(length))
        metadata = content["__metadata__"]
        found = metadata.get("format")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: not a feature file of geoguide3d: no readable header; {_CURE}") from None
    if found != FORMAT:
        raise ValueError(f"{path}: format {found!r}, a feature file has {FORMAT!r}; name a file that geoguide3d wrote")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise ValueError(
            f"{path}: format version {metadata.get('format_version')}, this geoguide3d reads {FORMAT_VERSION}; "
            "write it again, or install the version that wrote it"
        )
    if metadata.get("encoding") not in ENCODINGS:
        raise ValueError(
            f"{path}: unknown encoding {metadata.get('encoding')!r}, this geoguide3d reads {', '.join(ENCODINGS)}; "
            "write it again, or install a newer version"
        )
    layout = _parse(content, metadata, path)
    promised = 8 + length + layout.payload_bytes
    if size != promised:
        raise ValueError(f"{path}: truncated or damaged: {size} bytes, its header promises {promised}; {_CURE}")
    return layout, 8 + length


def _parse(content: dict[str, Any], metadata: dict[str, str], path: Path) -> FeatureLayout:
    try:
        features, inverse = content["features"], content.get("inverse")
        stored_rows, channels = features["shape"]
        sizes = [stored_rows, channels, *(() if inverse is None else inverse["shape"])]
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError(f"sizes {sizes}")
        dtype = FEATURE_DTYPES[features["dtype"]]
        about = {key.removeprefix(_ABOUT): value for key, value in metadata.items() if key.startswith(_ABOUT)}
        layout = FeatureLayout(
            FeatureDescription(metadata["kind"], metadata["space"], channels, dtype, metadata["encoding"], about),
            stored_rows,
            None if inverse is None else INDEX_DTYPES[inverse["dtype"]],
            0 if inverse is None else inverse["shape"][0],
            metadata["sha256"],
        )
        # Writing is the one place that knows the layout: what it would write for this header must be what was read.
        expected = json.loads(header_bytes(layout)[8:])
    except (KeyError, TypeError, ValueError, IndexError, StopIteration, AttributeError) as error:
        raise ValueError(f"{path}: damaged header ({type(error).__name__}: {error}); {_CURE}") from None
    for name in sorted({*content, *expected, *metadata, *expected["__metadata__"]} - {"__metadata__"}):
        found, wanted = (held.get(name, held["__metadata__"].get(name, "nothing")) for held in (content, expected))
        if found != wanted:
            raise ValueError(f"{path}: damaged header: {name!r} is {found}, the rest of it says {wanted}; {_CURE}")
    return layout
