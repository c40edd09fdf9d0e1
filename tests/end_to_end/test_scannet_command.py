"""The user's own command on ScanNet and SAS files: tools/distill.py with configs/scannet_sas.yaml, then a query."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geoguide3d.encoders.label_sets import LABEL_SETS
from geoguide3d.scenes.rooms import CATEGORIES
from tests.end_to_end.openscene_layout import SCANNET, Layout, write_layout

ROOT = Path(__file__).parents[2]
TEMPLATE = "a {} in a scene"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Rooms as ScanNet and SAS lie on disk, and a table of words in a space of CLIP's width: a cone, as CLIP's is."""
    pytest.importorskip("open3d")
    root = tmp_path_factory.mktemp("data")
    prompts = LABEL_SETS["scannet_20"].prompts(TEMPLATE, openscene_compat=True)
    words = [*prompts, *LABEL_SETS["scannet_20"].labels]
    random = np.random.default_rng(0)
    classes = random.normal(size=(len(prompts), 512)) + 3 * random.normal(size=512)
    classes = (classes / np.linalg.norm(classes, axis=1, keepdims=True)).astype(np.float32)
    (root / "clip_text").mkdir()
    np.savez(root / "clip_text" / "vit_b_32_text.npz", names=np.array(words), embeddings=np.tile(classes, (2, 1)))
    mean = classes.mean(axis=0) / np.linalg.norm(classes.mean(axis=0))
    vectors = np.stack([classes[SCANNET[name]] if name in SCANNET else mean for name in CATEGORIES])
    return write_layout(root, train=2, val=1, points=6000, vectors=vectors)


def run(tool: str, *words: str, folder: Path) -> str:
    """Runs a tool in a folder, from which the text table's path starts, and returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tools" / tool), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_distils_and_answers(layout: Layout, tmp_path: Path) -> None:
    output = tmp_path / "model"
    run(
        "distill.py",
        *("--scene-list", str(layout.train_list), "--config", str(ROOT / "configs" / "scannet_sas.yaml")),
        *("--data-root", str(layout.data_root), "--output", str(output)),
        *("--backbone.name", "room_net", "--backbone.file", "null"),  # in the place of sonata.pth
        *("--encoding.cache", str(tmp_path / "cache"), "--training.steps", "40", "--training.scenes-per-step", "2"),
        *("--training.points-per-step", "2000", "--training.log-every", "10", "--training.learning-rate", "0.003"),
        *("--validation.scene-list", str(layout.val_list), "--validation.every", "40"),
        folder=layout.data_root,
    )
    lines = [json.loads(line) for line in (output / "training.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss" in line]
    assert {"distillation", "imr", "iirc", "weight_entropy", "mean_cosine"} <= logged[0].keys()
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert lines[-1]["validation_mean_iou"] > 0.15  # of 20 classes, by chance 0.02

    scene = layout.data_root / "scannet_3d" / "val" / f"{layout.val[0]}_vh_clean_2.pth"
    answer = tmp_path / "answer"
    run(
        *("query.py", str(scene), "floor", "wall", "--model", str(output), "--output", str(answer)),
        folder=layout.data_root,
    )
    (told,) = [json.loads(path.read_text()) for path in answer.glob("*.json")]
    assert told
    assert {path.suffix for path in answer.iterdir()} >= {".ply", ".png", ".json"}


def test_a_scene_without_features_is_named(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{layout.train[0]}\nscene0707_00\n")
    with pytest.raises(AssertionError, match=r"list.txt:2: scene 'scene0707_00' has no point file; looked for"):
        run(
            "distill.py",
            *("--scene-list", str(tmp_path / "list.txt"), "--config", str(ROOT / "configs" / "scannet_sas.yaml")),
            *("--data-root", str(layout.data_root), "--output", str(tmp_path / "model")),
            *("--backbone.name", "room_net", "--backbone.file", "null"),
            folder=layout.data_root,
        )
