from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoguide3d.cli.train_room_clip import main
from geoguide3d.encoders.room_clip import RoomClipImageEncoder, RoomClipTextEncoder
from geoguide3d.encoders.room_clip.trainer import RoomClipTrainer
from tests.training.resuming import assert_command_resumes

TINY = [
    *("--rooms.train", "2", "--rooms.validation", "1", "--rooms.test", "1", "--rooms.views", "2"),
    *("--model.channels", "8", "--model.stages", "4,4,6,6", "--model.image-pixels", "768"),
    *("--model.text-width", "8", "--model.text-heads", "2"),
    *("--training.batch", "2", "--training.crop", "24,32", "--training.warm-up", "1"),
]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open3d")
    output = tmp_path_factory.mktemp("rendered")
    assert main(["--output", str(output), *TINY, "--training.steps", "1"]) == 0
    return output / "frames"


def test_renders_trains_and_reports(frames: Path, tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path), "--frames", str(frames), *TINY, "--training.steps", "3"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["validation"]["frames"] == report["test"]["frames"] == 2
    assert 0 <= report["test"]["mean_iou"] <= 1
    weights = tmp_path / "room_clip.safetensors"
    assert RoomClipTextEncoder.load(weights).encode_text(["a wall"]).shape == (1, 8)
    assert RoomClipImageEncoder.load(weights).channels == 8


def test_a_stopped_run_goes_on_to_the_same_weights(frames: Path, tmp_path: Path) -> None:
    words = ["--frames", str(frames), *TINY]
    assert_command_resumes(main, RoomClipTrainer, words, "room_clip.safetensors", tmp_path)


def test_judges_given_weights_without_training(frames: Path, tmp_path: Path) -> None:
    common = ["--frames", str(frames), *TINY, "--training.steps", "1"]
    main(["--output", str(tmp_path / "trained"), *common])
    weights = tmp_path / "trained" / "room_clip.safetensors"
    main(["--output", str(tmp_path / "judged"), "--weights", str(weights), *common])
    assert [path.name for path in sorted((tmp_path / "judged").iterdir())] == ["config.yaml", "report.json"]
    reports = [(tmp_path / folder / "report.json").read_bytes() for folder in ("trained", "judged")]
    assert reports[0] == reports[1]


def test_resolved_options_reproduce_the_run(frames: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    main(["--output", str(first), "--frames", str(frames), *TINY, "--training.steps", "2"])
    main(["--config", str(first / "config.yaml"), "--output", str(second)])
    name = "room_clip.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_an_unknown_key_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path), "--training.stepz", "3"])
    assert "did you mean 'training.steps'?" in capsys.readouterr().err


def test_the_shipped_configuration_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[2] / "configs" / "room_clip.yaml"
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(shipped), "--output", "nowhere", "--print_config"])
    assert stopped.value.code == 0
    assert "steps:" in capsys.readouterr().out
