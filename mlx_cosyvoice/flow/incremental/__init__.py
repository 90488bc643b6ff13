"""The flow computed chunk by chunk: a hop costs its own frames, not the whole prefix again.

In streaming mode the attention masks are block-causal and the convolutions causal, so what a chunk yields never changes
once its lookahead is known. What later chunks need of earlier ones is kept as state: attention keys and values, and the
last frames before each convolution, for the encoder and for every Euler step of the estimator.
"""

from mlx_cosyvoice.flow.incremental.flow import IncrementalFlow
from mlx_cosyvoice.flow.incremental.state import FlowState, Prompt

__all__ = ["FlowState", "IncrementalFlow", "Prompt"]
