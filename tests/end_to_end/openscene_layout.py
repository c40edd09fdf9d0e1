"""Procedural rooms written as OpenScene's and SAS's scripts leave ScanNet on disk, file by file and type by type."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.encoders.room_clip import RoomClipTextEncoder
from geoguide3d.scenes.rooms import CATEGORIES, make_room
from geoguide3d.scenes.scene import IGNORED_LABEL, Scene

Mean = NDArray[np.float32]
SCANNET = {  # category of the rooms → ScanNet-20 class; the other categories are ignored
    **{"wall": 0, "floor": 1, "cabinet": 2, "bed": 3, "chair": 4, "sofa": 5, "table": 6, "door": 7, "window": 8},
    **{"shelf": 9, "picture": 10, "desk": 12, "curtain": 13, "refrigerator": 14, "toilet": 16, "sink": 17},
    **{"bathtub": 18, "stool": 4, "armchair": 4},
}
CHUNKS = 5
CLUTTER_M = 0.4  # superpoints: pieces of an object inside a cube of this size
MISSED = 0.1  # points of every object that no view saw


@dataclass(frozen=True)
class Layout:
    """Where everything was written.

    Args:
        data_root: what --data-root is to be.
        train_list, val_list: scannet.txt and scannet_val.txt, of names.
        train, val: the names.
        truth: name → what was written of the scene.
    """

    data_root: Path
    train_list: Path
    val_list: Path
    train: list[str]
    val: list[str]
    truth: dict[str, Truth]


@dataclass(frozen=True)
class Truth:
    """What a scene's files hold, before it was rounded to them.

    Args:
        points: (N, 3) float64.
        colors: (N, 3) uint8.
        labels: (N,) int64 ScanNet-20, 255 ignored.
        categories, instances: (N,) int64, of the room.
        features: (N, C) float32 means, 0 where not seen.
        seen: (N,) bool.
        superpoints: (N,) int64.
    """

    points: NDArray[np.float64]
    colors: NDArray[np.uint8]
    labels: NDArray[np.int64]
    categories: NDArray[np.int64]
    instances: NDArray[np.int64]
    features: Mean
    seen: NDArray[np.bool_]
    superpoints: NDArray[np.int64]


def write_layout(
    root: Path, train: int = 1, val: int = 1, points: int = 6000, chunk: int = 2500, vectors: Mean | None = None
) -> Layout:
    """Writes `train` + `val` rooms: points, fused features (OpenScene's chunks and SAS's whole scenes), superpoints,
    masks and lists.

    Features are the text vectors of the category, bent by noise, so that a model distilled from them answers.

    Args:
        points: about how many a room has, drawn evenly: a scene of OpenScene has ten to fifty times as many.
        chunk: points drawn for each of the five files of a training scene, in the place of OpenScene's 20,000.
        vectors: (categories, C) of unit length; None: RoomCLIP's.
    """
    names = {
        "train": [f"scene{index:04d}_00" for index in range(train)],
        "val": [f"scene{index:04d}_01" for index in range(train, train + val)],
    }
    if vectors is None:
        vectors = RoomClipTextEncoder.load().encode_text([f"a {name}" for name in CATEGORIES]).numpy()
    truth = {}
    for split in ("train", "val"):
        for seed, name in enumerate(names[split]):
            random = np.random.default_rng([seed, split == "val"])
            scene = make_room(seed, "train" if split == "train" else "test").scene()
            truth[name] = _truth(scene, vectors, points, random)
            _write_scene(root, split, name, truth[name], [random.permutation(points)[:chunk] for _ in range(CHUNKS)])
    lists = {split: root / file for split, file in (("train", "scannet.txt"), ("val", "scannet_val.txt"))}
    for split, path in lists.items():
        path.write_text("".join(f"{name}\n" for name in names[split]))
    return Layout(root, lists["train"], lists["val"], names["train"], names["val"], truth)


def _write_scene(root: Path, split: str, name: str, truth: Truth, chunks: list[NDArray[np.int64]]) -> None:
    write_points(root / "scannet_3d" / split / f"{name}_vh_clean_2.pth", truth)
    for index, drawn in enumerate(chunks if split == "train" else [None]):
        write_fused(root / "scannet_multiview_openseg" / f"{name}_{index}.pt", truth, drawn)
    write_fused(root / "scannet_multiview_fuse" / f"{name}_0.pt", truth, None)
    save(truth.superpoints, root / "scannet_3d" / "superpoint" / f"{name}_vh_clean_2.pth")
    things = np.unique(truth.instances)
    masks = (truth.instances[:, None] == things[None]).astype(np.float16)
    save(masks, root / "openmask3d" / f"{name}_masks.pt")  # (N, K), as OpenMask3D writes them


def write_points(path: Path, truth: Truth) -> None:
    """openscene `preprocess_3d_scannet.py`: (coords float64, rgb / 127.5 − 1 float64, labels float64)."""
    save((truth.points, truth.colors.astype(np.float64) / 127.5 - 1, truth.labels.astype(np.float64)), path)


def write_fused(path: Path, truth: Truth, drawn: NDArray[np.int64] | None) -> None:
    """openscene `fusion_util.py`, save_fused_feature: half rows of the drawn points that were seen, and their mask."""
    chosen = np.ones(len(truth.seen), dtype=bool)
    if drawn is not None:
        chosen[:] = False
        chosen[drawn] = True
    mask = chosen & truth.seen
    save({"feat": torch.from_numpy(truth.features[mask]).half(), "mask_full": torch.from_numpy(mask)}, path)


def write_legacy(path: Path, truth: Truth, drawn: NDArray[np.int64], as_numpy: bool = False) -> None:
    """The older form: rows of all drawn points, with a third axis, and the numbers of the rows that some view saw."""
    mask = np.zeros(len(truth.seen), dtype=bool)
    mask[drawn] = True
    visible = np.flatnonzero(truth.seen[mask])
    content: dict[str, Any] = {
        "feat": torch.from_numpy(truth.features[mask]).half()[..., None],
        "mask": visible if as_numpy else torch.from_numpy(visible),
        "mask_full": mask if as_numpy else torch.from_numpy(mask),
    }
    save(content, path)


def save(content: object, path: Path, numpy_1: bool = True) -> None:
    """torch.save; numpy's functions get the module names that they had in numpy 1, when OpenScene wrote its files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    if not numpy_1:
        return
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            is_pickle = name.endswith("/data.pkl")
            archive.writestr(name, data.replace(b"cnumpy._core.", b"cnumpy.core.") if is_pickle else data)


