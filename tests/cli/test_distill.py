"""geoguide3d distill: a whole model folder, its configuration again, and one line for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geoguide3d.cli.distill import main
from geoguide3d.cli.distill_settings import DistillSettings

TOOL = Path(__file__).parents[2] / "tools" / "distill.py"
FILES = ["adapter.safetensors", "checkpoint.pt", "config.json", "config.yaml", "text_table.npz", "training.jsonl"]


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs the command, which has to end with exit code 2, and returns its last line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_writes_a_whole_model_folder(model_folder: Path) -> None:
    assert sorted(path.name for path in model_folder.iterdir()) == FILES
    assert len({path.stat().st_mode & 0o777 for path in model_folder.iterdir()}) == 1
    config = json.loads((model_folder / "config.json").read_text())
    assert config["backbone"]["name"] == "room_net_with_descriptors"
    assert config["backbone"]["config"]["version"] > 0
    assert config["backbone"]["licence"] == "Apache-2.0"
    assert config["text"] == {**config["text"], "kind": "table", "text_space": "clip-vit-b-32/openai"}
    assert config["mask_rule"]["negatives"] == ["floor"]
    log = [json.loads(line) for line in (model_folder / "training.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [20, 40, 60]
    assert log[-1]["loss"] < log[0]["loss"] / 2


def test_the_written_configuration_gives_the_same_bytes_again(capture: Any, model_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    words = [sys.executable, TOOL, "--config", model_folder / "config.yaml", "--output", output]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mean cosine with the teacher 0.9" in done.stdout
    for name in ("adapter.safetensors", "config.json", "text_table.npz", "training.jsonl"):
        assert (output / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_an_earlier_model_is_replaced_and_other_things_are_not(
    capture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scene-list", str(capture.scene_list), *capture.options, "--training.steps=1", "--output", str(tmp_path)]
    assert main(words) == 0
    assert main(words) == 0
    (tmp_path / "thesis.txt").write_text("precious")
    capsys.readouterr()
    message = failure(capsys, *words)
    assert "holds 'thesis.txt'" in message
    assert message.endswith("or add --overwrite")
    assert main([*words, "--overwrite"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--scene-lst", "x"], "did you mean 'scene_list'?"),
        (["--training.stepz", "x"], "did you mean 'training.steps'?"),
        (["--training.steps", "many"], "Parser key \"training.steps\": Expected a <class 'int'>. Got value: many"),
        (["--scene-list=x", "--output=y", "--training.steps", "0"], "training.steps must be positive, got 0"),
        (["--teacher.kind", "clip"], "Expected a typing.Literal['room_clip', 'precomputed']"),
        (["--up", "1,2"], 'Parser key "up"'),
        (
            ["--scene-list=x", "--output=y", "--encoding.cache=y/z"],
            "--encoding.cache y/z lies in --output, where a run",
        ),
        (["--scene-list=x", "--output=y", "--capture.targets-folder=y"], "--capture.targets-folder y lies in --output"),
        ([], "required: scene_list, output"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert expected in failure(capsys, *words)


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("text:\n  tabel:\n    path: x\n", "did you mean 'text.table"),
        ("trainning:\n  steps: 3\n", "did you mean 'training"),
        ("training:\n  steps: fast\n", "training.steps"),
    ],
)
def test_a_wrong_configuration_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], yaml: str, expected: str
) -> None:
    (tmp_path / "a.yaml").write_text(yaml)
    words = ("--config", str(tmp_path / "a.yaml"), "--scene-list", "x", "--output", str(tmp_path / "out"))
    assert expected in failure(capsys, *words)


def test_nothing_is_left_where_a_scene_is_wrong(
    capture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scenes.txt").write_text("absent\n")
    words = ["--scene-list", str(tmp_path / "scenes.txt"), *capture.options, "--output", str(tmp_path / "model")]
    assert "no scene 'absent'" in failure(capsys, *words)
    words = ["--scene-list", str(capture.scene_list), *capture.options, "--output", str(tmp_path / "model")]
    assert "nowhere" in failure(capsys, *words, "--teacher.precomputed.folder=nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.txt"]


def test_a_device_that_is_not_there_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["--scene-list", "absent.txt", "--output", str(tmp_path / "model")]
    for option in ("--training.device", "--fusion.device"):
        assert "'gpu' is no device of torch; try cpu or cuda" in failure(capsys, *words, f"{option}=gpu")
        assert "torch sees no GPU for 'cuda'" in failure(capsys, *words, f"{option}=cuda")


def test_scenes_are_named_as_their_folders_and_files(tmp_path: Path) -> None:
    for name in ("scan.1", "scan.2"):
        (tmp_path / name).mkdir()
    (tmp_path / "scan.3.ply").touch()
    (tmp_path / "scenes.txt").write_text("scan.1\nscan.2\nscan.3.ply\n")
    settings = DistillSettings(tmp_path / "scenes.txt", tmp_path / "out")
    assert [files.name for files in settings.scene_files(settings.scene_list)] == ["scan.1", "scan.2", "scan.3"]


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    options = re.split(r"\n  (?=--)", capsys.readouterr().out)[1:]
    bare = [option.split()[0] for option in options if re.match(r"\S+( \S+)?\s+\((type|default|required)", option)]
    assert bare == []


def test_help_explains_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "--scene-list SCENE_LIST" in text
    assert "geoguide3d distill --scene-list scenes.txt --config configs/lounge.yaml" in text
