"""Encoders by name, as configurations and model folders write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from geoguide3d.encoders.precomputed import PrecomputedSettings, PrecomputedTeacher
from geoguide3d.encoders.protocols import Teacher2D, TextEncoder
from geoguide3d.encoders.room_clip import RoomClipImageEncoder, RoomClipTextEncoder
from geoguide3d.encoders.text_table import TextTable, TextTableSettings

TABLE_FILE = "text_table.npz"


@dataclass(frozen=True)
class TextSettings:
    """The text encoder that answers prompts.

    Args:
        kind: room_clip (the embedded demo model) or table (words and vectors from a file).
        table: the file, where kind is table.
    """

    kind: Literal["room_clip", "table"] = "room_clip"
    table: TextTableSettings = field(default_factory=TextTableSettings)


@dataclass(frozen=True)
class TeacherSettings:
    """The 2D encoder whose vectors are distilled.

    Args:
        kind: room_clip (the embedded demo model, reads the images) or precomputed (reads class probabilities).
        precomputed: the files, where kind is precomputed.
    """

    kind: Literal["room_clip", "precomputed"] = "room_clip"
    precomputed: PrecomputedSettings = field(default_factory=PrecomputedSettings)


def load_text_encoder(settings: TextSettings) -> TextEncoder:
    """Returns the text encoder of a configuration."""
    return TextTable.load(settings.table) if settings.kind == "table" else RoomClipTextEncoder.load()


def load_teacher(settings: TeacherSettings, scene_folder: Path, text: TextEncoder) -> Teacher2D:
    """Returns the teacher of one scene, in the text space of `text`.

    Raises:
        ValueError: the teacher's vectors are of another text space.
    """
    teacher: Teacher2D
    if settings.kind == "precomputed":
        teacher = PrecomputedTeacher.load(scene_folder, settings.precomputed, text)
    else:
        teacher = RoomClipImageEncoder.load()
    if teacher.text_space != text.text_space:
        raise ValueError(
            f"teacher.kind {settings.kind} speaks {teacher.text_space}, but text.kind answers in {text.text_space}; "
            "choose a text encoder of the teacher's space"
        )
    return teacher


def save_text_encoder(text: TextEncoder, folder: Path) -> dict[str, Any]:
    """Writes what `text` needs into a model folder and returns its record: kind, config and text space, JSON values."""
    if isinstance(text, TextTable):
        text.save(folder / TABLE_FILE)
        return {"kind": "table", "config": text.to_config(TABLE_FILE), "text_space": text.text_space}
    if isinstance(text, RoomClipTextEncoder):
        return {"kind": "room_clip", "config": {}, "text_space": text.text_space}
    raise ValueError(f"{type(text).__name__} has no place in a model folder yet: give it a kind in encoders/loading.py")


def restore_text_encoder(record: dict[str, Any], folder: Path) -> TextEncoder:
    """Returns the text encoder of a model folder's record; relative paths in it start at that folder.

    Raises:
        ValueError: a kind that this version does not know.
    """
    kind, config = record["kind"], record["config"]
    if kind == "table":
        return TextTable.load(TextTableSettings(**{**config, "path": str(folder / config["path"])}))
    if kind == "room_clip":
        return RoomClipTextEncoder.load()
    raise ValueError(f"{folder}: text encoder {kind!r} is unknown to this version; install a newer geoguide3d")
