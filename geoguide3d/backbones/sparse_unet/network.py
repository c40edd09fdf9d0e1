"""A residual U-Net over occupied voxels. Names and shapes of its state_dict are those of Pointcept's SpUNet-v1m1."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from geoguide3d.sparse.layers import InverseConv3d, StridedConv3d, SubmanifoldConv3d
from geoguide3d.sparse.tensor import SparseTensor


@dataclass(frozen=True)
class SparseUNetConfig:
    """Sizes of a network, under upstream's names; the defaults are those of its ScanNet configuration.

    Args:
        in_channels: width of a voxel's input.
        num_classes: width of the last layer, `final`; 0: there is none.
        base_channels: width at the finest level, before the first step down.
        channels: of the encoder's levels from fine to coarse, then of the decoder's from coarse to fine: 2S numbers for
            S steps down and up.
        layers: residual blocks of each, in the same order.
        final_bias: whether `final` has one.
        widening: what makes an encoder's level wider than the finer one: the step down to it, or its first block.
        norm_eps, norm_momentum: of all BatchNorm layers.

    Raises:
        ValueError: lists of different lengths or an odd one, a size below 1, or an unknown widening.
    """

    in_channels: int = 6
    num_classes: int = 20
    base_channels: int = 32
    channels: tuple[int, ...] = (32, 64, 128, 256, 256, 128, 96, 96)
    layers: tuple[int, ...] = (2, 3, 4, 6, 2, 2, 2, 2)
    final_bias: bool = True
    widening: Literal["step", "block"] = "step"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.layers) or len(self.channels) % 2 or not self.channels:
            raise ValueError(
                "channels and layers must name the encoder's levels, then as many of the decoder, got "
                f"{self.channels} and {self.layers}"
            )
        if min(self.in_channels, self.base_channels, *self.channels, *self.layers) < 1 or self.num_classes < 0:
            raise ValueError(f"sizes of a sparse U-Net must be at least 1: {self}")
        if self.widening not in ("step", "block"):
            raise ValueError(f'widening must be "step" or "block", got {self.widening!r}')

    @property
    def steps(self) -> int:
        """Steps down from the finest level, each to voxels of twice the side."""
        return len(self.channels) // 2

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Widths at all levels on the way down, the finest first: steps + 1 numbers."""
        return (self.base_channels, *self.channels[: self.steps])

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Widths at all levels on the way up, the finest first; the coarsest is the encoder's: steps + 1 numbers."""
        return self.channels[self.steps - 1 :][::-1]


class ResidualBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + x), with x through `proj` where the width changes."""

    def __init__(self, in_channels: int, channels: int, index_key: str, config: SparseUNetConfig) -> None:
        super().__init__()
        self.proj = None
        if in_channels != channels:
            self.proj = nn.Sequential(SubmanifoldConv3d(in_channels, channels, 1, bias=False), norm(channels, config))
        self.conv1 = SubmanifoldConv3d(in_channels, channels, 3, bias=False, index_key=index_key)
        self.bn1: nn.Module = norm(channels, config)
        self.conv2 = SubmanifoldConv3d(channels, channels, 3, bias=False, index_key=index_key)
        self.bn2: nn.Module = norm(channels, config)

    def forward(self, x: SparseTensor) -> SparseTensor:
        skip = x.features if self.proj is None else self.proj[1](self.proj[0](x).features)
        out: SparseTensor = self.conv1(x)
        out = self.conv2(out.with_features(self.bn1(out.features).relu_()))
        return out.with_features(self.bn2(out.features).add_(skip).relu_())


class ConvNormReLU(nn.Sequential):
    """A sparse convolution, BatchNorm and ReLU."""

    def __init__(self, convolution: nn.Module, channels: int, config: SparseUNetConfig) -> None:
        super().__init__(convolution, norm(channels, config))

    def forward(self, x: SparseTensor) -> SparseTensor:
        out: SparseTensor = self[0](x)
        return out.with_features(self[1](out.features).relu_())


class SparseUNet(nn.Module):
    """The network: a stem of 5³, S steps down, S steps up that take the encoder's features of their level with them."""

    def __init__(self, config: SparseUNetConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder, steps = config.encoder_channels, config.decoder_channels, range(config.steps)
        stem = SubmanifoldConv3d(config.in_channels, encoder[0], 5, bias=False, index_key="stem")
        self.conv_input = ConvNormReLU(stem, encoder[0], config)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.enc, self.dec = nn.ModuleList(), nn.ModuleList()
        for step in steps:
            fine, coarse = encoder[step : step + 2]
            between = coarse if config.widening == "step" else fine
            down = StridedConv3d(fine, between, bias=False, index_key=f"spconv{step}")
            self.down.append(ConvNormReLU(down, between, config))
            self.enc.append(_blocks(between, coarse, config.layers[step], step + 1, config))
            up = InverseConv3d(decoder[step + 1], decoder[step], bias=False, index_key=f"spconv{step}")
            self.up.append(ConvNormReLU(up, decoder[step], config))
            depth = config.layers[-1 - step]
            self.dec.append(_blocks(decoder[step] + encoder[step], decoder[step], depth, step, config))
        self.final = None
        if config.num_classes:
            self.final = SubmanifoldConv3d(decoder[0], config.num_classes, 1, bias=config.final_bias)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Returns the decoder's features at the voxels of x, in their order: (M, channels[-1]), before `final`."""
        return self.levels(x)[0]

    def levels(self, x: SparseTensor) -> list[SparseTensor]:
        """Returns the decoder's features of all steps + 1 levels, the finest first; the coarsest are the encoder's."""
        x = self.conv_input(x)
        skips = []
        for down, enc in zip(self.down, self.enc, strict=True):
            skips.append(x)
            x = enc(down(x))
        levels = [x]
        for up, dec in zip(reversed(self.up), reversed(self.dec), strict=True):
            x = _side_by_side(up(x), skips.pop())
            x = dec(x)
            levels.append(x)
        return levels[::-1]

    def classify(self, x: SparseTensor) -> SparseTensor:
        """Returns (M, num_classes) outputs of `final` for features that `forward` returned.

        Raises:
            ValueError: a network without `final`.
        """
        if self.final is None:
            raise ValueError("num_classes is 0: this network has no layer `final`")
        out: SparseTensor = self.final(x)
        return out


def with_folded_norms(network: SparseUNet) -> SparseUNet:
    """Returns a copy for inference alone, without gradients, whose convolutions do what their BatchNorm did.

    It computes the same up to rounding, in fewer passes over the voxels; its state_dict has other names.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(folded.modules()):
        if isinstance(module, ResidualBlock):
            module.bn1 = _fold(module.conv1, module.bn1)
            module.bn2 = _fold(module.conv2, module.bn2)
            if module.proj is not None:
                module.proj[1] = _fold(module.proj[0], module.proj[1])
                _move_bias(module.proj[0], module.conv2)
        elif isinstance(module, ConvNormReLU):
            module[1] = _fold(module[0], module[1])
    return folded


def _fold(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    """Gives a convolution the factors and the bias of the norm behind it, and returns what takes the norm's place."""
    assert isinstance(convolution, SubmanifoldConv3d | StridedConv3d | InverseConv3d)
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight = convolution.weight.double()
    factors = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * factors
    if convolution.kernel_size == 1:  # its buffer holds (in, out), whatever its shape says
        folded = (weight.view(-1, len(factors)) * factors).view_as(weight)
    else:
        folded = weight * factors.view(-1, 1, 1, 1, 1)
    convolution.weight = nn.Parameter(folded.to(convolution.weight.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias.to(convolution.weight.dtype), requires_grad=False)
    return nn.Identity()


def _move_bias(source: nn.Module, target: nn.Module) -> None:
    """Leaves one bias to two convolutions whose outputs are added up: one pass less."""
    assert isinstance(source, SubmanifoldConv3d)
    assert isinstance(target, SubmanifoldConv3d)
    assert source.bias is not None
    assert target.bias is not None
    target.bias = nn.Parameter(target.bias + source.bias, requires_grad=False)
    source.bias = None


def norm(channels: int, config: SparseUNetConfig) -> nn.BatchNorm1d:
    """Returns a BatchNorm over voxels."""
    return nn.BatchNorm1d(channels, eps=config.norm_eps, momentum=config.norm_momentum)


def _side_by_side(first: SparseTensor, second: SparseTensor) -> SparseTensor:
    return first.with_features(torch.cat([first.features, second.features], dim=1))


def _blocks(in_channels: int, channels: int, depth: int, level: int, config: SparseUNetConfig) -> nn.Sequential:
    """Returns residual blocks under upstream's names, block0 and so on; the first takes in_channels."""
    blocks = nn.Sequential()
    for number in range(depth):
        width = channels if number else in_channels
        blocks.add_module(f"block{number}", ResidualBlock(width, channels, f"subm{level}", config))
    return blocks
