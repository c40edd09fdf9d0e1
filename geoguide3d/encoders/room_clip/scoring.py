"""How well RoomCLIP answers on frames it never saw: through its public encoders, as a user would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from geoguide3d.encoders.room_clip.encoders import RoomClipImageEncoder, RoomClipTextEncoder
from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames

_FEWEST_PIXELS = 40  # of an object in a frame that is asked for its colour


def judge(weights: Path, folder: Path, split: str, device: str = "cpu") -> dict[str, Any]:
    """Returns the scores of a weights file on a split, as JSON values.

    `iou` is per category, `mean_iou` its mean; the pixel's category is the one whose "a {category}" has the highest
    cosine. `precision` and `recall` are those of "the cosine is at least relevant_cosine" for the same prompts.
    """
    names, frames = FrameFolder.read(folder), Frames.read(folder, split)
    texts = RoomClipTextEncoder.load(weights, device)
    maps = _encode(RoomClipImageEncoder.load(weights, device), frames)
    relevant = texts.relevant_cosine or 0.0
    prompts = texts.encode_text([f"a {category}" for category in names.categories])
    labels = torch.tensor([names.categories.index(thing.category) for thing in frames.things])
    counts = torch.zeros(4, len(names.categories), dtype=torch.float64)  # best, hit, relevant, relevant and hit
    shown = torch.zeros(len(names.categories), dtype=torch.float64)
    for features, objects in zip(maps, frames.objects, strict=True):
        cosines = (_upsampled(features, objects) @ prompts.T)[objects >= 0]
        truth = F.one_hot(labels[objects[objects >= 0].long()], len(names.categories)).bool()
        best = F.one_hot(cosines.argmax(1), len(names.categories)).bool()
        meant = cosines >= relevant
        counts += torch.stack([mask.sum(0) for mask in (best, best & truth, meant, meant & truth)])
        shown += truth.sum(0)
    best_count, hits, meant_count, meant_hits = counts
    iou = {
        category: round(float(hit / (predicted + true - hit)), 4)
        for category, hit, predicted, true in zip(names.categories, hits, best_count, shown, strict=True)
        if true > 0
    }
    return {
        "words": len(texts.vocabulary),
        "frames": len(frames),
        "mean_iou": sum(iou.values()) / len(iou),
        "accuracy": float(hits.sum() / shown.sum()),
        "relevant_cosine": relevant,
        "precision": float(meant_hits.sum() / meant_count.sum()),
        "recall": float(meant_hits.sum() / shown.sum()),
        "seen_pairs": asdict(color_retrieval(maps, texts, frames, names, held_out=False)),
        "held_out_pairs": asdict(color_retrieval(maps, texts, frames, names, held_out=True)),
        "iou": iou,
    }


@dataclass(frozen=True)
class ColorRetrieval:
    """How often the right words win for objects of colour × category pairs, in [0, 1] (0 without objects).

    Args:
        color: the right "a {colour} {category}" among all colours of the object's category.
        category: … among all categories in the object's colour.
        pair: … among all colours of all categories.
        objects: objects asked, each once per frame that shows at least 40 pixels of it.
    """

    color: float
    category: float
    pair: float
    objects: int


def color_retrieval(
    maps: Sequence[Tensor], texts: RoomClipTextEncoder, frames: Frames, names: FrameFolder, held_out: bool
) -> ColorRetrieval:
    """Returns how well colour × category pairs are named: those no training room showed, or all others.

    An object's vector is the mean over its pixels in one frame.

    Args:
        maps: (h, w, C) per frame.
    """
    pairs = [f"a {color} {category}" for category in names.categories for color in names.colors]
    prompts = texts.encode_text(pairs)
    hits: list[list[bool]] = []
    for features, objects in zip(maps, frames.objects, strict=True):
        pixels = _upsampled(features, objects)
        for thing_row, count in zip(*(values.tolist() for values in objects.unique(return_counts=True)), strict=True):
            thing = frames.things[thing_row]
            if thing_row < 0 or count < _FEWEST_PIXELS or thing.color not in names.colors:
                continue
            if ((thing.category, thing.color) in names.held_out) != held_out:
                continue
            cosines = (prompts @ pixels[objects == thing_row].mean(0)).view(len(names.categories), len(names.colors))
            row, column = names.categories.index(thing.category), names.colors.index(thing.color)
            right = cosines[row, column]
            hits.append([bool(right >= rivals.max()) for rivals in (cosines[row], cosines[:, column], cosines)])
    color, category, pair = (torch.tensor(hits).view(-1, 3).sum(0) / max(1, len(hits))).tolist()
    return ColorRetrieval(color, category, pair, objects=len(hits))


def _encode(images: RoomClipImageEncoder, frames: Frames) -> list[Tensor]:
    return [images.encode_images([image.permute(1, 2, 0)], ["frame"])[0].cpu() for image in frames.images]


def _upsampled(features: Tensor, objects: Tensor) -> Tensor:
    """Returns (H, W, C) features at the resolution of the objects."""
    return F.interpolate(features.permute(2, 0, 1)[None], size=objects.shape, mode="bilinear")[0].permute(1, 2, 0)
