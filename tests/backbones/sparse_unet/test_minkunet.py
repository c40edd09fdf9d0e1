"""MinkUNet18A gives what MinkowskiEngine's definition says, from checkpoints in its names and its layout.

The oracle below holds every level as a dense grid with a mask of its occupied cells, and reads the kernels as
MinkowskiEngine lays them out: (taps, in, out), taps counted with x fastest, odd sizes about the centre, even ones from
0.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from geoguide3d.backbones.checkpoint import Checkpoint, load_parameters
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.sparse_unet.minkunet import MINKUNET18A, MinkUNet18A, from_minkowski, minkowski_name
from geoguide3d.backbones.sparse_unet.network import SparseUNet
from geoguide3d.scenes.scene import Scene
from geoguide3d.sparse.tensor import SparseTensor

SMALL = replace(MINKUNET18A, num_classes=5, base_channels=3, channels=(3, 4, 6, 7, 5, 5, 4, 4))
State = dict[str, Tensor]


def shapes(folder: Path) -> dict[str, list[int]]:
    description = json.loads((folder / "backbones" / "names" / "openscene_minkunet18a.json").read_text())
    return {entry["name"]: entry["shape"] for entry in description["state_dict"]}


def minkowski_state(config: object = SMALL, seed: int = 0) -> State:
    """Returns random parameters in MinkowskiEngine's names and layout."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        ours = SparseUNet(config).state_dict()  # type: ignore[arg-type]
    state = {}
    for name, value in ours.items():
        theirs = minkowski_name(name)
        if theirs.endswith(".kernel"):
            out, size, _, _, channels = value.shape
            shape = (channels, out) if size == 1 else (size**3, channels, out)
            state[theirs] = torch.randn(shape, generator=generator) / (channels * min(size**3, 9)) ** 0.5
        elif theirs.endswith("tracked"):
            state[theirs] = torch.tensor(7)
        else:
            state[theirs] = torch.rand(value.shape, generator=generator) + 0.5
    return state


# --- the oracle -------------------------------------------------------------------------------------------------------


