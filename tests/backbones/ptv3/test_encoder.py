"""The encoder gives upstream's numbers, level by level, with upstream's parameter names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geoguide3d.backbones.ptv3.config import SONATA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder, shuffled_orders
from geoguide3d.backbones.ptv3.levels import Level, up_cast
from tests.backbones.seeded_weights import seeded_state_dict

TINY_ATOL, DEFAULT_ATOL = 5e-5, 1e-4  # as the fixtures' READMEs suggest


@pytest.fixture(scope="module")
def folder(shared_fixtures: Path) -> Path:
    return shared_fixtures / "backbones"


@pytest.fixture(scope="module")
def tiny(folder: Path) -> PTv3Encoder:
    config = json.loads((folder / "sonata_tiny" / "config.json").read_text())["config"]
    encoder = PTv3Encoder(PTv3Config.from_upstream(config)).eval()
    encoder.load_state_dict(load_file(folder / "sonata_tiny" / "params.safetensors"), strict=True)
    return encoder


@pytest.fixture(scope="module")
def default(folder: Path) -> Iterator[PTv3Encoder]:
    config, state = seeded_state_dict(folder / "sonata_default" / "params.json")
    with torch.device("meta"):
        encoder = PTv3Encoder(PTv3Config.from_upstream(config))
    encoder.load_state_dict(state, strict=True, assign=True)
    yield encoder.eval()
    del encoder, state


def encode(
    encoder: PTv3Encoder, folder: Path, clouds: tuple[str, ...], orders: list[list[str]] | None = None
) -> list[Level]:
    inputs = load_file(folder / "inputs" / "inputs.safetensors")
    values = torch.cat([inputs[f"{cloud}.feat"] for cloud in clouds])
    positions = torch.cat([inputs[f"{cloud}.coord"] for cloud in clouds])
    grids = [inputs[f"{cloud}.grid_coord"].to(torch.int64) for cloud in clouds]
    cells = [torch.nn.functional.pad(grid, (1, 0), value=batch) for batch, grid in enumerate(grids)]
    with torch.inference_mode():
        return encoder(values, torch.cat(cells), positions, orders)


def assert_levels_are(levels: list[Level], recorded: dict[str, Tensor], atol: float) -> dict[str, float]:
    """Compares whatever was recorded; returns the largest error of each tensor of floats."""
    found: dict[str, Tensor] = {}
    for stage, level in enumerate(levels):
        found[f"stage{stage}.feat"], found[f"stage{stage}.coord"] = level.features, level.positions
        found[f"stage{stage}.grid_coord"] = level.cells[:, 1:]
        found[f"stage{stage}.offset"] = level.cells[:, 0].bincount().cumsum(0)
        if level.row_of_finer is not None:
            found[f"stage{stage}.pooling_inverse"] = level.row_of_finer
    nodes = up_cast(levels, 2)
    found |= {"upcast.stage2_concat": nodes.features, "upcast.index": nodes.node_of_row}
    found["upcast.feat"] = nodes.per_row()
    errors, compared = {}, 0
    for name, expected in recorded.items():
        whole, _, every = name.partition("_rows_every")
        if whole not in found:
            continue
        rows = found[whole][:: int(every or 1)]
        compared += 1
        if expected.is_floating_point():
            errors[name] = float((rows - expected).abs().max())
        else:
            assert torch.equal(rows, expected.to(torch.int64)), name
    print("max abs errors:", {name: f"{error:.1e}" for name, error in errors.items()})
    assert compared >= 5
    assert all(error <= (1e-6 if name.endswith("coord") else atol) for name, error in errors.items()), errors
    return errors


@pytest.mark.parametrize(("run", "clouds"), [("run_single", ("main",)), ("run_batch2", ("main", "second"))])
def test_tiny_is_upstreams(tiny: PTv3Encoder, folder: Path, run: str, clouds: tuple[str, ...]) -> None:
    recorded = load_file(folder / "sonata_tiny" / f"{run}.safetensors")
    assert_levels_are(encode(tiny, folder, clouds), recorded, TINY_ATOL)


def test_shuffled_orders_are_upstreams(tiny: PTv3Encoder, folder: Path) -> None:
    recorded = load_file(folder / "sonata_tiny" / "run_shuffled.safetensors")
    canonical = tiny.config.order
    drawn = [[canonical[slot] for slot in recorded[f"stage{stage}.perm"].tolist()] for stage in range(5)]
    assert shuffled_orders(tiny.config, 5150) == drawn
    assert_levels_are(encode(tiny, folder, ("main",), drawn), recorded, TINY_ATOL)


def test_default_is_upstreams(default: PTv3Encoder, folder: Path) -> None:
    recorded = load_file(folder / "sonata_default" / "run_single.safetensors")
    levels = encode(default, folder, ("main",))
    assert_levels_are(levels, recorded, DEFAULT_ATOL)
    assert up_cast(levels, 2).features.shape[1] == 1088
    assert up_cast(levels, 0).per_row().shape == (6876, 1232)


def test_names_and_shapes_are_upstreams(folder: Path) -> None:
    description = json.loads((folder / "names" / "sonata_default.json").read_text())
    with torch.device("meta"):
        encoder = PTv3Encoder(SONATA)
    found = {name: list(tensor.shape) for name, tensor in encoder.state_dict().items()}
    assert found == {entry["name"]: entry["shape"] for entry in description["state_dict"]}
    assert sum(parameter.numel() for parameter in encoder.parameters()) == description["n_parameters"]
    assert PTv3Config.from_upstream(description["config"]) == SONATA


def test_two_runs_are_bit_identical(tiny: PTv3Encoder, folder: Path) -> None:
    first, second = (encode(tiny, folder, ("main",)) for _ in range(2))
    assert all(torch.equal(a.features, b.features) for a, b in zip(first, second, strict=True))


def test_rows_keep_the_order_of_the_input(tiny: PTv3Encoder) -> None:
    generator = torch.Generator().manual_seed(3)
    codes = torch.randperm(20**3, generator=generator)[:700]
    cells = torch.stack([torch.zeros_like(codes), codes // 400, codes // 20 % 20, codes % 20], dim=1)
    values = torch.randn(700, 9, generator=generator)
    turn = torch.randperm(700, generator=generator)
    with torch.inference_mode():
        straight = up_cast(tiny(values, cells, values[:, :3]), 0).per_row()
        turned = up_cast(tiny(values[turn], cells[turn], values[turn, :3]), 0).per_row()
    assert torch.allclose(turned, straight[turn], atol=TINY_ATOL, rtol=0)


def test_one_voxel(tiny: PTv3Encoder) -> None:
    with torch.inference_mode():
        levels = tiny(torch.randn(1, 9), torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 3))
    assert [level.features.shape for level in levels] == [(1, width) for width in tiny.config.enc_channels]
    assert all(bool(level.features.isfinite().all()) for level in levels)


def test_rejects_shapes_that_do_not_fit(tiny: PTv3Encoder) -> None:
    cells = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"got \[\(1, 6\), \(1, 4\), \(1, 3\)\]"):
        tiny(torch.zeros(1, 6), cells, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="5 levels, got 1"):
        tiny(torch.zeros(1, 9), cells, torch.zeros(1, 3), [["z"]])
