"""What makes one Point Transformer V3 encoder differ from another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from geoguide3d.backbones.ptv3.serialization import ORDERS

_log = logging.getLogger(__name__)

_FIXED: dict[str, tuple[Any, str]] = {  # what this encoder does not have, with the values that ask for nothing
    "enc_mode": (True, "only encoders are read, not networks with a decoder"),
    "pre_norm": (True, "blocks normalise before attention"),
    "enable_rpe": (False, "attention has no relative position table"),
    "layer_scale": (None, "blocks have no layer scale"),
    "qk_scale": (None, "scores are scaled by 1/√(channels per head)"),
}
_WITHOUT_EFFECT = {  # in a network that only infers, in float32, and whose orders are not shuffled
    "attn_drop",
    "proj_drop",
    "drop_path",
    "shuffle_orders",
    "enable_flash",
    "upcast_attention",
    "upcast_softmax",
    "traceable",
}


@dataclass(frozen=True)
class PTv3Config:
    """Sizes of an encoder, under upstream's names.

    Args:
        in_channels: width of a point's input.
        order: curves along which patches are cut; block i of a level takes order[i mod len(order)].
        stride: cells that are pooled into one, per axis, between two levels.
        enc_depths: blocks of each level.
        enc_channels: width of each level.
        enc_num_head: attention heads of each level.
        enc_patch_size: voxels of an attention patch at each level.
        mlp_ratio: hidden width of a block's MLP, in widths of its level.
        qkv_bias: whether queries, keys and values have a bias.
        mask_token: whether the checkpoint holds the token that stood for masked points in pre-training. Not used here.

    Raises:
        ValueError: lists of different lengths, heads that do not divide a width, or an unknown order.
    """

    in_channels: int
    order: tuple[str, ...]
    stride: tuple[int, ...]
    enc_depths: tuple[int, ...]
    enc_channels: tuple[int, ...]
    enc_num_head: tuple[int, ...]
    enc_patch_size: tuple[int, ...]
    mlp_ratio: float = 4
    qkv_bias: bool = True
    mask_token: bool = False

    def __post_init__(self) -> None:
        levels = len(self.enc_channels)
        lists = (self.enc_depths, self.enc_num_head, self.enc_patch_size)
        if levels == 0 or any(len(values) != levels for values in lists) or len(self.stride) != levels - 1:
            raise ValueError(
                f"a PTv3 of {levels} levels needs as many depths, heads, patch sizes, one stride less: {self}"
            )
        if min(*self.enc_channels, *self.enc_num_head, *self.enc_patch_size, *self.stride, self.in_channels) < 1:
            raise ValueError(f"sizes of a PTv3 must be at least 1: {self}")
        if any(width % heads for width, heads in zip(self.enc_channels, self.enc_num_head, strict=True)):
            raise ValueError(f"heads {self.enc_num_head} do not divide channels {self.enc_channels}")
        if not self.order or not set(self.order) <= set(ORDERS):
            raise ValueError(f"unknown orders in {self.order}; known: {', '.join(ORDERS)}")

    @property
    def levels(self) -> int:
        return len(self.enc_channels)

    def channels_from(self, level: int) -> int:
        """Returns the width of features that hold those of `level` and of all coarser ones side by side."""
        return sum(self.enc_channels[level:])

    @classmethod
    def from_upstream(cls, config: Mapping[str, Any]) -> PTv3Config:
        """Returns the config that a checkpoint of Sonata or Concerto holds.

        Keys that only matter to training or to speed are left out; unknown ones too, with a warning.

        Raises:
            ValueError: a missing key, or a network that this encoder cannot stand for.
        """
        names = {field.name for field in fields(cls)}
        required = names - {"mlp_ratio", "qkv_bias", "mask_token"}
        if missing := sorted(required - config.keys()):
            raise ValueError(f"the checkpoint's config lacks {', '.join(missing)}; it has {', '.join(sorted(config))}")
        for key, (value, reason) in _FIXED.items():
            if config.get(key, value) != value:
                raise ValueError(f"the checkpoint's config has {key} = {config[key]!r}, but {reason}")
        if unknown := sorted(config.keys() - names - _FIXED.keys() - _WITHOUT_EFFECT):
            _log.warning("the checkpoint's config has keys that are not known here: %s", ", ".join(unknown))
        known: dict[str, Any] = {key: config[key] for key in names & config.keys()}
        order = known["order"]
        known["order"] = (order,) if isinstance(order, str) else order
        for key, value in known.items():
            known[key] = tuple(value) if isinstance(value, list) else value
        return cls(**known)


_ALL_ORDERS: dict[str, Any] = {"in_channels": 9, "order": ORDERS, "stride": (2, 2, 2, 2), "mask_token": True}

SONATA = PTv3Config(  # 108.5 M parameters; Concerto's base size has the same
    **_ALL_ORDERS,
    enc_depths=(3, 3, 3, 12, 3),
    enc_channels=(48, 96, 192, 384, 512),
    enc_num_head=(3, 6, 12, 24, 32),
    enc_patch_size=(1024,) * 5,
)
CONCERTO_LARGE = PTv3Config(
    **_ALL_ORDERS,
    enc_depths=(3, 3, 3, 12, 3),
    enc_channels=(64, 128, 256, 512, 768),
    enc_num_head=(4, 8, 16, 32, 48),
    enc_patch_size=(1024,) * 5,
)
