"""Frozen 2D image encoders and text encoders behind two small protocols."""
