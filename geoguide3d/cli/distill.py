"""Teach an adapter what images say about scenes, and write it as a model folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from geoguide3d.backbones.cached import with_encoding
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.weights import find_weights, sha256_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.outputs import check_replaceable
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.distillation.distill import distill
from geoguide3d.distillation.lessons import Teacher, read_lesson
from geoguide3d.encoders.loading import load_teacher, load_text_encoder
from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.query.model import MODEL_FILES, save_model
from geoguide3d.scenes.scene_list import read_scene_list
from geoguide3d.store.atomic import atomic_folder

EXAMPLES = """examples:
  geoguide3d distill --scene-list scenes.txt --output outputs/model
  geoguide3d distill --scene-list scenes.txt --config configs/lounge.yaml --output outputs/lounge --training.steps 300

The output folder holds the model (adapter.safetensors, config.json), the resolved options (config.yaml, which --config
accepts) and the course of the training (training.jsonl).
"""
CONFIG_FILE, LOG_FILE = "config.yaml", "training.jsonl"


TeacherAt = Callable[[Path], Teacher]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(DistillSettings, argv, EXAMPLES)
    with command("geoguide3d distill"):
        text = load_text_encoder(settings.text)
        print(make_model(settings, resolved, text, teacher_at(settings, text)))
    return 0


def teacher_at(settings: DistillSettings, text: TextEncoder) -> TeacherAt:
    """Returns what fuses the 2D features of the scene at a path."""

    def at(path: Path) -> Teacher:
        teacher = load_teacher(settings.teacher, path if path.is_dir() else path.parent, text)
        return partial(fuse_views, encoder=teacher, settings=settings.fusion)

    return at


def make_model(settings: DistillSettings, resolved: str, text: TextEncoder, teachers: TeacherAt) -> str:
    """Writes a model folder and returns what it is worth, in one line.

    Args:
        resolved: the settings as YAML.
        text: the text encoder of the settings.
        teachers: what teaches at each path of the scene list.

    Raises:
        FileNotFoundError, ValueError: what a user can cure.
    """
    check_replaceable(settings.output, {*MODEL_FILES, CONFIG_FILE, LOG_FILE}, settings.overwrite)
    paths = read_scene_list(settings.scene_list, settings.data_root)
    weights = find_weights(settings.backbone, settings.backbone_weights)
    backbone = load_backbone(settings.backbone.name, settings.backbone.config, weights, settings.encoding.device)
    hashed = None if weights is None else sha256_of(weights)
    record = replace(settings.backbone, config=backbone.config, sha256=hashed, licence=backbone.licence)
    backbone = with_encoding(backbone, settings.encoding, weights)
    up = None if settings.up is None else torch.tensor(settings.up)
    bar = tqdm(paths, desc="scenes", unit="scene", disable=None)
    lessons = [read_lesson(path, settings.capture, backbone, teachers(path), up) for path in bar]
    distilled = distill(lessons, settings.training)
    with atomic_folder(settings.output) as folder:
        save_model(folder, distilled.adapter, record, text, settings.mask_rule, settings.prompt_template)
        (folder / CONFIG_FILE).write_text(resolved, encoding="utf-8")
        (folder / LOG_FILE).write_text("".join(json.dumps(entry) + "\n" for entry in distilled.log))
    return f"{settings.output}: mean cosine with the teacher {distilled.final_cosine:.4f} on {len(paths)} scene(s)"
