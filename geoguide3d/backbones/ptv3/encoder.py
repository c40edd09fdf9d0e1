"""The encoder: levels of blocks, each of a convolution, attention along a curve, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geoguide3d.backbones.ptv3.config import PTv3Config
from geoguide3d.backbones.ptv3.layers import MLP, Embedding, PatchAttention, in_chunks
from geoguide3d.backbones.ptv3.levels import Level, Pooling
from geoguide3d.backbones.ptv3.patches import Patches, cut_patches
from geoguide3d.sparse.layers import SubmanifoldConv3d
from geoguide3d.sparse.tensor import SparseTensor


class Block(nn.Module):
    """x + position(x), then x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: PTv3Config, level: int) -> None:
        super().__init__()
        channels = config.enc_channels[level]
        convolution = SubmanifoldConv3d(channels, channels, 3, bias=True, index_key=f"stage{level}")
        self.cpe = nn.Sequential(convolution, nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.norm1 = nn.Sequential(nn.LayerNorm(channels))
        self.attn = PatchAttention(channels, config.enc_num_head[level], config.qkv_bias, config.rope_base)
        self.norm2 = nn.Sequential(nn.LayerNorm(channels))
        self.mlp = nn.Sequential(MLP(channels, int(channels * config.mlp_ratio)))

    def forward(self, voxels: SparseTensor, patches: Patches, positions: Tensor) -> SparseTensor:
        """Returns the voxels with new features (M, C); positions (M, 3)."""
        convolved = self.cpe[0](voxels).features
        features = voxels.features + in_chunks(self.cpe[1:], convolved, convolved.shape[1])
        features = features + self.attn(self.norm1(features), patches, positions)
        features = features + self.mlp(self.norm2(features))
        return voxels.with_features(features)


class Stage(nn.Module):
    """Pooling, except at the finest level, and the blocks of one level; upstream's `enc{level}`."""

    def __init__(self, config: PTv3Config, level: int) -> None:
        super().__init__()
        self.patch_size = config.enc_patch_size[level]
        self.depth = config.enc_depths[level]
        if level > 0:
            before, channels = config.enc_channels[level - 1 : level + 1]
            self.down = Pooling(before, channels, config.stride[level - 1])
        for block in range(self.depth):
            self.add_module(f"block{block}", Block(config, level))

    def forward(self, level: Level, orders: Sequence[str]) -> Level:
        """Returns this level's voxels after its last block; level is the one before it.

        Args:
            orders: block i cuts its patches along orders[i mod len(orders)].
        """
        if hasattr(self, "down"):
            level = self.down(level)
        orders = [orders[block % len(orders)] for block in range(self.depth)]
        patches = cut_patches(level.cells, orders, self.patch_size)
        voxels = SparseTensor.of(level.features, level.cells)
        for block, order in enumerate(orders):
            voxels = self.get_submodule(f"block{block}")(voxels, patches[order], level.positions)
        return Level(voxels.features, level.cells, level.positions, level.row_of_finer)


class PTv3Encoder(nn.Module):
    """Point Transformer V3 as Sonata, Concerto and Utonia pre-train it, for inference: nothing is drawn by chance.

    The state_dict has upstream's names and shapes. Results depend on the whole batch, as upstream's do: on the size of
    its smallest cloud through the patches, and on its largest coordinate through the Hilbert curves.
    """

    def __init__(self, config: PTv3Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.in_channels, config.enc_channels[0], config.mask_token)
        self.enc = nn.ModuleDict({f"enc{level}": Stage(config, level) for level in range(config.levels)})

    def forward(
        self,
        values: Tensor,  # (M, in_channels)
        cells: Tensor,  # (M, 4) int64: cloud, x, y, z, each at least 0
        positions: Tensor,  # (M, 3), as the network was trained: metres, or a part of them
        orders: Sequence[Sequence[str]] | None = None,
    ) -> list[Level]:
        """Returns every level's voxels after its last block, the finest first, its rows in the order of the input.

        Args:
            values: what is known of each voxel: shifted position, colour and normal, as the checkpoint was trained.
            cells: no cell twice; clouds are numbered from 0.
            orders: for every level its list of orders; None: the config's. `shuffled_orders` gives upstream's.

        Raises:
            ValueError: shapes that do not fit, cells that cannot be coded, or a wrong number of orders.
        """
        expected = [(len(cells), self.config.in_channels), (len(cells), 4), (len(cells), 3)]
        found = [tuple(tensor.shape) for tensor in (values, cells, positions)]
        if found != expected:
            raise ValueError(f"values, cells and positions must have shapes {expected}, got {found}")
        orders = [self.config.order] * self.config.levels if orders is None else orders
        if len(orders) != self.config.levels:
            raise ValueError(f"orders must be given for {self.config.levels} levels, got {len(orders)}")
        # Under autocast the layers give half types; the sum that runs through all blocks keeps the input's.
        level = Level(self.embedding(values).to(values.dtype), cells.to(torch.int64), positions)
        levels = []
        for stage, own in zip(self.enc.values(), orders, strict=True):
            level = stage(level, own)
            levels.append(level)
        return levels


def shuffled_orders(config: PTv3Config, seed: int) -> list[list[str]]:
    """Returns for every level the config's orders, shuffled: what upstream draws anew for each inference.

    Drawn as upstream draws them: one permutation per level, the finest first, from torch's CPU generator.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(config.order)
    drawn = [torch.randperm(count, generator=generator).tolist() for _ in range(config.levels)]
    return [[config.order[slot] for slot in permutation] for permutation in drawn]
