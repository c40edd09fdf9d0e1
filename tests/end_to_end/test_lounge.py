"""The user's two commands on a real HoloLens capture, whose y axis points up and whose file does not say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from geoguide3d import GeoGuide
from geoguide3d.cli import distill, query
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene

ROOT = Path(__file__).parents[2]
PROMPTS = ("potted plant", "dining table", "couch")


@pytest.fixture(scope="module")
def lounge(shared_data: Path) -> Path:
    return shared_data / "lounge"


@pytest.fixture(scope="module")
def model(lounge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lounge")
    (folder / "scenes.txt").write_text(f"{lounge}\n")
    words = ["--scene-list", str(folder / "scenes.txt"), "--config", str(ROOT / "configs" / "lounge.yaml")]
    words += ["--output", str(folder / "model"), "--capture.stride", "3", "--capture.points-per-scene", "30000"]
    words += ["--training.steps", "120", "--training.points-per-step", "4000"]
    words += ["--text.table.path", str(lounge.parent / "clip_text" / "vit_b_32_text.npz")]
    assert distill.main(words) == 0
    return folder / "model"


@pytest.fixture(scope="module")
def answer(lounge: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("answer")
    assert query.main([str(lounge / "lounge.ply"), *PROMPTS, "--model", str(model), "--output", str(output)]) == 0
    return output


def test_up_is_found_from_the_mesh_alone(lounge: Path) -> None:
    up = with_up(read_scene(lounge)).up
    assert up is not None
    assert float(up @ torch.tensor([0.0, 1.0, 0.0])) > 0.996  # within 5 degrees


def test_answer_overlays_the_input(lounge: Path, answer: Path) -> None:
    asked, answered = read_scene(lounge), read_scene(answer / "lounge.ply")
    assert torch.equal(asked.points_world, answered.points_world)
    assert asked.faces is not None
    assert answered.faces is not None
    assert torch.equal(asked.faces, answered.faces)


def test_numbers_and_picture_are_written(answer: Path) -> None:
    found = {entry["prompt"]: entry for entry in json.loads((answer / "lounge.json").read_text())["prompts"]}
    assert tuple(found) == PROMPTS
    assert all(0 < found[prompt]["share"] < 0.4 for prompt in PROMPTS)
    assert (answer / "lounge.png").stat().st_size > 10_000


def test_tables_stand_at_table_height(lounge: Path, model: Path) -> None:
    """Nothing in the model says so: the words reach the surfaces through the images."""
    scene = with_up(read_scene(lounge))
    assert scene.up is not None
    height = scene.points @ scene.up
    height = height - height.quantile(0.01)
    mask = GeoGuide.from_pretrained(model).query(scene, ["dining table"]).masks[:, 0]
    assert 0.5 < float(height[mask].median()) < 1.0


def test_an_unlisted_prompt_names_listed_ones(
    lounge: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        query.main([str(lounge / "lounge.ply"), "sofaa", "--model", str(model), "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "sofaa" in message
    assert "ViT-B-32" in message
    assert not (tmp_path / "out").exists()
