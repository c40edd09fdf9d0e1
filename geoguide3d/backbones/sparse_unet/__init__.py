"""Sparse residual U-Nets: Pointcept's SpUNet and the MinkUNet of OpenScene are two sizes of one network."""
