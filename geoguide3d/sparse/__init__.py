"""Convolutions over the occupied voxels of a grid: one API, several engines, the same weights in all."""
