"""A gated recurrent unit whose weights come from a given generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedUnit(nn.Module):
    """One step of a GRU (Cho et al., EMNLP 2014): state and input -> next state.

    Weights start uniform within 1 / sqrt(``hidden_dim``), as torch's own.
    """

    def __init__(self, input_dim: int, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        bound = hidden_dim**-0.5

        def drawn(*shape: int) -> nn.Parameter:
            values = torch.empty(*shape, device=generator.device)
            return nn.Parameter(values.uniform_(-bound, bound, generator=generator))

        self.input_weights = drawn(3 * hidden_dim, input_dim)
        self.state_weights = drawn(3 * hidden_dim, hidden_dim)
        self.input_bias = drawn(3 * hidden_dim)
        self.state_bias = drawn(3 * hidden_dim)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """*Shape:* ``inputs`` [n, input_dim], ``state`` [n, hidden_dim] -> [n, hidden_dim]."""
        return torch.gru_cell(
            inputs, state, self.input_weights, self.state_weights, self.input_bias, self.state_bias
        )

    def start(self, n: int) -> Tensor:
        """The state before the first step: zeros [n, hidden_dim]."""
        return self.input_weights.new_zeros(n, self.hidden_dim)
