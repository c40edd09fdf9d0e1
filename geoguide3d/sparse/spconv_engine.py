"""spconv's gather-GEMM-scatter kernels on our kernel maps, where spconv is installed; on the CPU and on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.ops.sparse_conv import sparse_conv


def spconv_sparse_conv(
    features: Tensor, weight: Tensor, bias: Tensor | None, neighbours: Tensor, transposed: Tensor | None
) -> Tensor:
    """Returns what `geoguide3d.ops.sparse_conv` does, with gradients, by spconv's algorithm Native.

    bfloat16, which spconv does not know, is computed in float32.

    Raises:
        ImportError: spconv is not installed.
    """
    try:
        from spconv.core import ConvAlgo  # type: ignore[import-untyped, import-not-found, unused-ignore]
        from spconv.pytorch import functional  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError('the engine "spconv" needs spconv: pip install spconv-cu120 (or cu126)') from error
    if 0 in (len(features), neighbours.shape[1]):  # spconv refuses empty tensors
        return sparse_conv(features, weight, bias, neighbours, transposed)
    if features.dtype == torch.bfloat16:
        wide_bias = None if bias is None else bias.float()
        return spconv_sparse_conv(features.float(), weight.float(), wide_bias, neighbours, transposed).bfloat16()
    pairs, counts = _pairs(neighbours)
    filters = weight[:, :, None, None].contiguous()  # (D, K, 1, 1, C); spconv only multiplies the three in the middle
    with torch.autocast(features.device.type, enabled=False):  # it would turn all into float16
        out = functional.indice_conv(features, filters, pairs, counts, neighbours.shape[1], ConvAlgo.Native)
    assert isinstance(out, Tensor)
    return out if bias is None else out + bias  # its CPU kernel takes no bias outside training


def _pairs(neighbours: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (2, K, P) int32, the rows and the outputs of each tap's pairs from the left, and (K,) int32 how many."""
    there = neighbours >= 0
    order = there.to(neighbours.dtype).sort(dim=1, descending=True, stable=True).indices
    pairs = torch.stack([neighbours.gather(1, order), order.to(torch.int32)])
    return torch.where(there.gather(1, order), pairs, -1), there.sum(dim=1, dtype=torch.int32)
