"""Compiled kernels behind torch operators, each with a readable PyTorch reference."""
