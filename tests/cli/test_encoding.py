"""--encoding of the commands: a cache changes nothing but the time, and tiles are another configuration."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from geoguide3d.cli.distill import main as distill
from geoguide3d.cli.query import main as query

FILES = ["adapter.safetensors", "config.json", "text_table.npz", "training.jsonl"]


def encoded(caplog: pytest.LogCaptureFixture) -> int:
    """How many scenes were encoded, and not read from the cache, since the last time."""
    count = sum("not in the cache" in record.message for record in caplog.records)
    caplog.clear()
    return count


def test_a_cache_changes_no_byte_of_the_model_and_serves_queries(
    capture: Any, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cache = ["--encoding.cache", str(tmp_path / "cache")]
    for turn in range(2):
        output = tmp_path / f"model{turn}"
        words = ["--scene-list", str(capture.scene_list), *capture.options, *cache, "--output", str(output)]
        assert distill(words) == 0
        assert encoded(caplog) == 1 - turn
        for name in FILES:
            assert (output / name).read_bytes() == (model_folder / name).read_bytes(), name
    asked = [str(capture.ply), "box", "--model", str(model_folder), "--up=0,0,1"]
    answers = []
    for options in ([], cache):
        output = tmp_path / f"answer{len(options)}"
        assert query([*asked, *options, "--output", str(output)]) == 0
        answers.append(json.loads((output / "room.json").read_text())["prompts"])
    assert encoded(caplog) == 0
    assert answers[0] == answers[1]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_half_precision_and_tiles_get_files_of_their_own(
    capture: Any, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked = [str(capture.ply), "box", "--model", str(model_folder), "--up=0,0,1", "--output", str(tmp_path / "answer")]
    asked += ["--encoding.cache", str(tmp_path / "cache")]
    ways = {"at once": [], "GB": ["--encoding.cache-half=true"], "tiles of at most": ["--encoding.tiles.core-m=1.2"]}
    for way, options in ways.items():
        assert query([*asked, *options]) == 0
        assert way in caplog.text
        assert encoded(caplog) == 1
    names = sorted(path.name.split(".")[1] for path in (tmp_path / "cache").iterdir())
    assert names == ["float16", "float32", "float32"]


def test_a_file_is_no_cache(
    capture: Any, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(capture.ply), "box", "--model", str(model_folder), "--output", str(tmp_path / "answer")]
    with pytest.raises(SystemExit) as caught:
        query([*asked, "--encoding.cache", str(capture.ply)])
    assert caught.value.code == 2
    assert f"the cache {capture.ply} is a file; name a folder" in capsys.readouterr().err
