"""What every network offers: parameters, a forward pass read at "=", and the maps that measures read off weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Activation, ModelConfig
from grok_sweep.models.parameters import Shapes, Weights

Dropout = Callable[[Tensor], Tensor]
"""Sets some of the neurons to 0 and scales the others; training hands one over, evaluation does not."""


@dataclass(frozen=True)
class Activations:
    """What the network computes at "=" for each pair; None where it has no such thing.

    Attributes:
        logits: over the p answers and, where the model has that output, "=".
        mlp_pre: the neurons before their non-linearity, in the last layer.
        mlp_post: the neurons, in the last layer.
        resid_mid: the residual stream between attention and MLP, in the last layer.
        attn_pattern: attention from "=" to a, b and "=" itself, in the last layer.
        others: by name, what else there is: "blocks.0.mlp_post" of earlier layers.
    """

    logits: Float[Tensor, "n_pairs d_vocab_out"]
    mlp_pre: Float[Tensor, "n_pairs d_mlp"] | None = None
    mlp_post: Float[Tensor, "n_pairs d_mlp"] | None = None
    resid_mid: Float[Tensor, "n_pairs d_model"] | None = None
    attn_pattern: Float[Tensor, "n_pairs n_heads 3"] | None = None
    others: dict[str, Tensor] = field(default_factory=dict)


class Network(ABC):
    """A network for one modulus: functions of named weights. One of your own is a subclass (docs/extending.md)."""

    def __init__(self, config: ModelConfig, p: int) -> None:
        self.config, self.p = config, p

    @property
    def d_vocab_out(self) -> int:
        """Outputs: the p answers, and "=" where it is one."""
        return self.p + 1 if self.config.equals_logit else self.p

    @abstractmethod
    def shapes(self) -> Shapes:
        """Every parameter's name and shape. Where only matrices decay, what has one axis does not."""

    @abstractmethod
    def init(self) -> Weights:
        """Initial weights, float32 on the CPU, from config.init_seed alone; config.init_scale is not in them yet."""

    @abstractmethod
    def forward(
        self, weights: Weights, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"], dropout: Dropout | None = None
    ) -> Activations:
        """Activations for the pairs (a, b); config.output_scale is in the logits."""

    def embedding(self, weights: Weights) -> Float[Tensor, "p d_model"] | None:
        """One row for each number; None where the network has none."""
        return None

    def neuron_logit_map(self, weights: Weights) -> Float[Tensor, "d_mlp p"] | None:
        """W_L, what each neuron adds to each answer's logit, float64; None where that is no fixed map."""
        return None

    def input_maps(self, weights: Weights) -> dict[str, Float[Tensor, "p d_mlp"]]:
        """What each operand adds to each neuron before its non-linearity, where that is a fixed map: in_a, in_b."""
        return {}


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The neurons' non-linearity; gelu is the exact one."""
    if activation is Activation.relu:
        return torch.relu(x)
    if activation is Activation.gelu:
        return torch.nn.functional.gelu(x)
    return x * x


def with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias


def scaled(logits: Tensor, config: ModelConfig) -> Tensor:
    """The logits times config.output_scale."""
    return logits if config.output_scale == 1 else logits * config.output_scale
