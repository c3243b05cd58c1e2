"""Backbones that score a candidate for a user from vectors of one width, the fields.

Every backbone takes the fields of the user and the candidate, the candidate itself, the user's history with
its mask, and extra fields, pools the history into one more field, and gives a logit:

- DeepFM (Guo et al., IJCAI 2017): linear + factorisation machine + network. The machine's second order
  ``sum over pairs i < j of v_i · v_j`` is ``1/2 (|sum v|² - sum |v|²)``. Pooling: the mean.
- DCNv2 (Wang et al., WWW 2021): cross layers ``x_{l+1} = x_0 * (x_l W + b) + x_l`` beside the network.
  Pooling: the mean.
- DIN (Zhou et al., KDD 2018): the history weighted by a network of ``[q, k, q - k, q * k]``, q the candidate
  and k an item of the history, without softmax, so that many related items weigh more than one; the network
  has the activation Dice, ``p x + (1 - p) alpha x`` with ``p = sigmoid((x - mean) / deviation)``.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recommender.models.gradient import xavier

BackboneName = Literal["din", "dcnv2", "deepfm"]
_EPSILON = 1e-8
_MOMENTUM = 0.1


class Backbone(nn.Module):
    """What all have: the field of the history, and how fields are laid side by side."""

    def __init__(self, dim: int, n_fields: int) -> None:
        super().__init__()
        self.dim, self.n_fields = dim, n_fields

    def forward(
        self, fields: Tensor, candidate: Tensor, history: Tensor, mask: Tensor, extra: Tensor
    ) -> Tensor:
        """Score: [batch, n_own, dim], [batch, dim], [batch, length, dim], [batch, length], extra fields
        [batch, n_extra, dim] -> [batch]. ``n_fields`` is ``n_own + 1 + n_extra``.
        """
        pooled = self.pool(candidate, history, mask)
        return self.interact(torch.cat([fields, pooled[:, None], extra], dim=1))

    def pool(self, candidate: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """The history as one field, here its mean, zero where it is empty: [batch, dim]."""
        total = (history * mask[:, :, None]).sum(dim=1)
        mean: Tensor = total / mask.sum(dim=1).clamp(min=1)[:, None]
        return mean

    @abstractmethod
    def interact(self, fields: Tensor) -> Tensor:
        """The logit of all fields: [batch, n_fields, dim] -> [batch]."""


class DeepFm(Backbone):
    """Linear part, factorisation machine and network, added."""

    def __init__(self, dim: int, n_fields: int, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__(dim, n_fields)
        self.linear = xavier(generator, dim * n_fields, 1)
        self.deep = Network((dim * n_fields, *hidden, 1), generator)

    def interact(self, fields: Tensor) -> Tensor:
        """See :meth:`Backbone.interact`."""
        flat = fields.flatten(1)
        first_order_and_deep: Tensor = flat @ self.linear + self.deep(flat)
        return second_order(fields) + first_order_and_deep.squeeze(1)


class DcnV2(Backbone):
    """Cross layers and network side by side, joined by a linear layer."""

    def __init__(
        self,
        dim: int,
        n_fields: int,
        hidden: tuple[int, ...],
        n_cross: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(dim, n_fields)
        width = dim * n_fields
        self.cross_weights = nn.ParameterList(xavier(generator, width, width) for _ in range(n_cross))
        self.cross_biases = nn.ParameterList(_zeros(generator, width) for _ in range(n_cross))
        self.deep = Network((width, *hidden), generator)
        self.joined = xavier(generator, width + hidden[-1], 1)
        self.bias = _zeros(generator, 1)

    def interact(self, fields: Tensor) -> Tensor:
        """See :meth:`Backbone.interact`."""
        flat = fields.flatten(1)
        deep = functional.relu(self.deep(flat))
        return (torch.cat([self.cross(flat), deep], dim=1) @ self.joined + self.bias).squeeze(1)

    def cross(self, first: Tensor) -> Tensor:
        """All cross layers: [batch, width] -> [batch, width]."""
        layer = first
        for weight, bias in zip(self.cross_weights, self.cross_biases, strict=True):
            layer = torch.addcmul(layer, first, torch.addmm(bias, layer, weight))
        return layer


class Din(Backbone):
    """Attention of the candidate over the history, then a network."""

    def __init__(
        self,
        dim: int,
        n_fields: int,
        hidden: tuple[int, ...],
        attention: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__(dim, n_fields)
        self.attention = Network((4 * dim, *attention, 1), generator, dice=True)
        self.deep = Network((dim * n_fields, *hidden, 1), generator)

    def pool(self, candidate: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """The history, each item by its weight for the candidate: [batch, dim]."""
        return (self.attend(candidate, history, mask)[:, :, None] * history).sum(dim=1)

    def attend(self, candidate: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """What each item of the history weighs, 0 where the mask has none: [batch, length].

        Only what the mask lets through is computed, and only that enters the statistics of Dice.
        """
        known = history[mask]
        asked = candidate[:, None].expand_as(history)[mask]
        pairs = torch.cat([asked, known, asked - known, asked * known], dim=1)
        weights = self.attention(pairs).squeeze(1).to(history.dtype)  # under autocast it has 16 bits
        return torch.zeros_like(history[:, :, 0]).masked_scatter(mask, weights)

    def interact(self, fields: Tensor) -> Tensor:
        """See :meth:`Backbone.interact`."""
        logit: Tensor = self.deep(fields.flatten(1))
        return logit.squeeze(1)


class Network(nn.Module):
    """Linear layers with ReLU, or Dice, between them: [n, widths[0]] -> [n, widths[-1]]."""

    def __init__(self, widths: tuple[int, ...], generator: torch.Generator, *, dice: bool = False) -> None:
        super().__init__()
        self.weights = nn.ParameterList(xavier(generator, below, above) for below, above in pairwise(widths))
        self.biases = nn.ParameterList(_zeros(generator, above) for above in widths[1:])
        activations = [Dice(width, generator) if dice else nn.ReLU() for width in widths[1:-1]]
        self.activations = nn.ModuleList(activations)

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            rows = torch.addmm(bias, rows, weight)
            if number < len(self.activations):
                rows = self.activations[number](rows)
        return rows


class Dice(nn.Module):
    """A rectifier whose bend follows the data: mean and variance of the batch, of all batches afterwards."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.alpha = _zeros(generator, width)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(width, device=generator.device))
        self.register_buffer("variance", torch.ones(width, device=generator.device))

    def forward(self, rows: Tensor) -> Tensor:
        """[n, width] -> [n, width]."""
        learns = self.training and len(rows) > 0
        rows = rows.to(self.mean.dtype)  # under autocast they come in 16 bits
        mean = rows.mean(dim=0) if learns else self.mean
        moved = rows - mean
        variance = moved.square().mean(dim=0) if learns else self.variance
        if learns:
            with torch.no_grad():
                self.mean.lerp_(mean, _MOMENTUM)
                self.variance.lerp_(variance, _MOMENTUM)
        share = torch.sigmoid(moved * torch.rsqrt(variance + _EPSILON))
        return rows * (share + (1 - share) * self.alpha)


def second_order(fields: Tensor) -> Tensor:
    """The sum of the products of all pairs of fields: [batch, n_fields, dim] -> [batch]."""
    return (fields.sum(dim=1).square() - fields.square().sum(dim=1)).sum(dim=1) / 2


def _zeros(generator: torch.Generator, width: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(width, device=generator.device))