def _truth(scene: Scene, vectors: Mean, count: int, random: np.random.Generator) -> Truth:
    rows = np.sort(random.permutation(len(scene))[:count])
    assert scene.colors is not None and scene.labels is not None and scene.instances is not None
    points = scene.points_world.numpy()[rows] + [3.0, -2.0, 0.5]  # ScanNet's meshes are not centred
    categories, instances = scene.labels.numpy()[rows], scene.instances.numpy()[rows]
    table = np.full(len(CATEGORIES), IGNORED_LABEL)
    for name, label in SCANNET.items():
        table[CATEGORIES.index(name)] = label
    cells = np.c_[instances, np.floor(points / CLUTTER_M).astype(np.int64)]
    seen = random.random(len(rows)) > MISSED
    noise = random.normal(size=(len(rows), vectors.shape[1])) * 0.02
    features = np.where(seen[:, None], 0.8 * vectors[categories] + noise, 0).astype(np.float32)
    superpoints = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    colors = (scene.colors.numpy()[rows] * 255).round().astype(np.uint8)
    return Truth(points, colors, table[categories], categories, instances, features, seen, superpoints)


def tensors_of(truth: Truth) -> tuple[Tensor, Tensor]:
    """Returns the ids (T,) and the features (T, C) float16 of the points that were seen."""
    return torch.from_numpy(np.flatnonzero(truth.seen)), torch.from_numpy(truth.features[truth.seen]).half()
