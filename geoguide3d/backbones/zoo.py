"""Encoders of torch-pointcloud (Apache-2.0, alpha: the extra pins it) as frozen backbones, by its names.

They need spconv and flash-attn on a GPU. Sonata, Concerto, Utonia and SpUNet run without either as our own networks,
which read the same files (`zoo_names`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.network_input import upright_values
from geoguide3d.scenes.scene import Scene

PREFIX = "zoo:"
_PRETRAINING = "pretraining"


class ZooBackbone:
    """A model of torch-pointcloud with the transforms of its checkpoint; a FrozenBackbone.

    An encoder of pre-training gives the features of all its levels side by side, the finest first; a segmentation model
    what stands before its classes. Points of a voxel share its features.
    """

    needs: tuple[str, ...] = ("colors", "normals")

    def __init__(
        self, name: str, weights: Path | None = None, device: torch.device | str = "cuda", version: str | None = None
    ) -> None:
        """Builds the model with its weights.

        Args:
            name: "zoo:" and the model's name there, such as "zoo:sonata-base.pretrain.fair".
            weights: a file of the model's parameters; None: those that the package registers, which it downloads into
                its own cache.
            version: of torch-pointcloud, as stored with a model; None: the one that is installed.

        Raises:
            ImportError: torch-pointcloud, or what the model needs, is not installed.
            ValueError: an unknown name, another version, no such device, or a model that gives no features per point.
        """
        package = _package()
        if version not in (None, package.__version__):
            raise ValueError(
                f"{name} was used with torch-pointcloud {version}, but {package.__version__} is installed: its models "
                f"may differ; pip install torch-pointcloud=={version}"
            )
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"{name} needs a GPU, and torch sees none; our own sonata, concerto, utonia and spunet run on a CPU"
            )
        model_name = name.removeprefix(PREFIX)
        source = {"pretrained": True} if weights is None else {"checkpoint_path": weights}
        model, self._info = package.create_model(model_name, return_info=True, **source)
        self._pretraining = self._info["task"] == _PRETRAINING
        self._model, self._device = model.to(device).eval().requires_grad_(False), torch.device(device)
        self.name, self.channels = name, self._width(model_name)
        self.voxel_size_m = _voxel_size(model_name, self._info["transform"])
        self.licence: str = (self._info["weights"] or {}).get("license") or "unknown"
        self.config: dict[str, Any] = {"version": package.__version__}

    def _width(self, name: str) -> int:
        """Returns the features' width, and takes the classes off a segmentation model."""
        if self._pretraining and "encoder_channels" in self._info["hparams"]:
            return sum(self._info["hparams"]["encoder_channels"])
        if self._info["task"] == "semantic-segmentation":
            self._model.reset_classifier(num_classes=0)
            return int(self._model.num_features)
        raise ValueError(
            f"{PREFIX}{name} is a model for {self._info['task']}: it gives no features per point; those for "
            "semantic-segmentation do, and the pre-trained encoders of Sonata's family"
        )

    @torch.no_grad()
    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients, on the CPU.

        Missing normals and a missing up direction are estimated, missing colours count as black (all logged).

        Raises:
            ValueError: colours outside of 0 … 255.
        """
        points, colors, normals = upright_values(scene, self.needs)
        labels = torch.zeros(len(points), dtype=torch.int64)  # some transforms ask for them
        sample = {"pos": points, "color": colors * 255, "normal": normals, "segment": labels, "instance": labels}
        data = self._collate([self._info["transform"](sample)])
        inputs = {key: data[key].to(self._device) for key in self._info["input_keys"]}
        if self._pretraining:
            features, _, _, levels = self._model(**inputs, return_intermediates=True)
            for level in reversed(levels):
                features = torch.cat([level["x"], features[level["pooling_inverse"]]], dim=1)
        else:
            features = self._model(**inputs)
        per_point: Tensor = features.float().cpu()[data["inverse"].cpu()]
        return per_point

    @staticmethod
    def _collate(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        from torch_pointcloud.utils.data import collate

        batch: dict[str, Tensor] = collate(samples)
        return batch


def _package() -> ModuleType:
    try:
        import torch_pointcloud
    except ImportError as error:
        raise ImportError("backbones of the zoo need torch-pointcloud: pip install 'geoguide3d[zoo]'") from error
    assert isinstance(torch_pointcloud, ModuleType)
    return torch_pointcloud


def _voxel_size(name: str, transform: Any) -> float:
    """Returns the side of a voxel in metres of the room: that of the transform's grid, before it scales."""
    scale = 1.0
    for step in _steps(transform):
        kind = type(step).__name__
        if kind == "Scale":
            scale *= float(step.scale[0])
        elif kind == "Voxelize" and step.dst_inverse_key is not None:
            return float(step.size) / scale
    raise ValueError(f"{PREFIX}{name} does not thin points to voxels in a way that leads back; it cannot be used here")


def _steps(transform: Any) -> Iterator[Any]:
    for step in getattr(transform, "transforms", [] if transform is None else [transform]):
        if hasattr(step, "transforms"):
            yield from _steps(step)
        else:
            yield step
