"""Files of class-agnostic instance masks that other programs wrote, as PointMasks; and one that we write."""

from geoguide3d.scenes.mask_files.reading import MASK_KINDS, MaskKind, read_masks
from geoguide3d.scenes.mask_files.writing import write_masks

__all__ = ["MASK_KINDS", "MaskKind", "read_masks", "write_masks"]
