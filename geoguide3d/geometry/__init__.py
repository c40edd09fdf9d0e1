"""Cameras, visibility, voxels, normals: pure functions on tensors, metres and OpenCV axes."""
