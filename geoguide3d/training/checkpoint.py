"""Checkpoints that are whole or absent, and what a resumed run must have in common with them."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoguide3d.store.atomic import atomic_file
from geoguide3d.store.torch_files import read_torch_file


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers and strings; the file that was there is replaced once the new one is whole.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the earlier file is untouched.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content.getbuffer())
    except OSError as error:
        kept = f"the checkpoint of before is still at {path}" if path.is_file() else "there is none of before"
        raise OSError(
            f"{path}: the checkpoint of step {state['step']} could not be written ({error.strerror}); {kept}. "
            f"It takes {content.tell():,} bytes: free space and start the same command again"
        ) from error


def read_checkpoint(path: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns what `write_checkpoint` wrote.

    Args:
        settings: of the run that is to go on; the checkpoint's own are its entry "settings".

    Raises:
        ValueError: the file is damaged, or was written by a run with other settings.
    """
    try:
        state: dict[str, Any] = read_torch_file(path)
        written: dict[str, str] = state["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no checkpoint of this version ({error}); remove it to start anew") from None
    for name in sorted({*written, *settings}):
        was, now = written.get(name, "absent"), settings.get(name, "absent")
        if was != now:
            raise ValueError(
                f"{path}: was written with {name} = {was}, now it is {now}; go on with the settings it was started "
                "with, or name another folder"
            )
    return state


def named_settings(settings: Any) -> dict[str, str]:
    """Returns the fields of a dataclass by name, nested ones with dots, as JSON."""
    named: dict[str, str] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            named.update({f"{field.name}.{inner}": text for inner, text in named_settings(value).items()})
        else:
            named[field.name] = json.dumps(value, default=str)
    return named
