"""geoguide3d train_room_net: rooms, weights and a report; a stopped run goes on; the shipped configuration is read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.pretraining import RoomNetTrainer
from geoguide3d.cli import train_room_net
from geoguide3d.scenes.rooms.splits import Split
from tests.backbones.room_net.fake_rooms import fake_scene
from tests.training.resuming import assert_command_resumes

TINY = [
    *("--rooms.train", "2", "--rooms.validation", "2", "--rooms.test", "0"),
    *("--model.voxel-size-m", "0.06", "--model.base-channels", "4", "--model.channels", "6,8,8,6"),
    *("--training.sampling.matches", "64", "--training.sampling.described", "64", "--training.warm-up", "1"),
]


@pytest.fixture(autouse=True)
def fake_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_room(seed: int, split: Split) -> SimpleNamespace:
        return SimpleNamespace(scene=lambda: fake_scene(seed, split))

    monkeypatch.setattr(train_room_net, "make_room", make_room)


def test_trains_and_reports(tmp_path: Path) -> None:
    words = [*TINY, "--training.steps", "2"]
    assert train_room_net.main(["--output", str(tmp_path / "first"), *words]) == 0
    report = json.loads((tmp_path / "first" / "report.json").read_text())
    assert report["queries"] == 8
    assert report["chance"] < 1
    assert RoomNet.load(tmp_path / "first" / "room_net.safetensors").channels == 6 + 8 + 8
    again = ["--config", str(tmp_path / "first" / "config.yaml"), "--output", str(tmp_path / "second")]
    assert train_room_net.main(again) == 0
    name = "room_net.safetensors"
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    assert_command_resumes(train_room_net.main, RoomNetTrainer, TINY, "room_net.safetensors", tmp_path)


def test_the_shipped_configuration_is_that_of_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[2] / "configs" / "room_net.yaml"
    for words in (["--config", str(shipped)], ["--threads", "1", "--rooms.test", "0"]):
        with pytest.raises(SystemExit) as stopped:
            train_room_net.main([*words, "--output", "nowhere", "--print_config"])
        assert stopped.value.code == 0
    printed = capsys.readouterr().out
    half = len(printed) // 2
    assert "steps: 3600" in printed
    assert printed[:half] == printed[half:]
