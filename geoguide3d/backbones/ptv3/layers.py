"""The parts of a block. Parameters have upstream's names, so that its checkpoints load as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from geoguide3d.backbones.ptv3.patches import Patches

# Values of intermediate results that are held at once: on a CPU what stays in cache, elsewhere what fills the device.
_VALUES_ON_CPU, _VALUES_ELSEWHERE = 1 << 21, 1 << 26


class PatchAttention(nn.Module):
    """Multi-head attention inside the patches of a curve.

    Patches of one cloud have one length, so they are a batch without padding or mask: torch's own attention runs its
    flash kernel on them (on CUDA in half precision), and the package flash-attn would have nothing to add.
    """

    def __init__(self, channels: int, heads: int, qkv_bias: bool = True, rope_base: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.rope = None if rope_base is None else RotaryPosition(channels // heads, rope_base)

    def forward(self, features: Tensor, patches: Patches, positions: Tensor) -> Tensor:
        """Returns (M, C): what each voxel takes from the voxels of its patch.

        Args:
            features: (M, C).
            positions: (M, 3), read by rotary attention alone.
        """
        widest = 4 * features.shape[1] * patches.size  # queries, keys, values and results of one patch
        groups = patches.groups(_rows_per_chunk(features.device, widest))
        taken = [self._attend(features[rows], positions[rows], patches.size, queries) for rows, queries in groups]
        return torch.cat(taken)[patches.position_of_row]

    def _attend(self, features: Tensor, positions: Tensor, size: int, queries: int) -> Tensor:
        """Returns (P · queries, C): what the last `queries` voxels of each patch take; features (P · size, C)."""
        channels = features.shape[1]
        qkv = self.qkv(features).view(len(features), 3, self.heads, channels // self.heads)
        if self.rope is not None:
            qkv = torch.cat([self.rope(qkv[:, :2], positions), qkv[:, 2:]], dim=1)
        query, key, value = qkv.view(-1, size, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query[:, :, size - queries :], key, value)
        projected = self.proj(attended.transpose(1, 2).reshape(-1, channels))
        assert isinstance(projected, Tensor)
        return projected


class RotaryPosition(nn.Module):
    """Turns queries and keys by angles in proportion to their position, so that scores see differences of positions.

    As in PT-v3m3: a third of a head's channels belongs to each of x, y and z; channel i of a third and channel i + D/6
    are a pair, turned by position · base^(−i / (D/6)) radians.
    """

    inv_freq: Tensor

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        pairs = width // 6
        # Checkpoints hold them under this name, so they are part of the state_dict.
        self.register_buffer("inv_freq", base ** -(torch.arange(pairs, dtype=torch.float32) / pairs))

    def forward(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Returns vectors ((R, …, D)), each turned by its position (of (R, 3)); in the dtype of vectors."""
        angles = positions[:, :, None] * self.inv_freq  # (R, 3, D / 6)
        angles = angles.view(len(angles), *[1] * (vectors.ndim - 2), *angles.shape[1:])
        first, second = vectors.view(*vectors.shape[:-1], 3, 2, len(self.inv_freq)).unbind(dim=-2)  # (R, …, 3, D / 6)
        cos, sin = angles.cos(), angles.sin()
        turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2)
        return turned.flatten(-3).to(vectors.dtype)


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Returns (M, C) of features (M, C)."""
        return in_chunks(lambda rows: self.fc2(self.act(self.fc1(rows))), features, self.fc1.out_features)


class Embedding(nn.Module):
    """From a point's input to the features of the first level."""

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("linear", nn.Linear(in_channels, channels))
        self.stem.add_module("norm", nn.LayerNorm(channels))
        self.stem.add_module("act", nn.GELU())
        if mask_token:  # of pre-training; kept so that checkpoints load strictly
            self.mask_token = nn.Parameter(torch.zeros(1, channels))

    def forward(self, values: Tensor) -> Tensor:
        """Returns (M, C) of values (M, in_channels)."""
        features = self.stem(values)
        assert isinstance(features, Tensor)
        return features


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor, widest: int) -> Tensor:
    """Returns function(rows), computed for a few rows at a time.

    Args:
        function: takes and gives one row for one row.
        widest: values per row of its widest intermediate result.
    """
    return torch.cat([function(part) for part in torch.split(rows, _rows_per_chunk(rows.device, widest))])


def _rows_per_chunk(device: torch.device, values_per_row: int) -> int:
    values = _VALUES_ON_CPU if device.type == "cpu" else _VALUES_ELSEWHERE
    return max(1, values // values_per_row)
