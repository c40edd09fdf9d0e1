"""The network gives upstream's numbers, level by level, with upstream's parameter names; and it can be trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig, with_folded_norms
from geoguide3d.sparse.tensor import SparseTensor
from tests.backbones.seeded_weights import seeded_state_dict

TINY_ATOL, DEFAULT_ATOL = 2e-5, 5e-5  # as the fixtures' READMEs suggest
SMALL = SparseUNetConfig(3, 0, 8, (8, 12, 10, 6), (1, 1, 1, 1))


@pytest.fixture(scope="module")
def folder(shared_fixtures: Path) -> Path:
    return shared_fixtures / "backbones"


@pytest.fixture(scope="module")
def tiny(folder: Path) -> SparseUNet:
    config = json.loads((folder / "spunet_tiny" / "config.json").read_text())["config"]
    network = SparseUNet(from_lists(config)).eval()
    network.load_state_dict(load_file(folder / "spunet_tiny" / "params.safetensors"), strict=True)
    return network


def from_lists(config: dict[str, Any]) -> SparseUNetConfig:
    sizes: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    return SparseUNetConfig(**sizes)


def recorded_input(folder: Path, clouds: tuple[str, ...]) -> SparseTensor:
    inputs = load_file(folder / "inputs" / "inputs.safetensors")
    grids = [inputs[f"{cloud}.grid_coord"].to(torch.int64) for cloud in clouds]
    cells = [torch.nn.functional.pad(grid, (1, 0), value=batch) for batch, grid in enumerate(grids)]
    return SparseTensor.of(torch.cat([inputs[f"{cloud}.feat"][:, 3:9] for cloud in clouds]), torch.cat(cells))


def run(network: SparseUNet, x: SparseTensor) -> dict[str, SparseTensor]:
    """Returns the outputs of all modules under the names that the fixtures give them."""
    found: dict[str, SparseTensor] = {}
    named = {"stem": network.conv_input}
    for part in ("down", "enc", "up", "dec"):
        named |= {f"{part}{step}": module for step, module in enumerate(getattr(network, part))}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: found.update({name: output})

    hooks = [module.register_forward_hook(keep(name)) for name, module in named.items()]
    with torch.no_grad():
        found["output"] = network.classify(network(x))
    for hook in hooks:
        hook.remove()
    return found


def code(cells: Tensor) -> Tensor:
    return ((cells[:, 0] * 4096 + cells[:, 1]) * 4096 + cells[:, 2]) * 4096 + cells[:, 3]


def rows_of(cells: Tensor, wanted: Tensor) -> Tensor:
    """Returns for every wanted cell its row in cells."""
    codes, order = code(cells).sort()
    rows = order[torch.searchsorted(codes, code(wanted))]
    assert torch.equal(cells[rows], wanted)
    return rows


def assert_is_recorded(
    found: dict[str, SparseTensor], recorded: dict[str, Tensor], indices: dict[str, Tensor], atol: float
) -> None:
    errors = {}
    for name, expected in recorded.items():
        module, _, every = name.removesuffix(".feat").replace(".feat_rows", "_rows").partition("_rows_every")
        if module not in found:
            assert name.endswith("indices")
            continue
        output = found[module]
        level = int(module[-1]) + (module[:-1] in ("down", "enc")) if module[-1].isdigit() else 0
        features = output.features
        if level:
            wanted = indices[f"level{level}.indices"].to(torch.int64)
            assert len(wanted) == len(output.cells)
            features = features[rows_of(output.cells, wanted)]
        errors[name] = float((features[:: int(every or 1)] - expected).abs().max())
    print("max abs errors:", {name: f"{error:.1e}" for name, error in errors.items()})
    assert "output" in errors
    assert len(errors) >= 9
    assert max(errors.values()) <= atol, errors


@pytest.mark.parametrize(("name", "clouds"), [("run_single", ("main",)), ("run_batch2", ("main", "second"))])
def test_tiny_is_upstreams(tiny: SparseUNet, folder: Path, name: str, clouds: tuple[str, ...]) -> None:
    recorded = load_file(folder / "spunet_tiny" / f"{name}.safetensors")
    assert_is_recorded(run(tiny, recorded_input(folder, clouds)), recorded, recorded, TINY_ATOL)


def test_default_is_upstreams(folder: Path) -> None:
    config, state = seeded_state_dict(folder / "spunet_default" / "params.json")
    with torch.device("meta"):
        network = SparseUNet(from_lists(config)).eval()
    network.load_state_dict(state, strict=True, assign=True)
    recorded = load_file(folder / "spunet_default" / "run_single.safetensors")
    indices = load_file(folder / "spunet_tiny" / "run_single.safetensors")
    assert_is_recorded(run(network, recorded_input(folder, ("main",))), recorded, indices, DEFAULT_ATOL)


def test_folded_norms_change_nothing_but_rounding(tiny: SparseUNet, folder: Path) -> None:
    recorded = load_file(folder / "spunet_tiny" / "run_batch2.safetensors")
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    folded = with_folded_norms(tiny)
    assert_is_recorded(run(folded, recorded_input(folder, ("main", "second"))), recorded, recorded, TINY_ATOL)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in folded.modules())
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())


def test_names_and_shapes_are_upstreams(folder: Path) -> None:
    description = json.loads((folder / "names" / "spunet_v1m1_default.json").read_text())
    with torch.device("meta"):
        network = SparseUNet(SparseUNetConfig())
    found = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == {entry["name"]: entry["shape"] for entry in description["state_dict"]}
    assert sum(parameter.numel() for parameter in network.parameters()) == description["n_parameters"]
    assert from_lists(description["config"]) == SparseUNetConfig()


def cloud(count: int, channels: int, side: int = 12) -> SparseTensor:
    generator = torch.Generator().manual_seed(count)
    codes = torch.randperm(side**3, generator=generator)[:count]
    cells = torch.stack([torch.zeros_like(codes), codes // side**2, codes // side % side, codes % side], dim=1)
    return SparseTensor.of(torch.randn(count, channels, generator=generator), cells)


def test_levels_from_fine_to_coarse() -> None:
    torch.manual_seed(1)
    network, x = SparseUNet(SMALL).eval(), cloud(300, 3)
    with torch.no_grad():
        levels = network.levels(x)
        assert torch.equal(levels[0].features, network(SparseTensor.of(x.features, x.cells)).features)
    assert [level.features.shape[1] for level in levels] == [6, 10, 12]
    assert torch.equal(levels[0].cells, x.cells)
    for step, level in enumerate(levels):
        halved = torch.unique(torch.cat([x.cells[:, :1], x.cells[:, 1:] >> step], dim=1), dim=0)
        assert torch.equal(torch.unique(level.cells, dim=0), halved)


def test_rows_keep_the_order_of_the_input() -> None:
    torch.manual_seed(2)
    network, x = SparseUNet(SMALL).eval(), cloud(300, 3)
    turn = torch.randperm(300)
    with torch.no_grad():
        straight = network(x).features
        turned = network(SparseTensor.of(x.features[turn], x.cells[turn])).features
    assert torch.allclose(turned, straight[turn], atol=1e-5, rtol=0)


def test_it_learns() -> None:
    torch.manual_seed(3)
    network, x = SparseUNet(SMALL).train(), cloud(200, 3, side=8)
    target = x.cells[:, 1:].to(torch.float32) / 4 - 1
    head = torch.nn.Linear(6, 3)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = (head(network(SparseTensor.of(x.features, x.cells)).features) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses
    assert network.state_dict()["conv_input.1.num_batches_tracked"] == 8


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(4)
    network = SparseUNet(SparseUNetConfig(2, 0, 3, (4, 3), (1, 1))).double().eval()
    x = cloud(40, 2, side=5)

    def forward(features: Tensor) -> Tensor:
        out: SparseTensor = network(SparseTensor.of(features, x.cells))
        return out.features

    assert torch.autograd.gradcheck(forward, (x.features.double().requires_grad_(),))


def test_one_voxel() -> None:
    with torch.no_grad():
        features = SparseUNet(SMALL).eval()(cloud(1, 3)).features
    assert features.shape == (1, 6)
    assert bool(features.isfinite().all())


def test_rejects_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"as many of the decoder"):
        SparseUNetConfig(channels=(8, 8, 8), layers=(1, 1, 1))
    with pytest.raises(ValueError, match=r"as many of the decoder"):
        SparseUNetConfig(channels=(8, 8), layers=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="at least 1"):
        SparseUNetConfig(layers=(0, 1), channels=(8, 8))
    with pytest.raises(ValueError, match="no layer `final`"):
        SparseUNet(SMALL).classify(cloud(3, 6))
