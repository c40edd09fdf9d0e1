"""Models of torch-pointcloud as backbones: on a stand-in with its interface, and its registry where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.zoo import ZooBackbone, _voxel_size
from geoguide3d.scenes.scene import Scene

ENCODER, SEGMENTATION, CLASSIFIER = "sonata-base.pretrain.fair", "spunet-v1m1.scannet20.pointcept", "pointnet.modelnet"


class Scale:
    scale = (0.5,)

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        return data | {"pos": data["pos"] * 0.5}


class Voxelize:
    size, dst_inverse_key = 0.05, "inverse"

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        cells = (data["pos"] / self.size).floor().long()
        cells, inverse = torch.unique(cells, dim=0, return_inverse=True)
        first = torch.full((len(cells),), len(inverse)).scatter_reduce_(
            0, inverse, torch.arange(len(inverse)), "amin", include_self=True
        )
        x = torch.cat([data["pos"], data["color"] / 255, data["normal"]], dim=1)[first]
        return {"pos": data["pos"][first], "x": x, "pos_grid": cells, "inverse": inverse, "segment": data["segment"]}


class Compose:
    def __init__(self, *transforms: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        self.transforms = transforms

    def __call__(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        for transform in self.transforms:
            data = transform(data)
        return data


class Encoder(nn.Module):
    def forward(self, x: Tensor, pos_grid: Tensor, batch: Tensor, return_intermediates: bool) -> Any:
        assert return_intermediates and len(batch) == len(x)
        coarser, inverse = torch.unique(pos_grid // 2, dim=0, return_inverse=True)
        return coarser.float(), coarser, batch[: len(coarser)], [{"x": x[:, 3:6], "pooling_inverse": inverse}]


class Segmentation(nn.Module):
    num_features = 9

    def __init__(self) -> None:
        super().__init__()
        self.head: nn.Module = nn.Linear(9, 20)

    def reset_classifier(self, num_classes: int) -> None:
        assert num_classes == 0
        self.head = nn.Identity()

    def forward(self, x: Tensor, pos_grid: Tensor, batch: Tensor) -> Tensor:
        assert not self.training
        found: Tensor = self.head(x)
        return found


def create_model(name: str, return_info: bool, **source: object) -> tuple[nn.Module, dict[str, Any]]:
    assert return_info
    models = {
        ENCODER: (Encoder, "pretraining", {"encoder_channels": (3, 3)}),
        SEGMENTATION: (Segmentation, "semantic-segmentation", {}),
        CLASSIFIER: (Segmentation, "classification", {}),
    }
    if name not in models:
        raise ValueError(f"Model {name!r} is not registered.")
    kind, task, hparams = models[name]
    create_model.source = source  # type: ignore[attr-defined]
    info = {
        "task": task,
        "hparams": hparams,
        "weights": {"license": "CC-BY-NC-4.0"},
        "input_keys": ("x", "pos_grid", "batch"),
    }
    return kind(), info | {"transform": Compose(Compose(Scale()), Voxelize())}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    stand_in, utils, data = (ModuleType(f"torch_pointcloud{part}") for part in ("", ".utils", ".utils.data"))
    stand_in.__version__, stand_in.create_model = "0.0.18", create_model  # type: ignore[attr-defined]
    data.collate = lambda samples: samples[0] | {"batch": torch.zeros(len(samples[0]["pos"]))}  # type: ignore[attr-defined]
    for module in (stand_in, utils, data):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return stand_in


def scene() -> Scene:
    generator = torch.Generator().manual_seed(0)
    points, colors, normals = torch.rand(3, 400, 3, generator=generator)
    return Scene(points, colors=colors, normals=nn.functional.normalize(normals, dim=1), up=torch.eye(3)[2])


def test_all_levels_of_an_encoder(package: ModuleType) -> None:
    backbone, room = load_backbone(f"zoo:{ENCODER}", {"device": "cpu"}, None), scene()
    features = backbone.encode(room)
    assert isinstance(backbone, FrozenBackbone)
    assert create_model.source == {"pretrained": True}  # type: ignore[attr-defined]
    assert (backbone.channels, backbone.voxel_size_m, backbone.licence) == (6, 0.1, "CC-BY-NC-4.0")
    assert features.shape == (400, 6)
    coarse = (room.points * 0.5 / 0.05).floor() // 2
    assert torch.equal(features[:, 3:], coarse)
    assert room.colors is not None
    same_cell = torch.cdist((room.points / 0.1).floor(), (room.points / 0.1).floor()) == 0
    first = same_cell.int().argmax(dim=1)
    assert torch.allclose(features[:, :3], room.colors[first], atol=1e-6)


def test_a_segmentation_model_without_its_classes(package: ModuleType, tmp_path: Path) -> None:
    backbone = ZooBackbone(f"zoo:{SEGMENTATION}", tmp_path / "own.safetensors", device="cpu")
    assert create_model.source == {"checkpoint_path": tmp_path / "own.safetensors"}  # type: ignore[attr-defined]
    turned = replace(scene(), up=torch.eye(3)[0])
    assert backbone.encode(scene()).shape == (400, 9)
    assert not torch.equal(backbone.encode(turned), backbone.encode(scene()))


def test_the_version_is_part_of_the_config(package: ModuleType) -> None:
    backbone = load_backbone(f"zoo:{ENCODER}", {"device": "cpu"}, None)
    assert backbone.config == {"version": "0.0.18"}
    package.__version__ = "0.0.19"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"was used with torch-pointcloud 0\.0\.18, but 0\.0\.19 is installed"):
        load_backbone(f"zoo:{ENCODER}", backbone.config | {"device": "cpu"}, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [(CLASSIFIER, "a model for classification: it gives no features per point"), ("sonato", "is not registered")],
)
def test_models_that_cannot_serve(package: ModuleType, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone(f"zoo:{name}", {"device": "cpu"}, None)


def test_without_voxels_there_is_no_way_back() -> None:
    with pytest.raises(ValueError, match="does not thin points to voxels in a way that leads back"):
        _voxel_size("x", Compose(Scale()))


def test_a_gpu_is_asked_for(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a GPU, and torch sees none; our own sonata"):
        load_backbone(f"zoo:{ENCODER}", {}, None)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pointcloud", None)
    with pytest.raises(ImportError, match=r"pip install 'geoguide3d\[zoo\]'"):
        load_backbone(f"zoo:{ENCODER}", {}, None)


@pytest.mark.parametrize(
    ("name", "voxel_size_m"),
    [
        (ENCODER, 0.02),
        ("concerto-large.pretrain.pointcept", 0.02),
        ("utonia-base.pretrain.pointcept", 0.02),
        (SEGMENTATION, 0.02),
    ],
)
def test_names_and_transforms_of_the_installed_package(name: str, voxel_size_m: float) -> None:
    pytest.importorskip("torch_pointcloud", reason="torch-pointcloud is not installed")
    from torch_pointcloud.models._registry import model_info

    info = model_info(name)
    assert info["task"] in ("pretraining", "semantic-segmentation")
    assert _voxel_size(name, info["transform"]) == voxel_size_m
    assert {"x", "pos_grid", "batch"} <= set(info["input_keys"])
    assert info["weights"]["license"]
