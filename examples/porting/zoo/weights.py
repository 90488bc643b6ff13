"""Random weights that hide no fault: activations of order one, norms that are not one, biases that are not zero."""

from __future__ import annotations

import torch

#: Standard deviation of what is added to vectors: norms' weights about their start, biases about zero.
_VECTOR = 0.2
#: Standard deviation of embeddings.
_EMBEDDING = 0.5
#: State-space parameters whose start is a law of their own: they are moved a little and not drawn anew.
_KEPT = ("A_log", "recurrent_param")


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Draw every parameter of `model` anew, in place, and the correction biases of routers that are buffers.

    A matrix gets variance 1 / its inputs; a vector keeps its start and gets noise on top. Tied weights stay tied.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim < 2 or name.endswith(_KEPT):
                value.add_(_VECTOR * normal(value))
            elif id(value) in embeddings:
                value.copy_(_EMBEDDING * normal(value))
            else:
                value.copy_(normal(value) * value.shape[-1] ** -0.5)
        for name, buffer in model.named_buffers():
            if name.endswith(("correction_bias", "expert_bias")):
                buffer.add_(_VECTOR * normal(buffer))