def offsets(size: int) -> list[tuple[int, int, int]]:
    first = 0 if size % 2 == 0 else -(size // 2)
    steps = range(first, first + size)
    return [(x, y, z) for z in steps for y in steps for x in steps]


def convolve(grid: Tensor, kernel: Tensor) -> Tensor:
    """Returns out(p) = Σ over taps of grid(p + offset) · kernel[tap]; grid (X, Y, Z, C)."""
    if kernel.ndim == 2:
        return grid @ kernel
    size = round(len(kernel) ** (1 / 3))
    reach, (x, y, z, _) = size // 2, grid.shape
    padded = torch.nn.functional.pad(grid, (0, 0, *[reach] * 6))
    out = grid.new_zeros(x, y, z, kernel.shape[2])
    for (i, j, k), tap in zip(offsets(size), kernel, strict=True):
        out += padded[reach + i :, reach + j :, reach + k :][:x, :y, :z] @ tap
    return out


def convolve_down(grid: Tensor, kernel: Tensor) -> Tensor:
    parts = [grid[i::2, j::2, k::2] @ tap for (i, j, k), tap in zip(offsets(2), kernel, strict=True)]
    return torch.stack(parts).sum(dim=0)


def convolve_up(grid: Tensor, kernel: Tensor) -> Tensor:
    x, y, z, _ = grid.shape
    out = grid.new_zeros(2 * x, 2 * y, 2 * z, kernel.shape[2])
    for (i, j, k), tap in zip(offsets(2), kernel, strict=True):
        out[i::2, j::2, k::2] = grid @ tap
    return out


def normalized(grid: Tensor, state: State, name: str) -> Tensor:
    mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    return (grid - mean) / (variance + 1e-5).sqrt() * state[f"{name}.bn.weight"] + state[f"{name}.bn.bias"]


def residual(grid: Tensor, mask: Tensor, state: State, name: str) -> Tensor:
    out = mask * normalized(convolve(grid, state[f"{name}.conv1.kernel"]), state, f"{name}.norm1").relu()
    out = normalized(convolve(out, state[f"{name}.conv2.kernel"]), state, f"{name}.norm2")
    if f"{name}.downsample.0.kernel" in state:
        grid = normalized(grid @ state[f"{name}.downsample.0.kernel"], state, f"{name}.downsample.1")
    return mask * (out + grid).relu()


def minkunet(grid: Tensor, mask: Tensor, state: State) -> Tensor:
    """Returns the network's output; grid and mask (X, Y, Z, ·) of ones and zeros, sides multiples of 16."""
    masks = [mask]
    out = mask * normalized(convolve(grid, state["conv0p1s1.kernel"]), state, "bn0").relu()
    skips = []
    for level in range(4):
        skips.append(out)
        masks.append(convolve_down(masks[-1], mask.new_ones(8, 1, 1)).clamp(max=1))
        out = normalized(convolve_down(out, state[f"conv{level + 1}p{2**level}s2.kernel"]), state, f"bn{level + 1}")
        out = masks[-1] * out.relu()
        for block in range(2):
            out = residual(out, masks[-1], state, f"block{level + 1}.{block}")
    for number, level in zip(range(4, 8), (3, 2, 1, 0), strict=True):
        out = normalized(convolve_up(out, state[f"convtr{number}p{2 ** (level + 1)}s2.kernel"]), state, f"bntr{number}")
        out = torch.cat([masks[level] * out.relu(), skips.pop()], dim=3)
        for block in range(2):
            out = residual(out, masks[level], state, f"block{number + 1}.{block}")
    return out @ state["final.kernel"]


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv0p1s1", "block1.0.conv1", "conv1p1s2", "convtr7p2s2", "block8.0.downsample.0"])
def test_each_kind_of_layer_is_minkowskis_by_definition(name: str) -> None:
    state = minkowski_state()
    network = SparseUNet(SMALL).eval()
    load_parameters(network, from_minkowski(Checkpoint(Path("net.pth"), state, None)))
    places = {minkowski_name(place): place.removesuffix(".weight") for place in network.state_dict()}
    layer, kernel = network.get_submodule(places[f"{name}.kernel"]), state[f"{name}.kernel"]
    grid = torch.randn(6, 4, 8, kernel.shape[-2], generator=torch.Generator().manual_seed(1))
    cells = torch.nn.functional.pad(torch.ones(6, 4, 8).nonzero(), (1, 0))
    x = SparseTensor.of(grid.flatten(0, 2), cells)
    with torch.no_grad():
        if name.startswith("convtr"):
            coarse = network.get_submodule("down.0.0")(SparseTensor.of(torch.zeros(len(cells), 3), cells))
            grid = grid[:3, :2, :4]
            found, expected = layer(coarse.with_features(grid.flatten(0, 2))), convolve_up(grid, kernel)
        else:
            found, expected = layer(x), (convolve_down if name == "conv1p1s2" else convolve)(grid, kernel)
    assert torch.allclose(found.features, expected.flatten(0, 2), atol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_network_is_minkowskis_by_definition(share: float) -> None:
    state = {name: value.double() for name, value in minkowski_state().items()}
    network = SparseUNet(SMALL).double().eval()
    load_parameters(network, from_minkowski(Checkpoint(Path("net.pth"), state, None)))
    generator = torch.Generator().manual_seed(5)
    mask = (torch.rand(16, 32, 16, 1, generator=generator) < share).double()
    grid = mask * torch.randn(16, 32, 16, 3, generator=generator, dtype=torch.float64)
    cells = mask[..., 0].nonzero()
    x = SparseTensor.of(grid[tuple(cells.T)], torch.nn.functional.pad(cells, (1, 0)))
    with torch.no_grad():
        found = network.classify(network(x)).features
    expected = minkunet(grid, mask, state)[tuple(cells.T)]
    error = float((found - expected).abs().max())
    print(f"max abs error against dense convolutions: {error:.1e} of {float(expected.abs().max()):.1f}")
    assert error <= 1e-10


def test_names_and_shapes_are_openscenes(shared_fixtures: Path) -> None:
    assert {name: list(value.shape) for name, value in minkowski_state(MINKUNET18A).items()} == shapes(shared_fixtures)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openscene") / "model_best.pth.tar"
    state = minkowski_state(replace(MINKUNET18A, num_classes=512))
    torch.save(
        {"epoch": 3, "state_dict": {f"module.net3d.{name}": value for name, value in state.items()}, "best_iou": 0.5},
        path,
    )
    return path


def room(points: int = 2000) -> Scene:
    places = torch.rand(points, 3, generator=torch.Generator().manual_seed(points))
    places[torch.arange(points), torch.arange(points) % 3] = 0.0
    return Scene(places, up=torch.tensor([0.0, 0.0, 1.0]))


def test_a_checkpoint_of_openscene(checkpoint: Path) -> None:
    backbone, scene = MinkUNet18A.load(checkpoint, voxel_size_m=0.1), room()
    features = backbone.encode(scene)
    assert isinstance(backbone, FrozenBackbone)
    assert backbone.needs == ()
    assert features.shape == (2000, backbone.channels) == (2000, 512)
    assert bool(features.isfinite().all())
    assert torch.equal(features, backbone.encode(replace(scene, colors=torch.rand(2000, 3))))
    again = load_backbone("minkunet18a", json.loads(json.dumps(backbone.config)), checkpoint)
    assert torch.equal(again.encode(scene), features)


def test_voxels_are_openscenes(checkpoint: Path) -> None:
    backbone, scene = MinkUNet18A.load(checkpoint, voxel_size_m=0.1), room()
    scene = replace(scene, points=scene.points - 0.333)
    cells = (scene.points.double() / 0.1).floor().long()
    cells, voxel_of_point = torch.unique(cells - cells.amin(dim=0), dim=0, return_inverse=True)
    x = SparseTensor.of(torch.ones(len(cells), 3), torch.nn.functional.pad(cells, (1, 0)))
    expected = backbone.network.classify(backbone.network(x)).features[voxel_of_point]
    assert torch.allclose(backbone.encode(scene), expected, atol=1e-5)


def test_features_before_the_last_layer(checkpoint: Path) -> None:
    scene = room()
    text, before = (MinkUNet18A.load(checkpoint, voxel_size_m=0.1, text_features=on) for on in (True, False))
    assert before.channels == 96
    final = torch.load(checkpoint, weights_only=True)["state_dict"]["module.net3d.final.kernel"]
    assert torch.allclose(before.encode(scene) @ final, text.encode(scene), atol=1e-4, rtol=1e-4)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    state = minkowski_state()
    torch.save({"state_dict": state}, tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match=r"narrow\.pth does not fit .*other shapes conv_input\.0\.weight"):
        MinkUNet18A.load(tmp_path / "narrow.pth")
    state["block4.2.conv1.kernel"] = state.pop("block4.1.conv1.kernel")
    torch.save({"state_dict": state}, tmp_path / "deep.pth")
    with pytest.raises(ValueError, match=r"deep\.pth is no MinkUNet18A.* 288 of 289 .*lacks block4\.1\.conv1\.kernel"):
        MinkUNet18A.load(tmp_path / "deep.pth")
    full = minkowski_state(MINKUNET18A) | {"head.kernel": torch.zeros(2, 2)}
    torch.save({"state_dict": full}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"does not know head\.kernel"):
        MinkUNet18A.load(tmp_path / "more.pth")
    full["conv0p1s1.kernel"] = torch.zeros(124, 3, 32)
    torch.save({"state_dict": full}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"conv0p1s1\.kernel is \(124, 3, 32\)"):
        MinkUNet18A.load(tmp_path / "odd.pth")


def test_takes_three_ones() -> None:
    with pytest.raises(ValueError, match="takes 6 channels"):
        MinkUNet18A(SparseUNet(replace(SMALL, in_channels=6)))
