"""Features that are computed once: looked up by the content of everything that they depend on."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.store.feature_file import FeatureFile, write_features
from geoguide3d.store.feature_format import FEATURE_DTYPES, FeatureDescription
from geoguide3d.store.repeats import without_repeats

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeaturePieces:
    """Features on their way to a file.

    Args:
        pieces: (r, C) rows, one piece after another; each is asked for when the one before is on disk.
        inverse: (N,) the row that point n takes; None where point n takes row n.
    """

    pieces: Iterable[Tensor]
    inverse: Tensor | None = None


class FeatureCache:
    """A folder of feature files, one per key.

    Several processes may share it: files appear whole, by renaming. Two that miss the same key at once both compute
    it, and the later file replaces an equal one.

    Args:
        folder: made when the first file is written; files may be deleted at any time.
        dtype: of the stored features; float16 halves the bytes and rounds to 3 digits.

    Raises:
        ValueError: folder is a file, or features cannot be stored in that dtype.
    """

    def __init__(self, folder: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        self.folder, self.dtype = Path(folder), dtype
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"the cache {self.folder} is a file; name a folder")
        if dtype not in FEATURE_DTYPES.values():
            raise ValueError(f"a cache holds float16 or float32, got {dtype}")

    def path(self, key: str) -> Path:
        """Returns where the features of that key lie, or would."""
        return self.folder / f"{key}.{str(self.dtype).removeprefix('torch.')}.safetensors"

    def get(
        self,
        key: str,
        description: FeatureDescription,
        compute: Callable[[], Tensor | FeaturePieces],
    ) -> FeatureFile:
        """Returns the features of that key, computed and written where they are not there yet.

        What comes back is always what the file holds, so the first call gives the same numbers as the next. A hit
        is read once for its checksum; a damaged file, or one that says another description, is computed again with
        a warning.

        Args:
            key: from `content_key`, of all that the features depend on.
            description: of the features; the cache's dtype takes the place of its own.
            compute: gives (N, C) features, of which repeated rows are stored once, or pieces, stored as they come.

        Raises:
            ValueError: what compute gives does not fit the description, or has values that the dtype cannot hold.
        """
        path, description = self.path(key), replace(description, dtype=self.dtype)
        try:
            return _checked(path, description)
        except FileNotFoundError:
            pass
        except ValueError as error:
            _log.warning("%s; they are computed again", error)
        computed = compute()
        if isinstance(computed, Tensor):
            rows, inverse = without_repeats(computed.detach().cpu())
            computed = FeaturePieces([rows], inverse)
        with write_features(path, description, computed.inverse) as writer:
            for piece in computed.pieces:
                writer.add(piece)
        return FeatureFile(path)


def content_key(parts: Mapping[str, Tensor | str | None]) -> str:
    """Returns 64 hexadecimal digits that change whenever a part, its name, shape or dtype does; order is free."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        value = parts[name]
        if isinstance(value, Tensor):
            kind, data = f"{value.dtype} {tuple(value.shape)}", value.detach().cpu().contiguous().numpy().tobytes()
        else:
            kind, data = ("none", b"") if value is None else ("text", value.encode())
        digest.update(f"{len(name)} {name} {kind} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _checked(path: Path, description: FeatureDescription) -> FeatureFile:
    file = FeatureFile(path)
    if file.description != description:
        raise ValueError(f"{path}: holds {file.description}, expected {description}")
    file.verify()
    return file
