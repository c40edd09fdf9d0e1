"""A run that is killed at any moment, or whose disk fills, goes on to the same log and the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geoguide3d.distillation.distill import Distilled, distill
from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import open_run
from tests.distillation.lessons import ScaledObjective, three_lessons
from tests.training.killed_runs import MOMENTS, RUN

SCRIPT = Path(__file__).parent / "killed_runs.py"
KILLED = [*(name for name in MOMENTS if name != "full_disk"), "later_0", "later_0.013"]


@pytest.fixture(scope="module")
def whole() -> Distilled:
    return distill(three_lessons(), RUN, ScaledObjective)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folders of killed runs, one per moment, and what the script said."""
    folder = tmp_path_factory.mktemp("killed")
    words = [sys.executable, str(SCRIPT), str(folder), *KILLED, "full_disk"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}  # of the package tests
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.parametrize("moment", [*KILLED, "full_disk"])
def test_a_stopped_run_ends_in_the_same_bits(moment: str, killed: tuple[Path, str], whole: Distilled) -> None:
    folder, said = killed[0] / moment, killed[1]
    assert f"{moment}: {2 if moment == 'full_disk' else -9}" in said
    assert (folder / "checkpoint.pt").is_file()
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert step % RUN.checkpoint_steps == 0 and 0 < step < RUN.steps
    with open_run(folder, Processes()) as run:
        again = distill(three_lessons(), RUN, ScaledObjective, run)
    assert again.log == whole.log
    assert [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()] == whole.log
    for name, value in whole.adapter.state_dict().items():
        assert torch.equal(value, again.adapter.state_dict()[name]), name
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "training.jsonl"]


def test_a_full_disk_is_told_with_what_is_left(killed: tuple[Path, str]) -> None:
    told = next(line for line in killed[1].splitlines() if "could not be written" in line)
    path = killed[0] / "full_disk" / "checkpoint.pt"
    assert f"{path}: the checkpoint of step 24 could not be written (File too large)" in told
    assert f"the checkpoint of before is still at {path}" in told
    assert "free space and start the same command again" in told
