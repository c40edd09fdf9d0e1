"""A cached backbone encodes each scene once, and never answers for another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geoguide3d.backbones.cached import CachedBackbone
from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeatureCache, FeaturePieces


class Counting:
    """A backbone whose feature is the point's place, and who counts its scenes."""

    name, channels, licence = "counting", 3, "CC0"
    voxel_size_m, needs = 0.02, ("colors",)

    def __init__(self, **config: Any) -> None:
        self.config, self.calls = config, 0

    def encode(self, scene: Scene) -> Tensor:
        self.calls += 1
        return scene.points * 2


class CountingPieces(Counting):
    def encode_pieces(self, scene: Scene) -> FeaturePieces:
        self.calls += 1
        order = torch.arange(len(scene)).flip(0)
        return FeaturePieces(torch.split(scene.points[order] * 2, 2), order)


def scene(**changes: Any) -> Scene:
    torch.manual_seed(0)
    points = torch.rand(7, 3)
    up = torch.tensor([0.0, 0, 1])
    return replace(Scene(points, colors=torch.rand(7, 3), normals=torch.eye(3)[[0] * 7], up=up), **changes)


@pytest.mark.parametrize("kind", [Counting, CountingPieces])
def test_encodes_once(tmp_path: Path, kind: type[Counting]) -> None:
    backbone = kind()
    cached = CachedBackbone(backbone, FeatureCache(tmp_path), None)
    assert isinstance(cached, FrozenBackbone)
    for _ in range(2):
        features = cached.encode(scene(name="other", labels=torch.zeros(7, dtype=torch.int64)))
        assert features.dtype == torch.float32
        assert torch.equal(features, scene().points * 2)
    assert backbone.calls == 1
    assert torch.equal(cached.open(scene()).rows(torch.tensor([4, 0])), scene().points[[4, 0]] * 2)
    assert cached.open(scene()).description.about["licence"] == "CC0"
    assert backbone.calls == 1


def test_float16_rounds_the_same_way_each_time(tmp_path: Path) -> None:
    cached = CachedBackbone(Counting(), FeatureCache(tmp_path, torch.float16), None)
    expected = (scene().points * 2).half().float()
    assert torch.equal(cached.encode(scene()), expected)
    assert torch.equal(cached.encode(scene()), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"points": scene().points + 1e-6},
        {"points": scene().points.flip(0)},
        {"colors": None},
        {"colors": scene().colors * 0.999},  # type: ignore[operator]
        {"normals": None},
        {"normals": torch.eye(3)[[1] * 7]},
        {"up": None},
        {"up": torch.tensor([0.0, 1, 0])},
        {"origin": torch.ones(3, dtype=torch.float64)},
        {"faces": torch.tensor([[0, 1, 2]])},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_changed_scene_never_hits(tmp_path: Path, changes: dict[str, Any]) -> None:
    backbone = Counting()
    cached = CachedBackbone(backbone, FeatureCache(tmp_path), None)
    cached.encode(scene())
    cached.encode(scene(**changes))
    assert backbone.calls == 2


def test_another_config_checkpoint_or_version_never_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "net.safetensors"
    calls = []
    for content, config in [
        (b"a", {}),
        (b"b", {}),
        (None, {}),
        (None, {"voxel_size_m": 1}),
        (None, {"voxel_size_m": 2}),
    ]:
        if content is not None:
            weights.write_bytes(content)
        backbone = Counting(**config)
        CachedBackbone(backbone, FeatureCache(tmp_path / "cache"), None if content is None else weights).encode(scene())
        calls.append(backbone.calls)
    assert calls == [1] * 5
    monkeypatch.setattr("geoguide3d.__version__", "9.9")
    backbone = Counting()
    CachedBackbone(backbone, FeatureCache(tmp_path / "cache"), None).encode(scene())
    assert backbone.calls == 1


def test_descriptors_are_stored_per_voxel_and_come_back_bit_for_bit(tmp_path: Path) -> None:
    plane = torch.cartesian_prod(torch.linspace(0, 1, 60), torch.linspace(0, 1, 60))
    dense = Scene(torch.cat([plane, torch.zeros(len(plane), 1)], dim=1), up=torch.tensor([0.0, 0, 1]))
    descriptors = Descriptors()
    cached = CachedBackbone(descriptors, FeatureCache(tmp_path), None)
    assert torch.equal(cached.encode(dense), descriptors.encode(dense))
    assert cached.open(dense).layout.stored_rows < len(dense) / 4
