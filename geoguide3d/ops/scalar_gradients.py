"""Autograd of ops whose value is one number: they make their gradients together with it, so backward only scales them.

Such an op takes `gradients`, the bits of its first two inputs whose gradient is wanted, last, and returns
(value, gradient of input 0, gradient of input 1); a gradient that is not wanted has no rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Context = Any  # torch's autograd context is not typed


def wanted_gradients(*inputs: Tensor) -> int:
    """Returns the bits of the inputs (first: 1, second: 2) that backward will ask for."""
    if not torch.is_grad_enabled():
        return 0
    return sum(1 << i for i, tensor in enumerate(inputs) if tensor.requires_grad)


def save(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.wanted, ctx.num_inputs = inputs[-1], len(inputs)
    ctx.dtypes = [tensor.dtype for tensor in inputs[:2]]
    ctx.set_materialize_grads(False)  # or backward would be handed zeros of the size of the gradients
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:])


def scale(ctx: Context, grad_value: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    """Multiplies what `save` kept by the gradient of the value: in place where nobody can ask for it again."""
    result: list[Tensor | None] = [None] * ctx.num_inputs
    if grad_value is None:
        return tuple(result)
    if torch.is_grad_enabled():
        raise RuntimeError("this loss has no second derivative: call backward without create_graph")
    graph_goes = not torch._C._autograd._get_current_graph_task_keep_graph()
    for i, (gradient, needed) in enumerate(zip(ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True)):
        if not needed:
            continue
        if not ctx.wanted & (1 << i):
            raise RuntimeError(f"input {i} needs a gradient, and the op was called with gradients={ctx.wanted}")
        last_use = graph_goes and type(gradient) is Tensor  # a compiler's stand-in is also an output of the forward
        scaled = gradient.mul_(grad_value) if last_use else gradient * grad_value
        result[i] = scaled.to(ctx.dtypes[i])
    return tuple(result)
