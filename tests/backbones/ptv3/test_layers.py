"""Attention inside patches, pooling and the way back, each against what is obvious."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.backbones.ptv3 import layers
from geoguide3d.backbones.ptv3.layers import MLP, PatchAttention
from geoguide3d.backbones.ptv3.levels import Level, Pooling, pool_cells, up_cast
from geoguide3d.backbones.ptv3.patches import cut_patches


def random_cells(count: int, extent: int, clouds: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    codes = torch.randperm(clouds * extent**3, generator=generator)[:count]
    places = [codes // extent**3, codes // extent**2 % extent, codes // extent % extent, codes % extent]
    return torch.stack(places, dim=1)


@pytest.mark.parametrize(("size", "values"), [(16, 1 << 21), (16, 1), (7, 1), (1024, 1 << 21)])
def test_attention_is_that_of_each_patch(size: int, values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_VALUES_ON_CPU", values)
    torch.manual_seed(0)
    attention = PatchAttention(12, 3).double()
    cells = random_cells(100, 6)
    features = torch.randn(100, 12, dtype=torch.float64)
    patches = cut_patches(cells, ["hilbert"], size)["hilbert"]
    with torch.no_grad():
        found = attention(features, patches, torch.zeros(100, 3))
        for row in range(0, 100, 9):
            first = min(int(patches.position_of_row[row]) // patches.size * patches.size, 100 - patches.size)
            members = patches.rows[first : first + patches.size]
            query, _, _ = attention.qkv(features[row]).view(3, 3, 4)
            _, key, value = attention.qkv(features[members]).view(-1, 3, 3, 4).unbind(dim=1)
            weights = ((key * query).sum(-1) / 2).softmax(dim=0).unsqueeze(-1)
            expected = attention.proj((weights * value).sum(dim=0).flatten())
            assert torch.allclose(found[row], expected, atol=1e-12, rtol=0)


def test_mlp_does_not_depend_on_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, features = MLP(8, 32), torch.randn(50, 8)
    with torch.no_grad():
        whole = mlp(features)
        monkeypatch.setattr(layers, "_VALUES_ON_CPU", 70)
        assert torch.allclose(mlp(features), whole, atol=1e-6, rtol=0)
        assert torch.allclose(mlp.fc2(mlp.act(mlp.fc1(features))), whole, atol=1e-6, rtol=0)


def test_pooled_cells_are_sorted_and_hold_their_parts() -> None:
    cells = random_cells(300, 9, clouds=3)
    coarser, rows = pool_cells(cells, 2)
    halves = {(cloud, x // 2, y // 2, z // 2) for cloud, x, y, z in cells.tolist()}
    assert [tuple(row) for row in coarser.tolist()] == sorted(halves)
    halved = torch.cat([cells[:, :1], cells[:, 1:] // 2], dim=1)
    assert torch.equal(coarser[rows], halved)


def test_pooling_takes_maxima_and_mean_positions() -> None:
    pooling = Pooling(4, 6, 2)
    cells = random_cells(60, 4)
    level = Level(torch.randn(60, 4), cells, torch.randn(60, 3))
    with torch.no_grad():
        pooled = pooling(level)
        projected = pooling.proj(level.features)
        for row in range(len(pooled.cells)):
            parts = pooled.row_of_finer == row
            expected = pooling.act(pooling.norm(projected[parts].amax(dim=0)))
            assert torch.allclose(pooled.features[row], expected, atol=1e-6)
            assert torch.allclose(pooled.positions[row], level.positions[parts].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("to", [0, 1, 2])
def test_up_cast_sets_all_coarser_features_behind(to: int) -> None:
    cells = [random_cells(200, 8)]
    rows: list[torch.Tensor | None] = [None]
    for _ in range(2):
        coarser, row_of_finer = pool_cells(cells[-1], 2)
        cells.append(coarser)
        rows.append(row_of_finer)
    levels = [
        Level(torch.full((len(c), 1), level) + torch.arange(len(c)).unsqueeze(1) * 10, c, torch.zeros(len(c), 3), r)
        for level, (c, r) in enumerate(zip(cells, rows, strict=True))
    ]
    nodes = up_cast(levels, to)
    assert nodes.features.shape == (len(cells[to]), 3 - to)
    per_row = nodes.per_row()
    assert rows[1] is not None
    assert rows[2] is not None
    chain = [torch.arange(200), rows[1], rows[2][rows[1]]]
    for column, level in enumerate(range(to, 3)):
        assert torch.equal(per_row[:, column], chain[level] * 10 + level)


def test_up_cast_rejects_a_level_that_is_not_there() -> None:
    level = Level(torch.zeros(1, 1), torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="levels 0 … 0, got 1"):
        up_cast([level], 1)
