"""config.json: there and back, and every way it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.query.config import MaskRule, ModelConfig

CONFIG = ModelConfig(
    adapter={"in_channels": 4, "out_channels": 3, "hidden_channels": 8},
    backbone=BackboneRecord("sonata", {"enc_mode": True}, "ab" * 32, "CC-BY-NC-4.0", "sonata.pth"),
    text={"kind": "table", "config": {"path": "text_table.npz"}, "text_space": "clip"},
    mask_rule=MaskRule(0.2, ("wall", "floor"), -0.01, 0.8),
    prompt_template="a {} in a room",
    versions={"torch": "2.14"},
)


def test_round_trip(tmp_path: Path) -> None:
    CONFIG.write(tmp_path)
    assert ModelConfig.read(tmp_path) == CONFIG
    assert json.loads((tmp_path / "config.json").read_text())["format_version"] == 1


def edited(folder: Path, **changes: Any) -> Path:
    CONFIG.write(folder)
    content = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value != "absent"}))
    return folder


@pytest.mark.parametrize("version", [2, None, "1"])
def test_another_format_version_is_told_with_the_cure(tmp_path: Path, version: Any) -> None:
    with pytest.raises(ValueError, match=r"config\.json: format version .* reads 1; distil again") as caught:
        ModelConfig.read(edited(tmp_path, format_version=version))
    assert f"version {version}," in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "absent"},
        {"mask_rule": "absent"},
        {"backbone": {"name": "x", "hash": 1}},
        {"mask_rule": {"negatives": [], "treshold": 1}},
        {"text": {"kind": "table"}},
        {"surplus": 1},
        {"mask_rule": 3},
    ],
)
def test_missing_and_misspelt_entries_are_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"config\.json: misses or misspells an entry"):
        ModelConfig.read(edited(tmp_path, **changes))


def test_missing_folder_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/config\.json: missing; give the folder that tools/distill"):
        ModelConfig.read(tmp_path / "nowhere")


@pytest.mark.parametrize("rule", [{"threshold": 1.5}, {"same_meaning_cosine": -2.0}])
def test_cosines_are_between_minus_one_and_one(rule: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is a cosine between -1 and 1"):
        MaskRule(**rule)
