"""Finds the checkpoint of a backbone and checks that it is the one a model was made with."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEIGHTS_FOLDER_VARIABLE = "GEOGUIDE3D_WEIGHTS"


@dataclass(frozen=True)
class BackboneRecord:
    """What a model folder remembers of the backbone whose features it was trained on.

    Args:
        name: what `load_backbone` knows it by.
        config: the backbone's own config. The key "weights" may hold a path, the key "hub" a repository.
        sha256: hash of the checkpoint, 64 hexadecimal digits; None where nobody has recorded it.
        licence: licence of what computes the features: the checkpoint's, where there is one.
        file: name of the checkpoint's file; None for a backbone without weights.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    licence: str = ""
    file: str | None = None


def find_weights(record: BackboneRecord, argument: Path | None = None) -> Path | None:
    """Returns the path of the checkpoint, or None for a backbone without weights.

    Looked for in this order: argument, config["weights"], the folder $GEOGUIDE3D_WEIGHTS, the hub repository
    config["hub"]. A path that was named must exist: the search does not go on behind the user's back.

    Raises:
        FileNotFoundError: a named file is absent, or no place has the checkpoint (all places are listed).
        ValueError: the file's sha256 is not the record's, or weights are given for a backbone that has none.
        ImportError: the hub is the last resort and huggingface_hub is not installed.
    """
    if record.file is None:
        if argument is not None:
            raise ValueError(f"backbone {record.name!r} has no weights, but {argument} was given; leave the file out")
        return None
    path = _named_path(record, argument) or _from_folder(record.file) or _from_hub(record, record.file)
    if record.sha256 is not None:
        _check_hash(path, record.sha256)
    return path


def _named_path(record: BackboneRecord, argument: Path | None) -> Path | None:
    named = {"the argument": argument, "the config's key 'weights'": record.config.get("weights")}
    for origin, value in named.items():
        if value is not None:
            path = Path(value).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f"{path}, named by {origin} as the weights of {record.name!r}, does not exist")
            return path
    return None


def _from_folder(file: str) -> Path | None:
    folder = os.environ.get(WEIGHTS_FOLDER_VARIABLE)
    if not folder:
        return None
    path = Path(folder).expanduser() / file
    return path if path.is_file() else None


def _from_hub(record: BackboneRecord, file: str) -> Path:
    repository = record.config.get("hub")
    folder = os.environ.get(WEIGHTS_FOLDER_VARIABLE) or "not set"
    searched = (
        f"no weights for backbone {record.name!r}: no path was given, the config has no key 'weights', and "
        f"{file} is not in ${WEIGHTS_FOLDER_VARIABLE} ({folder})"
    )
    if repository is None:
        raise FileNotFoundError(f"{searched}; put {file} there or name its path")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(
            f"{searched}; fetching it from the hub ({repository}) needs `pip install huggingface_hub`"
        ) from error
    try:
        return Path(hf_hub_download(repo_id=repository, filename=file))
    except (OSError, ValueError) as error:  # offline, no such repository or file, licence not accepted
        raise FileNotFoundError(
            f"{searched}; the hub ({repository}) did not give it either: {error}. Without a network, copy {file} "
            f"into ${WEIGHTS_FOLDER_VARIABLE}"
        ) from error


def sha256_of(path: Path) -> str:
    """Returns the 64 hexadecimal digits that a record keeps of a checkpoint."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_hash(path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected.lower():
        raise ValueError(
            f"{path}: sha256 is {found}, but the model was made with {expected.lower()}; "
            "use the checkpoint named in the model's config.json"
        )
