"""Where the superpoints and the instance masks of a scene come from: from files, or from the scene itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.geometry.proposals import ProposalSettings, Surface, propose_masks
from geoguide3d.geometry.superpoints import SuperpointSettings, neighbor_edges
from geoguide3d.ops import mesh_edges
from geoguide3d.scenes.mask_files import MaskKind, read_masks
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.orientation import ensure_normals
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoint_files import read_superpoints
from geoguide3d.scenes.superpoints import superpoints_of_scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskSettings:
    """What is known of instances, without classes.

    Args:
        kind: of the files that `scenes.masks` leads to.
        least_score: masks of files with a lower score are left out.
        proposals: how masks are proposed from superpoints where no files are given.
    """

    kind: MaskKind = "auto"
    least_score: float = 0.0
    proposals: ProposalSettings = field(default_factory=ProposalSettings)


@dataclass(frozen=True)
class Guides:
    """Gives the superpoints and masks of scenes.

    Args:
        superpoints: how they are made where no files are given. None: scenes have none, and no proposals either.
        masks: None: scenes have none.
    """

    superpoints: SuperpointSettings | None = None
    masks: MaskSettings | None = None

    def superpoints_of(self, files: SceneFiles, scene: Scene) -> Tensor | None:
        """Returns (N,) int64, contiguous from 0: the file's, else those of the scene's surface.

        Raises:
            FileNotFoundError, ValueError: what `read_superpoints` and `superpoints_of_scene` raise.
        """
        if self.superpoints is None:
            return None
        if files.superpoints is not None:
            superpoints = read_superpoints(files.superpoints, scene)
        else:
            superpoints = superpoints_of_scene(scene, self.superpoints)
        source = files.superpoints or "made of its surface"
        _log.info("%s: %d superpoints, %s", scene.name, len(torch.unique(superpoints)), source)
        return superpoints

    def masks_of(self, files: SceneFiles, scene: Scene, superpoints: Tensor | None) -> PointMasks | None:
        """Returns the masks of the file, else proposals made of the superpoints.

        Raises:
            FileNotFoundError, ValueError: what `read_masks` raises.
        """
        if self.masks is None:
            return None
        if files.masks is not None:
            masks = read_masks(files.masks, scene, self.masks.kind)
            masks = masks.select(masks.known_scores >= self.masks.least_score)
        elif superpoints is not None:
            masks = propose_masks(surface_of(scene, superpoints), self.masks.proposals)
        else:
            return None
        source = files.masks or "proposed from superpoints"
        _log.info("%s: %d masks of instances, %s", scene.name, len(masks), source)
        return masks


def surface_of(scene: Scene, superpoints: Tensor) -> Surface:
    """Returns what proposals are made from: edges of the mesh where there is one, else between neighbours."""
    normals = ensure_normals(scene).normals
    assert normals is not None  # what ensure_normals is for
    has_faces = scene.faces is not None and len(scene.faces) > 0
    if has_faces:
        assert scene.faces is not None
        edges = mesh_edges(scene.points, scene.faces)[0]
    else:
        edges = neighbor_edges(scene.points)
    return Surface(scene.points, normals, superpoints, edges, scene.colors)
