"""What makes one Point Transformer V3 encoder differ from another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

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
    "freeze_encoder",
    "shift_coords",
    "jitter_coords",
    "rescale_coords",
}
_ROTATED_AXES = 3  # a head's channels are rotated in pairs, as many for each of x, y and z


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
        rope_base: of the rotary attention that Utonia has (PT-v3m3); None: attention sees no positions.

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
    rope_base: float | None = None

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
        widths = [width // heads for width, heads in zip(self.enc_channels, self.enc_num_head, strict=True)]
        if self.rope_base is not None and (self.rope_base <= 0 or any(width % (2 * _ROTATED_AXES) for width in widths)):
            raise ValueError(
                f"rotary attention needs a base above 0 and heads of 6, 12, 18 … channels, got {self.rope_base} "
                f"and {widths}"
            )
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
        required = names - {"mlp_ratio", "qkv_bias", "mask_token", "rope_base"}
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
        known["rope_base"] = known.get("rope_base") or None  # upstream's 0 means none
        return cls(**known)

    @classmethod
    def from_shapes(cls, state_dict: Mapping[str, Tensor]) -> PTv3Config:
        """Returns the config of published parameters that come without one.

        What shapes do not tell is what Sonata's, Concerto's and Utonia's published networks of every size share: four
        orders, pooling by two, patches of 1024, heads of 16 channels, or of 18 that are rotated with base 10.

        Raises:
            ValueError: names that are not an encoder's, or channels that such heads do not divide.
        """
        levels = 0
        while f"enc.enc{levels}.block0.norm1.0.weight" in state_dict:
            levels += 1
        stem = state_dict.get("embedding.stem.linear.weight")
        if levels == 0 or stem is None or stem.ndim != 2:
            names = ", ".join(sorted(state_dict)[:3])
            raise ValueError(f"no config, and names that are not a PTv3 encoder's: {names} …")
        channels = [len(state_dict[f"enc.enc{level}.block0.norm1.0.weight"]) for level in range(levels)]
        norms = [name.split(".") for name in state_dict if name.endswith(".norm1.0.weight")]
        depths = [sum(parts[1] == f"enc{level}" for parts in norms) for level in range(levels)]
        rotary = "enc.enc0.block0.attn.rope.inv_freq" in state_dict
        width = 18 if rotary else 16
        if any(count % width for count in channels):
            raise ValueError(
                f"no config, and {channels} channels are not made of heads of {width}, as those of all published "
                "networks; a network of another size needs its config in the file"
            )
        return cls(
            in_channels=stem.shape[1],
            order=ORDERS,
            stride=(2,) * (levels - 1),
            enc_depths=tuple(depths),
            enc_channels=tuple(channels),
            enc_num_head=tuple(count // width for count in channels),
            enc_patch_size=(1024,) * levels,
            qkv_bias="enc.enc0.block0.attn.qkv.bias" in state_dict,
            mask_token="embedding.mask_token" in state_dict,
            rope_base=10.0 if rotary else None,
        )


_PUBLISHED: dict[str, Any] = {
    "in_channels": 9,
    "order": ORDERS,
    "stride": (2, 2, 2, 2),
    "enc_depths": (3, 3, 3, 12, 3),
    "enc_patch_size": (1024,) * 5,
    "mask_token": True,
}

SONATA = PTv3Config(  # 108.5 M parameters; Concerto's base size has the same
    **_PUBLISHED,
    enc_channels=(48, 96, 192, 384, 512),
    enc_num_head=(3, 6, 12, 24, 32),
)
CONCERTO_LARGE = PTv3Config(
    **_PUBLISHED,
    enc_channels=(64, 128, 256, 512, 768),
    enc_num_head=(4, 8, 16, 32, 48),
)
UTONIA = PTv3Config(
    **_PUBLISHED,
    enc_channels=(54, 108, 216, 432, 576),
    enc_num_head=(3, 6, 12, 24, 32),
    rope_base=10.0,
)
