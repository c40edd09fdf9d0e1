"""The adapter: the one trained part of a model, from geometric features to the space of the text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

# This module is imported by other people's pipelines and needs nothing but torch and safetensors: keep it so.

WEIGHTS_FILE = "adapter.safetensors"
CONFIG_FILE = "config.json"


class Adapter(nn.Module):
    """Linear(G → hidden) → LayerNorm → GELU → Linear(hidden → C), on standardised inputs.

    The output has no fixed length; compare it by cosine. Inputs are standardised by two buffers, the identity until
    `set_input_statistics`, because handcrafted features mix metres, angles and counts.

    `semantic_mean` (C,) is the mean unit vector of the teacher that the training took off both sides before comparing
    them; zeros where it did not. It is kept for those who compare as the training did; `forward` does not use it.

    Args:
        in_channels: G, the width of the geometric features.
        out_channels: C, the width of the text space.
        hidden_channels: width of the one hidden layer.
    """

    input_mean: Tensor
    input_scale: Tensor
    semantic_mean: Tensor

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int = 768) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.hidden_channels = in_channels, out_channels, hidden_channels
        self.register_buffer("input_mean", torch.zeros(in_channels))
        self.register_buffer("input_scale", torch.ones(in_channels))
        self.register_buffer("semantic_mean", torch.zeros(out_channels))
        self.expand = nn.Linear(in_channels, hidden_channels)
        self.norm = nn.LayerNorm(hidden_channels)
        self.project = nn.Linear(hidden_channels, out_channels)
        for layer in (self.expand, self.project):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        features: Tensor,  # (N, G)
    ) -> Tensor:
        """Returns (N, C) features in the text space, un-normalised.

        Raises:
            ValueError: features of another width.
        """
        if features.ndim != 2 or features.shape[1] != self.in_channels:
            raise ValueError(f"this adapter takes (N, {self.in_channels}) features, got {tuple(features.shape)}")
        inverse = self.input_scale.reciprocal()
        standardised = torch.addcmul(-self.input_mean * inverse, features, inverse)  # one pass over (N, G)
        hidden = self.expand(standardised)
        return self.project(nn.functional.gelu(self.norm(hidden)))  # type: ignore[no-any-return]

    def set_input_statistics(
        self,
        mean: Tensor,  # (G,)
        scale: Tensor,  # (G,) standard deviations
    ) -> None:
        """Makes the inputs be read as (features − mean) / scale; channels that do not vary keep scale 1."""
        self.input_mean.copy_(mean)
        self.input_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments that build this adapter again."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "hidden_channels": self.hidden_channels,
        }

    def save_weights(self, folder: str | os.PathLike[str]) -> None:
        """Writes adapter.safetensors into folder; config.json, which holds the sizes, is the model's to write."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        (Path(folder) / WEIGHTS_FILE).write_bytes(save(weights))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Adapter:
        """Returns the adapter of a model folder, on the CPU, in eval mode.

        Raises:
            FileNotFoundError: config.json or adapter.safetensors is missing.
            ValueError: either of them is damaged, or they do not belong together.
        """
        config = read_config(folder)
        path = Path(folder) / WEIGHTS_FILE
        try:
            adapter = cls(**config["adapter"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{Path(folder) / CONFIG_FILE}: no usable adapter sizes ({error}); distil again") from None
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; a model folder holds {WEIGHTS_FILE} and {CONFIG_FILE}")
        try:
            # Files of before this buffer hold adapters whose training did not centre.
            adapter.load_state_dict({"semantic_mean": adapter.semantic_mean, **load_file(path)})
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: does not hold the adapter that {CONFIG_FILE} describes: {reason}") from None
        return adapter.eval()


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns config.json of a model folder, a JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a JSON object.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; give the folder that tools/distill.py wrote as its --output")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); restore the file or distil again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(config).__name__}")
    return config
