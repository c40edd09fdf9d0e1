"""Teach an adapter what images say about scenes, and write it as a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial

from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.cli.distill_course import read_course, teacher_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.outputs import check_replaceable
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.distillation.adapter import CONFIG_FILE, Adapter
from geoguide3d.distillation.course import Course
from geoguide3d.distillation.distill import distill
from geoguide3d.distillation.objective import Objective
from geoguide3d.encoders.loading import load_text_encoder
from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.query.model import MODEL_FILES, save_model
from geoguide3d.store.atomic import atomic_file, remove_leftovers
from geoguide3d.store.lock import LOCK_FILE
from geoguide3d.training.processes import Processes
from geoguide3d.training.run_folder import RUN_FILES, RunFolder, open_run

EXAMPLES = """examples:
  geoguide3d distill --scene-list scenes.txt --output outputs/model
  geoguide3d distill --scene-list scenes.txt --config configs/lounge.yaml --output outputs/lounge --training.steps 300
  geoguide3d distill --scene-list scannet.txt --config configs/scannet_sas.yaml --data-root DATA --output outputs/sas
  geoguide3d distill --config outputs/lounge/config.yaml                  # goes on where a stopped run left off
  geoguide3d distill --scene-list train.txt --output outputs/model --validation.scene-list val.txt \\
      --validation.classes classes.txt --training.scenes-per-step 8 --training.tensorboard true
  torchrun --nproc-per-node 2 tools/distill.py --scene-list train.txt --output outputs/model \\
      --training.device cuda --training.scenes-per-step 8

The output folder holds the model (adapter.safetensors, config.json), the resolved options (config.yaml, which --config
accepts), the course of the training (training.jsonl) and its checkpoint (checkpoint.pt). A run that was stopped goes on
from its checkpoint when it is started again with the same options; a finished one is replaced.
"""
SETTINGS_FILE, EXPORT_FOLDER = "config.yaml", ".export"
OWN_FILES = {*MODEL_FILES, *RUN_FILES, SETTINGS_FILE, EXPORT_FOLDER}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(DistillSettings, argv, EXAMPLES)
    with command("geoguide3d distill"):
        processes = Processes(settings.training.device)
        text = load_text_encoder(settings.text)
        course = partial(read_course, settings, text, teacher_of(settings, text), processes)
        worth = make_model(settings, resolved, text, course, processes)
        if processes.writes:
            print(worth)
    return 0


def make_model(
    settings: DistillSettings, resolved: str, text: TextEncoder, course: Callable[[], Course], processes: Processes
) -> str:
    """Writes a model folder and returns what it is worth, in one line.

    Args:
        resolved: the settings as YAML.
        text: the text encoder of the settings.
        course: reads what is taught, once the output folder is known to be free.
        processes: who train together; the first of them writes.

    Raises:
        FileNotFoundError, ValueError, OSError: what a user can cure.
    """
    with open_run(settings.output, processes) as run:
        if processes.writes:
            remove_leftovers(run.path / SETTINGS_FILE)
            check_replaceable(run.path, OWN_FILES, settings.overwrite)
        taught = course()
        if processes.writes:
            _begin(run, resolved, settings.overwrite)
        objective = partial(Objective, settings.losses)
        distilled = distill(taught.lessons, settings.training, objective, run, taught.validation)
        if processes.writes:
            _export(run, distilled.adapter, settings, taught.backbone, text)
    compared = ", both seen from its mean" if settings.losses.centred else ""
    found = f"mean cosine with the teacher {distilled.final_cosine:.4f}{compared}"
    return f"{settings.output}: {found}, on {len(taught.lessons)} scene{'s' if taught.lessons[1:] else ''}"


def _begin(run: RunFolder, resolved: str, overwrite: bool) -> None:
    """Clears the folder of a finished run, or of everything, and leaves a stopped run's checkpoint."""
    if overwrite or (run.path / CONFIG_FILE).is_file():
        run.checkpoint.unlink(missing_ok=True)  # first: a checkpoint without a model is a stopped run
        for path in [*run.path.iterdir()]:
            if path.name != LOCK_FILE:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    with atomic_file(run.path / SETTINGS_FILE) as temporary:
        temporary.write_text(resolved, encoding="utf-8")


def _export(
    run: RunFolder, adapter: Adapter, settings: DistillSettings, record: BackboneRecord, text: TextEncoder
) -> None:
    """Writes the model's files; config.json, which makes the folder a model, comes last."""
    staged = run.path / EXPORT_FOLDER
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    save_model(staged, adapter, record, text, settings.mask_rule, settings.prompt_template)
    for path in sorted(staged.iterdir(), key=lambda path: path.name == CONFIG_FILE):
        path.replace(run.path / path.name)
    staged.rmdir()
