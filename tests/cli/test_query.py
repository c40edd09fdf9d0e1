"""geoguide3d query: files that overlay the input, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import plyfile
import pytest
import torch
from PIL import Image

from geoguide3d.cli.query import main

TOOL = Path(__file__).parents[2] / "tools" / "query.py"


@pytest.fixture(scope="module")
def answer(capture: Any, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("answer")
    words = [sys.executable, TOOL, capture.ply, "a box", "lamp", "--model", model_folder, "--output", output]
    done = subprocess.run([*words, "--up", "0,0,1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a box: " in done.stdout
    return output


def test_writes_four_files(answer: Path) -> None:
    assert sorted(path.name for path in answer.iterdir()) == ["room.json", "room.ply", "room.png", "room.yaml"]


def test_the_point_cloud_overlays_the_input_and_shows_the_box(answer: Path, capture: Any) -> None:
    before, after = (plyfile.PlyData.read(str(path))["vertex"] for path in (capture.ply, answer / "room.ply"))
    assert all((before[axis] == after[axis]).all() for axis in "xyz")
    marked = torch.from_numpy(after["prompt"].astype("int64")) == 0
    assert (marked & capture.is_box).sum() / (marked | capture.is_box).sum() > 0.8
    scores = torch.from_numpy(after["score_a_box"].copy())
    assert scores[capture.is_box].mean() > 0.9 > 0.5 > scores[~capture.is_box].mean()


def test_the_numbers_describe_the_mask(answer: Path, model_folder: Path) -> None:
    content = json.loads((answer / "room.json").read_text())
    box = content["prompts"][0]
    assert content["model"] == str(model_folder)
    assert box["prompt"] == "a box"
    assert box["share"] == pytest.approx(box["points"] / content["points"])
    assert box["box"][0][2] == pytest.approx(0.5)  # the lowest of its points lies on the box
    assert 0.9 < box["mean_score"] <= box["best_score"] <= 1.0001


def test_the_picture_opens(answer: Path) -> None:
    with Image.open(answer / "room.png") as picture:
        assert picture.width > 1000
        assert len(picture.getcolors(1 << 24)) > 50


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompts": ["settee"]}, "'settee' is not among the 3 words"),
        ({"prompts": [" "]}, "a prompt is empty"),
        ({"--model": "nowhere"}, "nowhere/config.json: missing"),
        ({"scene": "nowhere.ply"}, "nowhere.ply"),
        ({"--up": "0,0,0"}, "up must be three finite numbers, not all zero"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(
    capture: Any,
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    expected: str,
) -> None:
    asked = {"scene": str(capture.ply), "prompts": ["a box"], "--model": str(model_folder), **changes}
    options = [word for name, value in asked.items() if name.startswith("--") for word in (name, value)]
    with pytest.raises(SystemExit) as caught:
        main([asked["scene"], *asked["prompts"], *options, "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_scene_is_not_written_to(
    capture: Any, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = capture.ply.read_bytes()
    with pytest.raises(SystemExit):
        main([str(capture.ply), "box", "--model", str(model_folder), "--output", str(capture.ply.parent)])
    assert "is the folder of the scene itself" in capsys.readouterr().err
    assert capture.ply.read_bytes() == before
