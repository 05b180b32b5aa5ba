"""The paper's one-layer transformer, read at "=": the same function, computed once where it repeats.

Tokens are [a, b, "="]; only the last position reaches the loss. With one layer, keys and values depend on a
token and its position alone, so there are 2p + 1 of each, not 3 n_pairs, and a single query. Every pair then
gathers what it needs. Nanda et al. 2023, section 3; sizes and scales from the authors' `transformers.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Activation, ModelConfig
from grok_sweep.models.parameters import Shapes, Weights, draw

N_CTX = 3


@dataclass(frozen=True)
class Activations:
    """What the network computes at "=" for each pair; `attn_pattern` holds the weights on a, b and "=" itself."""

    attn_pattern: Float[Tensor, "n_pairs n_heads 3"]
    resid_mid: Float[Tensor, "n_pairs d_model"]
    mlp_pre: Float[Tensor, "n_pairs d_mlp"]
    mlp_post: Float[Tensor, "n_pairs d_mlp"]
    logits: Float[Tensor, "n_pairs d_vocab_out"]


def shapes(config: ModelConfig, p: int) -> Shapes:
    """Every parameter's name and shape; d_vocab = p + 1 tokens, the last one "="."""
    d_vocab, d_model, n_heads = p + 1, config.d_model, config.n_heads
    assert config.d_head is not None, "settings are resolved before a model is built"
    assert config.d_mlp is not None, "settings are resolved before a model is built"
    return {
        "W_E": (d_vocab, d_model),
        "W_pos": (N_CTX, d_model),
        "W_Q": (n_heads, d_model, config.d_head),
        "W_K": (n_heads, d_model, config.d_head),
        "W_V": (n_heads, d_model, config.d_head),
        "W_O": (n_heads, config.d_head, d_model),
        "W_in": (d_model, config.d_mlp),
        "b_in": (config.d_mlp,),
        "W_out": (config.d_mlp, d_model),
        "b_out": (d_model,),
        "W_U": (d_model, d_vocab if config.equals_logit else p),
    }


def init(config: ModelConfig, p: int) -> Weights:
    """Initial weights (float32, CPU): Gaussian / sqrt(d_model), W_U / sqrt(d_vocab), biases 0.

    As the authors' code, W_out too is scaled by d_model, not by its fan-in. W_U is drawn output by output,
    so that the p answers start equal with and without an output for "=".
    """
    weights = {}
    for name, shape in shapes(config, p).items():
        if name.startswith("b_"):
            weights[name] = torch.zeros(shape)
        elif name == "W_U":
            weights[name] = draw(name, shape[::-1], (p + 1) ** -0.5, config.init_seed).T.contiguous()
        else:
            weights[name] = draw(name, shape, config.d_model**-0.5, config.init_seed)
    return weights


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The neurons' non-linearity; gelu is the exact one."""
    if activation is Activation.relu:
        return torch.relu(x)
    if activation is Activation.gelu:
        return torch.nn.functional.gelu(x)
    return x * x


def forward(
    weights: Weights,
    a: Int[Tensor, " n_pairs"],
    b: Int[Tensor, " n_pairs"],
    activation: Activation,
) -> Activations:
    """Activations at "=" for the pairs (a, b).

    Gathers by index_select, whose backward adds in a fixed order; that of indexing does not (other bits at
    each run, seen with torch 2.13 on the CPU).
    """
    W_E, W_pos = weights["W_E"], weights["W_pos"]
    n_heads, d_model, d_head = weights["W_Q"].shape
    p = W_E.shape[0] - 1
    # Rows 0..p-1: numbers at position 0; p..2p-1: numbers at position 1; 2p: "=" at position 2.
    resid_pre = torch.cat([W_E[:p] + W_pos[0], W_E[:p] + W_pos[1], W_E[p:] + W_pos[2]])
    resid_equals = resid_pre[2 * p :]
    q = torch.einsum("md,hdk->mhk", resid_equals, weights["W_Q"])[0]
    k = torch.einsum("md,hdk->mhk", resid_pre, weights["W_K"])
    v = torch.einsum("md,hdk->mhk", resid_pre, weights["W_V"]).reshape(2 * p + 1, n_heads * d_head)
    scores = (k * q).sum(-1) / math.sqrt(d_head)

    second = b + p
    pair_scores = torch.stack(
        [
            scores.index_select(0, a),
            scores.index_select(0, second),
            scores[2 * p].expand(len(a), n_heads),
        ],
        dim=-1,
    )
    attn_pattern = pair_scores.softmax(-1)

    def attended(values: Tensor, position: int) -> Tensor:
        return attn_pattern[:, :, position, None] * values.view(-1, n_heads, d_head)

    z = attended(v.index_select(0, a), 0) + attended(v.index_select(0, second), 1) + attended(v[2 * p :], 2)
    attn_out = z.reshape(len(a), n_heads * d_head) @ weights["W_O"].reshape(n_heads * d_head, d_model)
    resid_mid = resid_equals + attn_out
    mlp_pre = resid_mid @ weights["W_in"] + weights["b_in"]
    mlp_post = activate(mlp_pre, activation)
    resid_post = resid_mid + mlp_post @ weights["W_out"] + weights["b_out"]
    return Activations(attn_pattern, resid_mid, mlp_pre, mlp_post, resid_post @ weights["W_U"])
