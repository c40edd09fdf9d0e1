"""Per-pixel features of many views become per-point features of one scene."""
