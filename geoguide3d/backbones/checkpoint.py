"""Reads checkpoints without running what they may carry: tensors and plain values, nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from geoguide3d.store.torch_files import HoldsObjects, read_torch_file

_log = logging.getLogger(__name__)
_NAMED = 6  # names that a message lists before it only counts
# What stands before a network's own names where the file holds more than the network. Pointcept: segmentors have their
# network as `backbone`, pre-training has it twice, and its evaluations read the student's. "net3d.": OpenScene's
# training. "model.": converted files.
_WRAPPERS = ("", "backbone.", "student.backbone.", "net3d.", "model.")
_DISTRIBUTED = "module."  # before all of that in checkpoints of distributed training


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        path: of the file.
        state_dict: parameters by name, on the CPU, in the file's dtype.
        config: of the network, as the file gives it; None where it has none.
    """

    path: Path
    state_dict: dict[str, Tensor]
    config: dict[str, Any] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint of a file: safetensors, or torch's format with {"config": …, "state_dict": …}.

    A file of torch's format may also hold the state_dict alone. Safetensors keep the config as JSON in the metadata's
    key "config".

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of neither format, one that holds code, or one without parameters.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    found, config = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path} holds no parameters, but {_listed(map(str, found)) or 'nothing'}")
    return Checkpoint(path, state, config)


def network_in(checkpoint: Checkpoint, names: Collection[str]) -> Checkpoint:
    """Returns the part of a checkpoint that is a network with these names, under these names.

    Checkpoints of training hold more: names begin with "module.", "backbone." or "student.backbone.", and beside the
    network there are heads, or the teacher's copy. The part that shares most names is taken, the rest is logged.
    """
    state = checkpoint.state_dict
    prefixes = [outer + wrapper for outer in ("", _DISTRIBUTED) for wrapper in _WRAPPERS]
    shared = [sum(prefix + name in state for name in names) for prefix in prefixes]
    prefix = prefixes[shared.index(max(shared))]  # the first of equals: nothing in common leaves the names as they are
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if left_out := [name for name in state if not name.startswith(prefix)]:
        _log.info("%s: the network is what begins with %r; left out: %s", checkpoint.path, prefix, _listed(left_out))
    return replace(checkpoint, state_dict=inside)


def load_parameters(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Puts the checkpoint's parameters into the network, all that are the network's (`network_in`), as float32.

    Raises:
        ValueError: names that only one of the two has, shapes that differ, or parameters that are not finite.
    """
    expected = network.state_dict()
    found = network_in(checkpoint, expected.keys()).state_dict
    shared = [name for name in expected if name in found]
    shapes = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(expected[name].shape)}"
        for name in shared
        if found[name].shape != expected[name].shape
    ]
    problems = {
        "lacks": sorted(expected.keys() - found.keys()),
        "has names that the network does not know": sorted(found.keys() - expected.keys()),
        "has other shapes": shapes,
        "holds inf or NaN in": [name for name in shared if not bool(found[name].isfinite().all())],
    }
    if any(problems.values()):
        told = "; ".join(f"{problem} {_listed(names)}" for problem, names in problems.items() if names)
        raise ValueError(
            f"{checkpoint.path} does not fit {type(network).__name__} ({len(shared)} of {len(expected)} names are in "
            f"both): it {told}. Is it a checkpoint of another architecture or size?"
        )
    state = {name: value.to(expected[name].dtype) for name, value in found.items()}
    network.load_state_dict(state, strict=True, assign=True)


def _read_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    if "config" not in metadata:
        return tensors, None
    try:
        config = json.loads(metadata["config"])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the metadata's config is not JSON: {error}") from error
    return tensors, _plain_config(path, config)


def _read_torch(path: Path) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    try:
        content = read_torch_file(path)
    except HoldsObjects as error:
        raise ValueError(
            f"{error}. If you trust its origin, convert it once: content = "
            'torch.load(path, map_location="cpu", weights_only=False); config = content.get("config"); '
            'torch.save({"config": config and dict(config), "state_dict": dict(content.get("state_dict", content))}, '
            "new_path)"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a config and a state_dict")
    config = _plain_config(path, content["config"]) if content.get("config") is not None else None
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: its state_dict is a {type(state).__name__}, not parameters by name")
    return state, config


def _plain_config(path: Path, config: object) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise ValueError(f"{path}: its config is a {type(config).__name__}, not keys and values")
    return {str(key): value for key, value in config.items()}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
