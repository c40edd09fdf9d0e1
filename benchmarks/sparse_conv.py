"""Submanifold 3³ convolution of surface voxels, its kernel map, and its gradients.

ours    geoguide3d.ops.submanifold_map and sparse_conv
plain   the map by torch.searchsorted in sorted keys; per tap: gather, matrix product, index_add
spconv  SubMConv3d, algorithm Native on the CPU, implicit GEMM on a GPU; left out where it is not installed
limit   one square matrix product of torch with as many multiplications, at the processor's peak

The voxels are those of a furnished box at 3.32 cm, in the order of voxel_hash. Runs on the GPU where there is one and
the CUDA kernels are built, else on the CPU.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import measure
import torch
from cases.furnished_box import box_points
from torch import Tensor

from geoguide3d.ops import compiled, sparse_conv, submanifold_map, voxel_hash
from geoguide3d.ops.kernel_map import submanifold_map_reference
from geoguide3d.ops.sparse_conv import sparse_conv_reference

DEVICE = "cuda" if compiled == "cuda" and torch.cuda.is_available() else "cpu"
VOXEL_SIZE_M = 0.0332  # 176k voxels
HAS_SPCONV = importlib.util.find_spec("spconv") is not None


def surface_cells() -> Tensor:
    """Returns (176k, 4) cells of one batch."""
    cells = voxel_hash(box_points(1_000_000), VOXEL_SIZE_M)[0]
    return torch.nn.functional.pad(cells, (1, 0)).to(DEVICE)


def spconv_layer(cells: Tensor, features: Tensor, weight: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Returns spconv's layer with the map found before, and the layer with its search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spconv.pytorch as spconv
        from spconv.core import ConvAlgo
    algorithm = ConvAlgo.Native if DEVICE == "cpu" else None
    width, _, channels = weight.shape
    layer = spconv.SubMConv3d(channels, width, 3, bias=False, indice_key="k", algo=algorithm).to(DEVICE).eval()
    layer.weight = torch.nn.Parameter(weight.unflatten(1, (3, 3, 3)).clone())
    extent = (cells[:, 1:].amax(0) + 1).tolist()

    def fresh() -> Any:
        return spconv.SparseConvTensor(features, cells.int(), extent, 1)

    known = fresh()
    known.indice_dict = layer(known).indice_dict

    def with_map() -> Tensor:
        with torch.no_grad():
            out = layer(known).features
        assert isinstance(out, Tensor)
        return out

    def with_search() -> Tensor:
        with torch.no_grad():
            out = layer(fresh()).features
        assert isinstance(out, Tensor)
        return out

    return with_map, with_search


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def square_of(multiplications: int) -> Tensor:
    """Returns a square matrix whose product with itself takes that many."""
    side = round(multiplications ** (1 / 3))
    return torch.randn(side, side, device=DEVICE)


def forward_rows(cells: Tensor, channels: int, runs: int, aim: float | None) -> list[measure.Row]:
    """Returns the rows of a layer alone, and, where there is an aim, of the layer with its kernel map."""
    neighbours = submanifold_map(cells, 3)
    features = torch.randn(len(cells), channels, device=DEVICE)
    weight = torch.randn(channels, 27, channels, device=DEVICE) / (9 * channels) ** 0.5
    square = square_of(int((neighbours >= 0).sum()) * channels**2)
    case = f"{channels}→{channels}, {len(cells):,} voxels"
    sides: dict[str, measure.Side] = {
        "ours": lambda: sparse_conv(features, weight, None, neighbours, None),
        "plain": lambda: sparse_conv_reference(features, weight, None, neighbours, None),
        "limit": lambda: square @ square,
    }
    whole: dict[str, measure.Side] = {
        "ours": lambda: sparse_conv(features, weight, None, submanifold_map(cells, 3), None),
        "plain": lambda: sparse_conv_reference(features, weight, None, submanifold_map_reference(cells, 3), None),
    }
    if HAS_SPCONV:
        sides["spconv"], whole["spconv"] = spconv_layer(cells, features, weight)
        close(sides["ours"](), sides["spconv"]())
    against: measure.Column = "peer" if HAS_SPCONV else "plain"
    rows = [measure.compare(case, sides, aim=aim, against=against, runs=runs, check=close)]
    if aim is not None:
        rows.append(measure.compare(f"{case}, with map", whole, aim=aim, against=against, runs=runs, check=close))
    return rows


def gradient_row(cells: Tensor, channels: int, runs: int) -> measure.Row:
    neighbours = submanifold_map(cells, 3)
    features = torch.randn(len(cells), channels, device=DEVICE, requires_grad=True)
    weight = (torch.randn(channels, 27, channels, device=DEVICE) / (9 * channels) ** 0.5).requires_grad_()
    grad = torch.randn(len(cells), channels, device=DEVICE)

    def step(convolve: Callable[..., Tensor]) -> measure.Side:
        def run() -> Tensor:
            out = convolve(features, weight, None, neighbours, None)
            return torch.autograd.grad(out, (features, weight), grad)[0]

        return run

    square = square_of(3 * int((neighbours >= 0).sum()) * channels**2)
    sides: dict[str, measure.Side] = {
        "ours": step(sparse_conv),
        "plain": step(sparse_conv_reference),
        "limit": lambda: square @ square,
    }
    case = f"{channels}→{channels}, {len(cells):,} voxels, forward + backward"
    return measure.compare(case, sides, aim=1.5, runs=runs, check=close)


def main() -> None:
    options = measure.start(__doc__)
    torch.manual_seed(0)
    cells = surface_cells()
    coarse = torch.unique(torch.cat([cells[:, :1], cells[:, 1:] // 4], dim=1), dim=0)
    rows = [
        *forward_rows(cells, 32, options.runs, 8.0),
        *forward_rows(coarse, 128, options.runs, None),
        gradient_row(cells, 32, options.runs),
    ]
    measure.report("sparse_conv", rows, as_json=options.json)


if __name__ == "__main__":
    main()
