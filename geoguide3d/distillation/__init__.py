"""The adapter and how it is taught by fused 2D features."""
