"""What is written of an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geoguide3d.query.export import export_answer, score_names, summaries
from geoguide3d.query.result import QueryResult
from geoguide3d.scenes.ply import read_ply
from geoguide3d.scenes.scene import Scene


def result_of(scene: Scene) -> QueryResult:
    box = scene.points[:, 2] > 0.4
    masks = torch.stack([box, torch.zeros_like(box)], dim=1)
    scores = torch.stack([box.float() * 0.5, torch.full((len(scene),), -0.25)], dim=1)
    return QueryResult(("a box", "lamp"), scores, box.long() - 1, masks)


@pytest.mark.parametrize(
    ("prompts", "names"),
    [
        (("a red chair", "Sofa!"), ["score_a_red_chair", "score_sofa"]),
        (("a-b", "a b", "ein Stuhl"), ["score_a_b", "score_a_b_1", "score_ein_stuhl"]),
        (("椅子", "灯"), ["score_0", "score_1"]),
    ],
)
def test_score_names_are_plain_and_different(prompts: tuple[str, ...], names: list[str]) -> None:
    assert score_names(prompts) == names


def test_summaries_are_in_the_frame_of_the_file(room: Scene) -> None:
    moved = replace(room, origin=torch.tensor([1e6, 0.0, 10.0], dtype=torch.float64))
    box, lamp = summaries(moved, result_of(room))
    count = int((room.points[:, 2] > 0.4).sum())
    assert (box["points"], box["labelled"], box["share"]) == (count, count, count / len(room))
    assert (box["best_score"], box["mean_score"]) == (0.5, 0.5)
    assert box["box"][0] == pytest.approx([1e6 + 0.7, 0.7, 10.5])
    assert box["box"][1] == pytest.approx([1e6 + 1.3, 1.3, 10.5])
    assert (lamp["points"], lamp["mean_score"], lamp["box"], lamp["best_score"]) == (0, None, None, -0.25)


def test_writes_three_files_that_overlay_the_input(room: Scene, tmp_path: Path) -> None:
    kept = torch.ones(len(room) + 1, dtype=torch.bool)
    kept[3] = False  # the reader had dropped a row
    scene = replace(room, kept=kept)
    paths = export_answer(tmp_path, scene, result_of(room), {"model": "m"})
    assert [path.name for path in paths] == ["room.ply", "room.png", "room.json"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    with pytest.warns(UserWarning, match="dropped 1 of"):
        again = read_ply(paths[0])
    assert again.input_count == len(room) + 1
    assert torch.equal(again.points, room.points)
    assert json.loads(paths[2].read_text())["model"] == "m"


def test_nothing_half_written_is_left(room: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="up direction"):
        export_answer(tmp_path, replace(room, up=None), result_of(room), {})
    assert [path.name for path in tmp_path.iterdir()] == []
