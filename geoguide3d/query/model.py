"""GeoGuide: the model a user holds. A scene and words in, scores and masks per point out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

import geoguide3d
from geoguide3d.backbones.cached import EncodingSettings, with_encoding
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.weights import BackboneRecord, find_weights
from geoguide3d.distillation.adapter import CONFIG_FILE, WEIGHTS_FILE, Adapter
from geoguide3d.encoders.loading import TABLE_FILE, restore_text_encoder, save_text_encoder
from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.ops import cosine_scores
from geoguide3d.query.config import MaskRule, ModelConfig
from geoguide3d.query.result import QueryResult, answer, rival_scores
from geoguide3d.scenes.scene import Scene

MODEL_FILES = (WEIGHTS_FILE, CONFIG_FILE, TABLE_FILE)
_ROWS_AT_ONCE = 16_384  # points that pass the adapter together: 50 MB of hidden activations


class GeoGuide:
    """A frozen 3D backbone, a trained adapter and a text encoder.

    Args:
        adapter: from the backbone's features to the text space.
        backbone: the frozen network.
        config: the rest of what the model folder records.
        folder: where files that the config names lie.

    Raises:
        ValueError: the backbone's features are of another width than the adapter reads.
    """

    def __init__(self, adapter: Adapter, backbone: FrozenBackbone, config: ModelConfig, folder: Path) -> None:
        if backbone.channels != adapter.in_channels:
            raise ValueError(
                f"{folder / CONFIG_FILE}: the adapter reads {adapter.in_channels} channels, backbone "
                f"{backbone.name!r} gives {backbone.channels}; use the backbone it was trained on, or distil again"
            )
        self.adapter, self.backbone, self.config, self.folder = adapter.eval(), backbone, config, folder
        self._vectors: dict[str, Tensor] = {}

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        backbone: FrozenBackbone | str | os.PathLike[str] | None = None,
        encoding: EncodingSettings | None = None,
    ) -> GeoGuide:
        """Returns the model of a folder that tools/distill.py wrote, on the CPU.

        Args:
            backbone: path of the backbone's checkpoint, or the backbone itself; None looks where `find_weights` says.
            encoding: a cache, tiles and a device for the backbone that is loaded here; None uses none of them.

        Raises:
            FileNotFoundError: a file of the folder or the checkpoint is missing.
            ValueError: another format version, sizes that do not fit together, a checkpoint of another hash, or an
                encoding for a backbone that was given as an object; wrap that with `with_encoding`.
        """
        folder = Path(path)
        config, adapter = ModelConfig.read(folder), Adapter.from_pretrained(folder)
        if backbone is None or isinstance(backbone, str | os.PathLike):
            weights = find_weights(config.backbone, None if backbone is None else Path(backbone))
            device = None if encoding is None else encoding.device
            backbone = load_backbone(config.backbone.name, config.backbone.config, weights, device)
            backbone = backbone if encoding is None else with_encoding(backbone, encoding, weights)
        elif encoding is not None:
            raise ValueError(f"encoding was given beside the backbone {backbone.name!r}; wrap it with with_encoding")
        return cls(adapter, backbone, config, folder)

    @cached_property
    def text(self) -> TextEncoder:
        """The text encoder, loaded on first use.

        Raises:
            ValueError: it is of another text space or width than the adapter was taught.
        """
        text = restore_text_encoder(self.config.text, self.folder)
        for name, found, expected in (
            ("text space", text.text_space, self.config.text["text_space"]),
            ("width", text.channels, self.adapter.out_channels),
        ):
            if found != expected:
                raise ValueError(
                    f"{self.folder / CONFIG_FILE}: the adapter was taught {name} {expected}, "
                    f"the text encoder has {found}; use the one it was trained with, or distil again"
                )
        return text

    @torch.no_grad()
    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, C) float32 features in the text space, in the order of scene.points, un-normalised."""
        return self.adapt(self.backbone.encode(scene))

    @torch.no_grad()
    def adapt(
        self,
        features: Tensor,  # (N, G)
    ) -> Tensor:
        """Returns (N, C) float32 features in the text space, un-normalised, of what the backbone says of points."""
        encoded = features.new_empty((len(features), self.adapter.out_channels), dtype=torch.float32)
        for start in range(0, len(features), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            encoded[rows] = self.adapter(features[rows].to(torch.float32))
        return encoded

    def query(self, scene: Scene | Tensor, prompts: Sequence[str]) -> QueryResult:
        """Returns scores, masks and labels per point.

        Args:
            scene: a scene, or what `encode` returned for it, (N, C).
            prompts: asked as they are; see MaskRule for what makes a mask.

        Raises:
            ValueError: no prompts, an empty one, one the text encoder cannot answer, or features of another width.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts must be a list of strings, got the string {prompts!r}; write [{prompts!r}]")
        vectors = self.text_vectors(prompts)
        features = self.encode(scene) if isinstance(scene, Scene) else scene
        if features.ndim != 2 or features.shape[1] != self.adapter.out_channels:
            raise ValueError(f"encoded features must be (N, {self.adapter.out_channels}), got {tuple(features.shape)}")
        rule = self.config.mask_rule
        threshold = self.text.relevant_cosine if rule.threshold is None else rule.threshold
        scores, rivals = cosine_scores(features, vectors), self._rival_scores(features, vectors)
        return answer(prompts, scores, rivals + rule.margin, -torch.inf if threshold is None else threshold)

    def _rival_scores(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Returns (N, K): the largest cosine with a negative that means something else, -inf where none does."""
        rule = self.config.mask_rule
        if not rule.negatives:
            return vectors.new_full((len(features), len(vectors)), -torch.inf)
        negatives = self.text_vectors(rule.negatives)
        opposed = cosine_scores(negatives, vectors) < rule.same_meaning_cosine
        return rival_scores(cosine_scores(features, negatives), opposed)

    def text_vectors(self, prompts: Sequence[str]) -> Tensor:
        """Returns (K, C) float32 unit vectors of the prompts; each prompt is encoded once in the model's life.

        Raises:
            ValueError: no prompts, an empty one, or one the text encoder cannot answer.
        """
        if not prompts or not all(prompt.strip() for prompt in prompts):
            raise ValueError(f"a prompt is empty or missing in {list(prompts)}; write for instance 'a chair'")
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._vectors]
        if new:
            self._vectors.update(zip(new, self.text.encode_text(new), strict=True))
        return torch.stack([self._vectors[prompt] for prompt in prompts])


def save_model(
    folder: Path,  # exists; usually the temporary folder of atomic_folder
    adapter: Adapter,
    backbone: BackboneRecord,
    text: TextEncoder,
    mask_rule: MaskRule,
    prompt_template: str,
) -> None:
    """Writes adapter.safetensors, config.json and what the text encoder needs into folder."""
    adapter.save_weights(folder)
    config = ModelConfig(
        adapter=adapter.sizes,
        backbone=backbone,
        text=save_text_encoder(text, folder),
        mask_rule=mask_rule,
        prompt_template=prompt_template,
        versions={"geoguide3d": geoguide3d.__version__, "torch": torch.__version__},
    )
    config.write(folder)
