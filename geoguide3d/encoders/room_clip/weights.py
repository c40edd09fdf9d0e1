"""RoomCLIP on disk: float16 safetensors with the sizes in its metadata, and the vocabulary beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.vocabulary import Vocabulary
from geoguide3d.store.atomic import atomic_file

EMBEDDED_WEIGHTS = Path(__file__).with_name("room_clip.safetensors")
_FORMAT = "roomclip-1"  # the one key of the metadata (two would be written in any order); its value: the sizes


def vocabulary_path(weights: Path) -> Path:
    """Returns where the vocabulary of a weights file lies: beside it, under the same name."""
    return weights.with_suffix(".txt")


def write_room_clip(weights: Path, model: RoomClip, config: RoomClipConfig, vocabulary: Vocabulary) -> None:
    """Writes the weights file and the vocabulary beside it."""
    with atomic_file(vocabulary_path(weights)) as temporary:
        temporary.write_text(vocabulary.as_text(), encoding="utf-8")
    halves = {
        name: tensor.half().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()  # BatchNorm's step counters are of no use after training
    }
    with atomic_file(weights) as temporary:
        save_file(halves, temporary, metadata={_FORMAT: json.dumps(asdict(config))})


def read_room_clip(weights: Path | None = None) -> tuple[RoomClip, RoomClipConfig, Vocabulary]:
    """Returns the float32 model of a weights file (None: the embedded one), its sizes and its vocabulary.

    Raises:
        FileNotFoundError: no such file, or no vocabulary beside it.
        ValueError: a file of another format, or a vocabulary that is not the one of these weights.
    """
    path = weights or EMBEDDED_WEIGHTS
    for needed in (path, vocabulary_path(path)):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} is missing; tools/train_room_clip.py writes it")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if _FORMAT not in metadata:
            raise ValueError(f"{path}: not a RoomCLIP file (its metadata has {sorted(metadata)}, not {_FORMAT!r})")
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    sizes = json.loads(metadata[_FORMAT])
    config = RoomClipConfig(**{**sizes, "stages": tuple(sizes["stages"])})
    vocabulary = Vocabulary.read(vocabulary_path(path))
    if len(state["text.words.weight"]) != len(vocabulary):
        raise ValueError(
            f"{vocabulary_path(path)} has {len(vocabulary)} words, {path.name} was trained with "
            f"{len(state['text.words.weight'])}: take both from one training"
        )
    model = RoomClip(config, len(vocabulary))
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: tensors missing {missing}, not expected {unexpected}")
    return model.eval(), config, vocabulary
