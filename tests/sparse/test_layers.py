"""Sparse layers: against recorded outputs of spconv, against dense convolutions, on every engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from geoguide3d.sparse.engines import ENGINES, sparse_engine
from geoguide3d.sparse.layers import InverseConv3d, StridedConv3d, SubmanifoldConv3d
from geoguide3d.sparse.tensor import SparseTensor

HAS_SPCONV = importlib.util.find_spec("spconv") is not None
needs_spconv = pytest.mark.skipif(not HAS_SPCONV, reason="spconv is not installed")
engines = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=[needs_spconv] if name == "spconv" else []) for name in sorted(ENGINES)]
)


@pytest.fixture(scope="module")
def recorded(shared_fixtures: Path) -> dict[str, Tensor]:
    file = shared_fixtures / "backbones" / "spconv_ops" / "ops.safetensors"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    return load_file(file)


def recorded_input(recorded: dict[str, Tensor]) -> SparseTensor:
    return SparseTensor.of(recorded["in.feat"], recorded["in.indices"].long())


def fill(layer: nn.Module, recorded: dict[str, Tensor], name: str) -> nn.Module:
    layer.load_state_dict({k: recorded[f"{name}.{k}"] for k in ("weight", "bias") if f"{name}.{k}" in recorded})
    return layer


def some_cells(count: int = 200, extent: int = 8, batches: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    keys = torch.randperm(batches * extent**3, generator=generator)[:count]
    return torch.stack([keys // extent**3, keys // extent**2 % extent, keys // extent % extent, keys % extent], dim=1)


def some_input(channels: int = 3, dtype: torch.dtype = torch.float64) -> SparseTensor:
    generator = torch.Generator().manual_seed(channels)
    cells = some_cells()
    return SparseTensor.of(torch.randn(len(cells), channels, generator=generator, dtype=dtype), cells)


def dense(x: SparseTensor, extent: int = 8, batches: int = 2) -> Tensor:
    """(B, C, X, Y, Z), zero where no cell is."""
    grid = x.features.new_zeros(batches, extent, extent, extent, x.features.shape[1])
    return grid.index_put(tuple(x.cells.T), x.features).permute(0, 4, 1, 2, 3)


def at(grid: Tensor, cells: Tensor) -> Tensor:
    b, x, y, z = cells.T
    return grid[b, :, x, y, z]


@engines
@pytest.mark.parametrize(
    ("name", "size", "out", "bias"),
    [("subm3", 3, 7, True), ("subm5", 5, 6, False), ("subm1_rect", 1, 3, True), ("subm1_square", 1, 5, False)],
)
def test_submanifold_equals_the_recorded_output(
    name: str, size: int, out: int, bias: bool, engine: str, recorded: dict[str, Tensor]
) -> None:
    layer = fill(SubmanifoldConv3d(5, out, size, bias=bias), recorded, name)
    with sparse_engine(engine):
        got = layer(recorded_input(recorded))
    torch.testing.assert_close(got.features, recorded[f"{name}.out"], rtol=0, atol=1e-5)


@engines
def test_down_and_up_equal_the_recorded_outputs(engine: str, recorded: dict[str, Tensor]) -> None:
    down = fill(StridedConv3d(5, 7, bias=False, index_key="down"), recorded, "down2")
    up = fill(InverseConv3d(7, 4, bias=False, index_key="down"), recorded, "up2")
    x = recorded_input(recorded)
    with sparse_engine(engine):
        coarse = down(x)
        fine = up(coarse)
    expected = recorded["down2.indices"].long()
    order = torch.tensor(sorted(range(len(expected)), key=lambda row: expected[row].tolist()))
    assert torch.equal(coarse.cells, expected[order])  # lexicographic here, an order of its own there
    torch.testing.assert_close(coarse.features, recorded["down2.out"][order], rtol=0, atol=1e-5)
    assert fine.cells is x.cells
    torch.testing.assert_close(fine.features, recorded["up2.out"], rtol=0, atol=1e-5)


@engines
@pytest.mark.parametrize("size", [3, 5])
def test_submanifold_is_a_dense_convolution_at_the_occupied_cells(size: int, engine: str) -> None:
    layer, x = SubmanifoldConv3d(3, 4, size).double(), some_input()
    with sparse_engine(engine):
        got = layer(x)
    expected = nn.functional.conv3d(dense(x), layer.weight.permute(0, 4, 1, 2, 3), layer.bias, padding=size // 2)
    torch.testing.assert_close(got.features, at(expected, x.cells))


@engines
@pytest.mark.parametrize("size", [2, 4])
def test_strided_and_inverse_are_dense_convolutions(size: int, engine: str) -> None:
    down = StridedConv3d(3, 4, size, size, index_key="d").double()
    up = InverseConv3d(4, 5, size, index_key="d").double()
    x = some_input()
    with sparse_engine(engine):
        coarse = down(x)
        fine = up(coarse)
    expected = nn.functional.conv3d(dense(x), down.weight.permute(0, 4, 1, 2, 3), down.bias, stride=size)
    torch.testing.assert_close(coarse.features, at(expected, coarse.cells))
    weight = up.weight.permute(4, 0, 1, 2, 3)
    expected = nn.functional.conv_transpose3d(dense(coarse, 8 // size), weight, up.bias, stride=size)
    torch.testing.assert_close(fine.features, at(expected, x.cells))


def test_engines_share_weights_maps_and_gradients() -> None:
    x = some_input()
    layers = nn.Sequential(
        SubmanifoldConv3d(3, 4, 3, index_key="s"),
        StridedConv3d(4, 5, index_key="d"),
        InverseConv3d(5, 3, index_key="d"),
    ).double()
    outputs, gradients = [], []
    for engine in sorted({*ENGINES} - (set() if HAS_SPCONV else {"spconv"})):
        with sparse_engine(engine):
            out = layers(SparseTensor.of(x.features, x.cells)).features
        outputs.append(out)
        gradients.append(torch.autograd.grad(out.square().sum(), list(layers.parameters())))
    for out, gradient in zip(outputs[1:], gradients[1:], strict=True):
        torch.testing.assert_close(out, outputs[0])
        torch.testing.assert_close(gradient, gradients[0])


def test_a_kernel_map_is_made_once_per_key_and_cells() -> None:
    x = some_input()
    keyed, other, unkeyed = (SubmanifoldConv3d(3, 3, 3, index_key=key).double() for key in ("a", "a", None))
    unkeyed(unkeyed(other(keyed(x))))
    assert len(x.maps._by_key) == 2
    with pytest.raises(ValueError, match=r"index_key 'a' belongs to a \('submanifold', 3\) layer on 200 cells"):
        SubmanifoldConv3d(3, 3, 5, index_key="a").double()(x)
    coarse = StridedConv3d(3, 3).double()(x)
    with pytest.raises(ValueError, match="index_key 'a' belongs to"):
        keyed(coarse)


def test_the_default_engine_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match=r"sparse_engine must be one of .*, got 'magic'"), sparse_engine("magic"):
        pass
    with pytest.raises(KeyError), sparse_engine("torch"):
        raise KeyError
    SubmanifoldConv3d(3, 3, 3).double()(some_input())


@pytest.mark.parametrize("count", [0, 1])
@engines
def test_none_and_one_cell(count: int, engine: str) -> None:
    cells = torch.full((count, 4), 3)
    x = SparseTensor.of(torch.randn(count, 3), cells)
    with sparse_engine(engine):
        fine = InverseConv3d(5, 2, index_key="d")(StridedConv3d(4, 5, index_key="d")(SubmanifoldConv3d(3, 4, 3)(x)))
    assert fine.features.shape == (count, 2)
    assert torch.isfinite(fine.features).all()


def test_state_dict_names_and_shapes_are_those_of_spconv() -> None:
    state = SubmanifoldConv3d(5, 7, 3).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == {"weight": (7, 3, 3, 3, 5), "bias": (7,)}
    assert list(SubmanifoldConv3d(5, 7, 3, bias=False).state_dict()) == ["weight"]


def test_rejects_what_does_not_fit() -> None:
    cells = some_cells()
    with pytest.raises(ValueError, match=r"row 3 is \[0, -1,"):
        SparseTensor.of(torch.zeros(200, 3), cells.index_put((torch.tensor(3),), torch.tensor([0, -1, 2, 3])))
    with pytest.raises(ValueError, match=r"features must be \(200, C\) floats, got \(199, 3\)"):
        SparseTensor.of(torch.zeros(199, 3), cells)
    with pytest.raises(ValueError, match=r"cells must be \(M, 4\) int64, got \(200, 3\)"):
        SparseTensor.of(torch.zeros(200, 3), cells[:, 1:])
    with pytest.raises(ValueError, match=r"features must have 5 channels, got 3"):
        SubmanifoldConv3d(5, 5, 3)(some_input())
    with pytest.raises(ValueError, match=r"kernel_size must be odd, got 2"):
        SubmanifoldConv3d(5, 5, 2)
    with pytest.raises(ValueError, match=r"kernel_size must equal stride, got 3 and 2"):
        StridedConv3d(5, 5, 3, 2)
    with pytest.raises(ValueError, match=r"no layer with index_key 'd' ran before"):
        InverseConv3d(3, 3, index_key="d").double()(some_input())
    twice = SparseTensor.of(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"cells must differ, \[1, 1, 1, 1\] occurs twice"):
        SubmanifoldConv3d(3, 3, 3)(twice)
