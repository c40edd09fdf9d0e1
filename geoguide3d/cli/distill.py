"""Teach an adapter what images say about scenes, and write it as a model folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from tqdm import tqdm

from geoguide3d.backbones.cached import with_encoding
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.weights import BackboneRecord, find_weights, sha256_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.outputs import check_replaceable
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.distillation.adapter import CONFIG_FILE, Adapter
from geoguide3d.distillation.distill import distill
from geoguide3d.distillation.lessons import Lesson, LessonReader, Teacher
from geoguide3d.distillation.objective import Objective
from geoguide3d.distillation.validation import Validation
from geoguide3d.encoders.loading import load_teacher, load_text_encoder
from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.fusion.fused_files import fused_teacher, scenes_with_features
from geoguide3d.query.model import MODEL_FILES, save_model
from geoguide3d.scenes.named_scenes import SceneFiles
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


TeacherOf = Callable[[SceneFiles], Teacher]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(DistillSettings, argv, EXAMPLES)
    with command("geoguide3d distill"):
        text = load_text_encoder(settings.text)
        course = partial(read_course, settings, text, teacher_of(settings, text))
        worth = make_model(settings, resolved, text, course)
        if Processes(settings.training.device).writes:
            print(worth)
    return 0


def teacher_of(settings: DistillSettings, text: TextEncoder) -> TeacherOf:
    """Returns what gives the 2D features of a scene: fused from its frames, or stored ones."""
    if settings.fused_features is not None:
        assert settings.data_root is not None  # DistillSettings checks it
        stored = fused_teacher(settings.fused_features, settings.data_root, text)
        return lambda files: stored

    def of(files: SceneFiles) -> Teacher:
        folder = files.points if files.points.is_dir() else files.points.parent
        teacher = load_teacher(settings.teacher, folder, text)
        return partial(fuse_views, encoder=teacher, settings=settings.fusion)

    return of


@dataclass(frozen=True)
class Course:
    """What a model is taught, before it is trained.

    Args:
        lessons: in the order of the scene list.
        validation: what is measured meanwhile.
        backbone: what the model records of the frozen features.
    """

    lessons: list[Lesson]
    validation: Validation | None
    backbone: BackboneRecord


def read_course(settings: DistillSettings, text: TextEncoder, teachers: TeacherOf, processes: Processes) -> Course:
    """Returns the lessons of all scenes of the list.

    Args:
        text: the text encoder of the settings.
        teachers: what teaches each scene of the list.

    Raises:
        FileNotFoundError, ValueError, OSError: what a user can cure.
    """
    scenes = _scenes(settings)
    weights = find_weights(settings.backbone, settings.backbone_weights)
    backbone = load_backbone(settings.backbone.name, settings.backbone.config, weights, settings.encoding.device)
    hashed = None if weights is None else sha256_of(weights)
    record = replace(settings.backbone, config=backbone.config, sha256=hashed, licence=backbone.licence)
    backbone = with_encoding(backbone, settings.encoding, weights)
    up = None if settings.up is None else torch.tensor(settings.up)
    reader = LessonReader(settings.capture, backbone, up, settings.guides, has_frames=settings.fused_features is None)
    validation = read_validation(settings, reader, text)
    return Course(_read_lessons(scenes, reader, teachers, processes), validation, record)


def make_model(
    settings: DistillSettings, resolved: str, text: TextEncoder, course: Callable[[Processes], Course]
) -> str:
    """Writes a model folder and returns what it is worth, in one line.

    Args:
        resolved: the settings as YAML.
        text: the text encoder of the settings.
        course: reads what is taught, once the output folder is known to be free.

    Raises:
        FileNotFoundError, ValueError, OSError: what a user can cure.
    """
    processes = Processes(settings.training.device)
    with open_run(settings.output, processes) as run:
        if processes.writes:
            remove_leftovers(run.path / SETTINGS_FILE)
            check_replaceable(run.path, OWN_FILES, settings.overwrite)
        taught = course(processes)
        if processes.writes:
            _begin(run, resolved, settings.overwrite)
        objective = partial(Objective, settings.losses)
        distilled = distill(taught.lessons, settings.training, objective, run, taught.validation)
        if processes.writes:
            _export(run, distilled.adapter, settings, taught.backbone, text)
    compared = ", both seen from its mean" if settings.losses.centred else ""
    found = f"mean cosine with the teacher {distilled.final_cosine:.4f}{compared}"
    return f"{settings.output}: {found}, on {len(taught.lessons)} scene{'s' if taught.lessons[1:] else ''}"


def read_validation(settings: DistillSettings, reader: LessonReader, text: TextEncoder) -> Validation | None:
    """Returns what is measured while training; None where no list is given.

    Raises:
        FileNotFoundError, ValueError: no class names, or scenes that cannot be used.
    """
    wanted = settings.validation
    if wanted.scene_list is None:
        return None
    vectors = text.encode_text(wanted.prompts(settings.prompt_template))
    scenes = [reader.validation_scene(files) for files in settings.scene_files(wanted.scene_list)]
    return Validation(scenes, vectors, wanted.every, wanted.finer)


def _scenes(settings: DistillSettings) -> list[SceneFiles]:
    scenes = settings.scene_files(settings.scene_list)
    if settings.fused_features is None:
        return scenes
    assert settings.data_root is not None  # DistillSettings checks it
    return scenes_with_features(scenes, settings.fused_features, settings.data_root)


def _read_lessons(
    scenes: Sequence[SceneFiles], reader: LessonReader, teachers: TeacherOf, processes: Processes
) -> list[Lesson]:
    """Returns the lessons in the scenes' order; what is cached is computed by one process and read by the others."""
    lessons: dict[int, Lesson] = {}
    with tqdm(total=len(scenes), desc="scenes", unit="scene", disable=None if processes.writes else True) as bar:
        for numbers in (range(processes.rank, len(scenes), processes.count), range(len(scenes))):
            for number in numbers:
                if number not in lessons:
                    lessons[number] = reader.read(scenes[number], teachers(scenes[number]))
                    bar.update()
            processes.wait()
    return [lessons[number] for number in range(len(scenes))]


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
