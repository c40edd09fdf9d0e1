"""Weights made of nothing but names and a seed, the same on every machine (README of the fixtures' folder `backbones`).

Element i of the entry `name` takes the (i + 1)-th output z of SplitMix64 whose state starts at
seed · 2³² + crc32(name); its value is offset + scale · ((z >> 40) / 2²³ − 1), rounded once to float32.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def seeded_values(name: str, count: int, seed: int, offset: float, scale: float) -> np.ndarray:
    """Returns (count,) float32 values of the entry `name`."""
    base = np.uint64((seed * 2**32 + zlib.crc32(name.encode())) % 2**64)
    with np.errstate(over="ignore"):
        z = base + np.arange(1, count + 1, dtype=np.uint64) * _STEP
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return (offset + scale * unit).astype(np.float32)


def check(entry: dict[str, Any], values: np.ndarray) -> None:
    """Raises AssertionError where values are not those whose checks the fixture recorded."""
    doubles = values.astype(np.float64).ravel()
    first = entry["first3"]
    assert doubles[: len(first)].tolist() == first, entry["name"]
    np.testing.assert_allclose([doubles.sum(), doubles @ doubles], [entry["sum"], entry["sumsq"]], rtol=1e-9, atol=1e-9)


def seeded_state_dict(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns (config, state_dict) of a fixture's `params.json` or `config.json`, every entry checked.

    Entries of integers are BatchNorm's counters, which are 0.
    """
    description = json.loads(file.read_text())
    state = {}
    for entry in description["params"]:
        if entry["dtype"] != "float32":
            state[entry["name"]] = torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"]))
            continue
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = seeded_values(entry["name"], count, description["recipe_seed"], entry["offset"], entry["scale"])
        check(entry, values)
        state[entry["name"]] = torch.from_numpy(values).reshape(entry["shape"])
    return description["config"], state
