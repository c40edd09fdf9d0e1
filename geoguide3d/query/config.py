"""config.json of a model folder: everything a model is, besides the adapter's weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.adapter import CONFIG_FILE, read_config

FORMAT_VERSION = 1


@dataclass(frozen=True)
class MaskRule:
    """When a point belongs to a prompt: its cosine reaches a threshold and leads over that of every negative.

    That is, cosine(point, prompt) ≥ threshold and cosine(point, prompt) > cosine(point, negative) + margin. A negative
    that means the same as the prompt is not used against it: "loveseat" must not lose against the negative "couch".

    Args:
        threshold: least cosine; None takes the `relevant_cosine` of the text encoder, and where that is None too, no
            cosine is too low.
        negatives: prompts for what a scene holds besides the answer, e.g. "wall", "floor", or the teacher's classes.
        margin: least lead over a negative. Below 0, it lets points through that the teacher was unsure about.
        same_meaning_cosine: cosine between two text vectors from which on they mean the same. In CLIP ViT-B/32, pairs
            of unrelated words have 0.61 to 0.86, couch and loveseat 0.94, armchair and chair 0.96.

    Raises:
        ValueError: a cosine outside [-1, 1].
    """

    threshold: float | None = None
    negatives: tuple[str, ...] = ()
    margin: float = 0.0
    same_meaning_cosine: float = 0.9

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("same_meaning_cosine", self.same_meaning_cosine)):
            if value is not None and not -1 <= value <= 1:
                raise ValueError(f"{name} is a cosine between -1 and 1, got {value}")


@dataclass(frozen=True)
class ModelConfig:
    """What a model folder records.

    Args:
        adapter: the adapter's sizes.
        backbone: the frozen backbone whose features the adapter reads.
        text: kind, config and text_space of the text encoder (`save_text_encoder`).
        mask_rule: when a point belongs to a prompt.
        prompt_template: how the names of a label set become prompts ("a {}"); typed prompts are asked as they are.
        versions: of geoguide3d and torch at training time.
    """

    adapter: dict[str, int]
    backbone: BackboneRecord
    text: dict[str, Any]
    mask_rule: MaskRule = field(default_factory=MaskRule)
    prompt_template: str = "a {}"
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes config.json into folder."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ModelConfig:
        """Returns the config of a model folder.

        Raises:
            FileNotFoundError: there is no config.json.
            ValueError: it is damaged, or of another format version.
        """
        path, content = folder / CONFIG_FILE, read_config(folder)
        version = content.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{path}: format version {version}, this geoguide3d reads {FORMAT_VERSION}; "
                "distil again, or install the version that wrote it (see `versions` in the file)"
            )
        try:
            rule, text = content.pop("mask_rule"), content.pop("text")
            return cls(
                backbone=BackboneRecord(**content.pop("backbone")),
                text={key: text[key] for key in ("kind", "config", "text_space")},
                mask_rule=MaskRule(**{**rule, "negatives": tuple(rule["negatives"])}),
                **content,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: misses or misspells an entry ({error}); restore the file or distil again"
            ) from None
