"""Encoders with weights made of their names, so that a run of them can be recorded and compared anywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tests.backbones.seeded_weights import seeded_values


def name_seeded(module: nn.Module, seed: int, attention_gain: float = 2) -> dict[str, Tensor]:
    """Returns a state_dict for the module: weights of unit gain, those of queries, keys and values of attention_gain.

    A gain of 2 makes attention sharp, which shows positions well, and rounding too. Buffers stay as they are.
    """
    state = {}
    buffers = dict(module.named_buffers())
    for name, value in module.state_dict().items():
        if name in buffers:
            state[name] = buffers[name]
            continue
        offset, scale = (1.0, 0.2) if value.ndim == 1 and name.endswith("weight") else (0.0, 0.1)
        if value.ndim > 1:
            inputs = math.prod(value.shape[1:]) / (3 if value.ndim == 5 else 1)
            scale = math.sqrt(3 / inputs) * (attention_gain if ".qkv." in name else 1)
        values = seeded_values(name, value.numel(), seed, offset, scale)
        state[name] = torch.from_numpy(values).reshape(value.shape)
    return state
