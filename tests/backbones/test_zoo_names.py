"""torch-pointcloud's files load into our networks: names of models that its version 0.0.18 built."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from geoguide3d.backbones.checkpoint import Checkpoint
from geoguide3d.backbones.ptv3.config import SONATA, UTONIA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.backbones.zoo_names import encoder_names, spunet_names
from geoguide3d.scenes.scene import Scene
from tests.backbones.ptv3.random_encoder import name_seeded


def recorded(model: str, prefix: str = "") -> Checkpoint:
    shapes = json.loads(Path(__file__).with_name("zoo_names.json").read_text())["models"][model]
    state = {prefix + name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return Checkpoint(Path("model.safetensors"), state, None)


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    ("model", "size"), [("sonata-base.pretrain.fair", SONATA), ("utonia-base.pretrain.pointcept", UTONIA)]
)
@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_names_of_encoders(model: str, size: PTv3Config, prefix: str) -> None:
    checkpoint = recorded(model, prefix)
    if prefix:
        checkpoint.state_dict["head.weight"] = torch.empty(20, 1232)
    found = encoder_names(checkpoint).state_dict
    with torch.device("meta"):
        expected = PTv3Encoder(replace(size, mask_token=False)).state_dict()
    assert shapes_of(found) == shapes_of(expected)


def test_names_of_spunet(shared_fixtures: Path) -> None:
    file = shared_fixtures / "backbones" / "names" / "spunet_v1m1_default.json"
    entries = json.loads(file.read_text())["state_dict"]
    found = spunet_names(recorded("spunet-v1m1.scannet20.pointcept")).state_dict
    assert shapes_of(found) == {entry["name"]: tuple(entry["shape"]) for entry in entries}


def test_other_checkpoints_stay_as_they_are() -> None:
    checkpoint = Checkpoint(Path("x"), {"blocks.weight": torch.zeros(1), "head.weight": torch.zeros(1)}, None)
    assert encoder_names(checkpoint) is checkpoint
    assert spunet_names(checkpoint) is checkpoint


def test_a_file_of_the_zoo_encodes_as_the_published_one(tmp_path: Path) -> None:
    size = replace(
        SONATA, stride=(2,), enc_depths=(1, 1), enc_channels=(16, 32), enc_num_head=(1, 2), enc_patch_size=(1024, 1024)
    )
    state = name_seeded(PTv3Encoder(size), 4)
    upstream = list(encoder_names(recorded("sonata-base.pretrain.fair")).state_dict)
    zoo_name_of = dict(zip(upstream, recorded("sonata-base.pretrain.fair").state_dict, strict=True))
    zoo = {zoo_name_of[name]: value for name, value in state.items() if name != "embedding.mask_token"}
    save_file(zoo, tmp_path / "model.safetensors")
    torch.save(state, tmp_path / "sonata.pth")
    scene = Scene(torch.rand(300, 3), colors=torch.rand(300, 3), up=torch.tensor([0.0, 0.0, 1.0]))
    found, expected = (Sonata.load(tmp_path / name).encode(scene) for name in ("model.safetensors", "sonata.pth"))
    assert torch.equal(found, expected)
