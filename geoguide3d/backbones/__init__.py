"""Frozen 3D networks and descriptors behind one protocol."""
