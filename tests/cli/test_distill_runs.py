"""geoguide3d distill: stopped and finished runs, two runs in one folder, two processes, validation, the export."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geoguide3d import GeoGuide
from geoguide3d.cli.distill import main
from geoguide3d.cli.query import main as query
from geoguide3d.distillation.distill import DistillationTrainer
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files import write_masks
from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.superpoint_files import write_superpoints
from geoguide3d.store.lock import LOCK_FILE, locked_folder
from geoguide3d.training.log import Entry

ROOT = Path(__file__).parents[2]
SHORT = ["--training.steps=8", "--training.checkpoint-steps=4", "--training.log-every=2"]


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    step = DistillationTrainer.step

    def stops(self: DistillationTrainer) -> Entry:
        if self.step_count == count:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(DistillationTrainer, "step", stops)


@pytest.fixture
def words(capture: Any, tmp_path: Path) -> list[str]:
    return ["--scene-list", str(capture.scene_list), *capture.options, *SHORT, "--output", str(tmp_path / "run")]


def failure(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_stopped_run_goes_on_or_says_why_not(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    run = tmp_path / "run"
    assert not (run / "config.json").exists()
    message = failure(capsys, [*words, "--training.learning-rate=0.02"])
    assert "checkpoint.pt: was written with learning_rate = 0.01, now it is 0.02" in message
    with monkeypatch.context() as patch:
        stop_at(patch, 3)  # would stop a run that starts anew
        assert main(words) == 0
    for name in ("adapter.safetensors", "config.json", "training.jsonl"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert {path.name for path in run.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}


def test_a_run_stopped_while_it_writes_the_model_writes_it_later(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(folder: Path, *rest: Any) -> None:
        (folder / "adapter.safetensors").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("geoguide3d.cli.distill.save_model", stops)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    for left in (".config.abcdefgh.yaml", ".training.abcdefgh.jsonl", ".checkpoint.abcdefgh.pt"):
        (tmp_path / "run" / left).touch()  # as a kill leaves it
    with monkeypatch.context() as patch:
        stop_at(patch, 0)  # no step is taken again
        assert main(words) == 0
    assert GeoGuide.from_pretrained(tmp_path / "run").adapter.hidden_channels == 32
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_a_folder_is_no_model_before_all_of_it_is_there(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file = Path.replace

    def stops(self: Path, target: Path) -> Path:
        if target.name == "adapter.safetensors":
            raise KeyboardInterrupt
        return replace_file(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stops)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    assert not (tmp_path / "run" / "config.json").exists()
    assert main(words) == 0
    assert (tmp_path / "run" / "config.json").exists()


def test_overwrite_starts_a_stopped_run_anew_and_a_finished_one_is_replaced(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            main(words)
    step, locked = DistillationTrainer.step, []

    def notes(self: DistillationTrainer) -> Entry:
        locked.append((tmp_path / "run" / LOCK_FILE).is_file())
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "step", notes)
        assert main([*words, "--overwrite", "--training.steps=4"]) == 0
    assert locked == [True] * 4
    log = tmp_path / "run" / "training.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4]
    assert main([*words, "--training.steps=6"]) == 0
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 4, 6]


def test_a_second_run_in_one_folder_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_folder(tmp_path / "run"):
        assert "is in use by process" in failure(capsys, words)
    assert main(words) == 0


def test_two_processes_give_the_same_run(words: list[str], capture: Any, tmp_path: Path) -> None:
    names = [shutil.copytree(capture.ply.parent, tmp_path / f"room{number}").name for number in range(2)]
    (tmp_path / "scenes.txt").write_text("\n".join(names))
    words = [*words, "--scene-list", str(tmp_path / "scenes.txt"), "--training.scenes-per-step=2"]
    assert main(words) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = [*launch, str(ROOT / "tools" / "distill.py"), *words, "--output", str(tmp_path / "two")]
    done = subprocess.run(two, capture_output=True, text=True, check=False, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mean cosine with the teacher") == 1
    logs = [(tmp_path / run / "training.jsonl").read_text().splitlines() for run in ("run", "two")]
    assert len(logs[0]) == len(logs[1]) == 4
    for one, other in zip(*logs, strict=True):
        assert json.loads(one) == pytest.approx(json.loads(other), rel=1e-5)
    weights = [load_file(tmp_path / run / "adapter.safetensors") for run in ("run", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-5, atol=1e-5)


def test_fused_features_are_found_again(
    words: list[str], capture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = [*words, "--fused-cache", str(tmp_path / "fused")]
    assert main(words) == 0
    assert main([*cached, "--output", str(tmp_path / "first")]) == 0
    (kept,) = (tmp_path / "fused").iterdir()

    def refuses(*rest: Any) -> Any:
        raise AssertionError("fused again")

    with monkeypatch.context() as patch:
        patch.setattr("geoguide3d.encoders.precomputed.PrecomputedTeacher.encode_images", refuses)
        assert main([*cached, "--output", str(tmp_path / "second")]) == 0
        other = Path(shutil.copytree(capture.ply.parent, tmp_path / "room"))
        (tmp_path / "scenes.txt").write_text("room")
        with np.load(other / "probabilities" / "001.npz") as content:
            planes = content["probabilities"]
        np.savez(other / "probabilities" / "001.npz", probabilities=planes // 2)
        with pytest.raises(AssertionError, match="fused again"):
            main([*cached, "--scene-list", str(tmp_path / "scenes.txt"), "--output", str(tmp_path / "third")])
    for name in ("adapter.safetensors", "training.jsonl"):
        written = {(tmp_path / run / name).read_bytes() for run in ("run", "first", "second")}
        assert len(written) == 1, name
    assert failure(capsys, [*words, "--fused-cache", str(kept)]).endswith("is a file; name a folder")


def test_validation_is_logged(
    words: list[str], capture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = read_scene(capture.ply)
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    write_ply(labelled / "labelled.ply", replace(scene, labels=capture.is_box.long()))
    (tmp_path / "held_out.txt").write_text("labelled\n")
    (tmp_path / "classes.txt").write_text("floor\nbox\n")
    words += ["--validation.scene-list", str(tmp_path / "held_out.txt"), "--validation.every=4"]
    assert "by either --validation.classes FILE or --validation.label-set NAME" in failure(capsys, words)
    assert main([*words, "--validation.classes", str(tmp_path / "classes.txt"), "--training.steps=60"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["validation_mean_iou"] for line in lines if "validation_mean_iou" in line}
    assert list(measured) == list(range(4, 61, 4))
    assert measured[60] > 0.9
    (tmp_path / "classes.txt").write_text("floor\n")
    message = failure(capsys, [*words, "--validation.classes", str(tmp_path / "classes.txt")])
    assert "labelled: labels go from 0 to 1, but 1 class names are given" in message


def test_a_model_needs_nothing_of_its_training(words: list[str], capture: Any, tmp_path: Path) -> None:
    """The exported file holds the adapter alone; images, superpoints and masks beside a scene change no byte."""
    assert main(words) == 0
    model = GeoGuide.from_pretrained(tmp_path / "run")
    assert set(load_file(tmp_path / "run" / "adapter.safetensors")) == set(model.adapter.state_dict())
    beside = Path(shutil.copytree(capture.ply.parent, tmp_path / "beside"))
    (tmp_path / "alone").mkdir()
    alone = Path(shutil.copy(capture.ply, tmp_path / "alone" / "room.ply"))
    scene = read_scene(alone)
    write_superpoints(beside / "room.0.010000.segs.json", capture.is_box.long(), scene)
    write_superpoints(beside / "room.pth", capture.is_box.long(), scene)
    write_masks(beside / "masks.npz", PointMasks.from_labels(capture.is_box.long()), scene)
    answers = []
    for cloud in (alone, beside / "room.ply"):
        output = tmp_path / f"answers of {cloud.parent.name}"
        assert query([str(cloud), "box", "floor", "--model", str(tmp_path / "run"), "--output", str(output)]) == 0
        answers.append({path.name: path.read_bytes() for path in output.iterdir() if path.suffix in (".ply", ".png")})
        assert torch.equal(model.encode(read_scene(cloud)), model.encode(scene))
    assert len(answers[0]) >= 2
    assert answers[0] == answers[1]


def test_tensorboard_gets_what_the_log_has_and_each_step_once(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with monkeypatch.context() as patch:
        stop_at(patch, 6)  # two steps after a checkpoint
        with pytest.raises(KeyboardInterrupt):
            main([*words, "--training.tensorboard=true"])
    assert main([*words, "--training.tensorboard=true"]) == 0
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    shown = {event.step: event.value for event in events.Scalars("loss")}
    assert shown == pytest.approx({line["step"]: line["loss"] for line in lines}, rel=1e-6)
    assert [event.step for event in events.Scalars("seconds_per_step")] == list(range(1, 9))
