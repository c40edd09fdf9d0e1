"""From the parameter names of torch-pointcloud's own files to upstream's, which our networks have.

Facts of torch-pointcloud 0.0.18 (Apache-2.0): its files of Sonata, Concerto, Utonia and SpUNet hold upstream's
parameters under other names; the mask token of pre-training is left out of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from geoguide3d.backbones.checkpoint import Checkpoint

_ENCODER = [
    (r"stem\.stem\.", "embedding.stem.linear."),
    (r"stem\.norm\.", "embedding.stem.norm."),
    (r"blocks\.(\d+)\.downsample\.proj\.", r"enc.enc\1.down.proj."),
    (r"blocks\.(\d+)\.downsample\.norm\.", r"enc.enc\1.down.norm.0."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.cpe_conv\.", r"enc.enc\1.block\2.cpe.0."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.cpe_proj\.", r"enc.enc\1.block\2.cpe.1."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.cpe_norm\.", r"enc.enc\1.block\2.cpe.2."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.norm([12])\.", r"enc.enc\1.block\2.norm\3.0."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.attn\.", r"enc.enc\1.block\2.attn."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.mlp\.0\.", r"enc.enc\1.block\2.mlp.0.fc1."),
    (r"blocks\.(\d+)\.blocks\.(\d+)\.mlp\.3\.", r"enc.enc\1.block\2.mlp.0.fc2."),
]
_SPUNET = [
    (r"(?:encoder|decoder)\.((?:conv_input|down|enc|up|dec)\..*?)norm([12])\.module\.", r"\1bn\2."),
    (r"(?:encoder|decoder)\.((?:conv_input|down|enc|up|dec)\..*?)module\.", r"\1"),
    (r"(?:encoder|decoder)\.((?:conv_input|down|enc|up|dec)\.)", r"\1"),
    (r"head\.", "final."),
]
_OF_ENCODER = "blocks.0.blocks.0.cpe_conv.weight"
_OF_SPUNET = "encoder.conv_input.0.weight"


def encoder_names(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint of a PTv3 encoder under upstream's names; any other as it is.

    The head of a segmentation model keeps its name and is no part of the encoder, so it is left out.
    """
    state = checkpoint.state_dict
    prefix = "encoder." if "encoder." + _OF_ENCODER in state else ""
    if prefix + _OF_ENCODER not in state:
        return checkpoint
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return replace(checkpoint, state_dict={_renamed(name, _ENCODER): value for name, value in inside.items()})


def spunet_names(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint of a SpUNet under Pointcept's names; any other as it is."""
    if _OF_SPUNET not in checkpoint.state_dict:
        return checkpoint
    renamed = {_renamed(name, _SPUNET): value for name, value in checkpoint.state_dict.items()}
    return replace(checkpoint, state_dict=renamed)


def _renamed(name: str, rules: Sequence[tuple[str, str]]) -> str:
    for pattern, upstream in rules:
        found = re.match(pattern, name)
        if found:
            return found.expand(upstream) + name[found.end() :]
    return name
