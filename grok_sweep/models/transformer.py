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

from grok_sweep.config import ModelConfig
from grok_sweep.models.network import Activations, Dropout, Network, activate, scaled, with_bias
from grok_sweep.models.parameters import Shapes, Weights, draw

N_CTX = 3


class Transformer(Network):
    """One layer, no LayerNorm: the paper's, and its variants that keep its two ideas of what to compute once."""

    def shapes(self) -> Shapes:
        """d_vocab = p + 1 tokens, the last one "="; W_U only where it is not W_E."""
        config, d_vocab = self.config, self.p + 1
        d_model, n_heads = config.d_model, config.n_heads
        assert config.d_head is not None, "settings are resolved before a model is built"
        assert config.d_mlp is not None, "settings are resolved before a model is built"
        shapes = {
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
            "W_U": (d_model, self.d_vocab_out),
        }
        absent = {"b_in", "b_out"} if not config.mlp_biases else set()
        absent |= {"W_U"} if config.tied else set()
        return {name: shape for name, shape in shapes.items() if name not in absent}

    def init(self) -> Weights:
        """Gaussian / sqrt(d_model), W_U / sqrt(d_vocab), biases 0: as the authors' code, where W_out too is scaled by
        d_model, not by its fan-in."""
        return {name: initial(name, shape, self.config, self.p) for name, shape in self.shapes().items()}

    def forward(
        self, weights: Weights, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"], dropout: Dropout | None = None
    ) -> Activations:
        """Gathers by index_select, whose backward adds in a fixed order; that of indexing does not (other bits at
        each run, seen with torch 2.13 on the CPU)."""
        n_heads, d_model, d_head = weights["W_Q"].shape
        p = self.p
        tokens, second = tokens_of(weights, p), b + p
        scores, v = tokens.scores, tokens.v
        pair_scores = torch.stack(
            [
                scores.index_select(0, a),
                scores.index_select(0, second),
                scores[2 * p].expand(len(a), n_heads),
            ]
        )
        pattern = mixed_attention(pair_scores.softmax(0), self.config.attention_rate)

        def attended(values: Tensor, position: int) -> Tensor:
            return pattern[position, :, :, None] * values

        z = attended(v.index_select(0, a), 0) + attended(v.index_select(0, second), 1) + attended(v[2 * p :], 2)
        attn_out = z.reshape(len(a), n_heads * d_head) @ weights["W_O"].reshape(n_heads * d_head, d_model)
        resid_mid = tokens.resid[2 * p] + attn_out
        mlp_pre = with_bias(resid_mid @ weights["W_in"], weights.get("b_in"))
        mlp_post = activate(mlp_pre, self.config.activation)
        kept = mlp_post if dropout is None else dropout(mlp_post)
        resid_post = with_bias(resid_mid + kept @ weights["W_out"], weights.get("b_out"))
        logits = scaled(resid_post @ unembedding(weights, self.d_vocab_out), self.config)
        return Activations(logits, mlp_pre, mlp_post, resid_mid, pattern.permute(1, 2, 0))

    def embedding(self, weights: Weights) -> Float[Tensor, "p d_model"] | None:
        return weights["W_E"][: self.p]

    def neuron_logit_map(self, weights: Weights) -> Float[Tensor, "d_mlp p"] | None:
        """W_L = W_out @ W_U over the p answer classes."""
        return read_out(self, weights, weights["W_out"])


@dataclass(frozen=True)
class Tokens:
    """Rows 0..p-1: the numbers at position 0; p..2p-1: the numbers at position 1; 2p: "=" at position 2.

    Attributes:
        resid: residual stream before the layer, [2p+1, d_model].
        q: the query of "=", [n_heads, d_head].
        k, v: [2p+1, n_heads, d_head].
        scores: of attention from "=", [2p+1, n_heads].
    """

    resid: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor


def tokens_of(weights: Weights, p: int) -> Tokens:
    W_E, W_pos = weights["W_E"], weights["W_pos"]
    resid = torch.cat([W_E[:p] + W_pos[0], W_E[:p] + W_pos[1], W_E[p:] + W_pos[2]])
    q = torch.einsum("d,hdk->hk", resid[2 * p], weights["W_Q"])
    k = torch.einsum("md,hdk->mhk", resid, weights["W_K"])
    v = torch.einsum("md,hdk->mhk", resid, weights["W_V"]).contiguous()
    return Tokens(resid, q, k, v, (k * q).sum(-1) / math.sqrt(q.shape[-1]))


# --- shared with the general transformer --------------------------------------------------------------------


def initial(name: str, shape: tuple[int, ...], config: ModelConfig, p: int) -> Tensor:
    """The initial value of one of the transformer's parameters.

    W_U is drawn output by output, for "=" too where it is none: so the p answers start equal with and without it.
    """
    kind = name.rpartition(".")[2]
    if kind.startswith("b_"):
        return torch.zeros(shape)
    if kind == "W_U":
        d_model, d_vocab_out = shape
        return draw(name, (p + 1, d_model), (p + 1) ** -0.5, config.init_seed)[:d_vocab_out].T.contiguous()
    return draw(name, shape, config.d_model**-0.5, config.init_seed)


def unembedding(weights: Weights, d_vocab_out: int) -> Float[Tensor, "d_model d_vocab_out"]:
    """W_U, or where embeddings are tied the transpose of W_E."""
    return weights["W_U"] if "W_U" in weights else weights["W_E"][:d_vocab_out].T


def read_out(network: Network, weights: Weights, W_out: Tensor) -> Float[Tensor, "d_mlp p"]:
    """W_out @ W_U over the p answer classes, in float64, times config.output_scale."""
    W_U = unembedding(weights, network.d_vocab_out)[:, : network.p]
    return scaled(W_out.double() @ W_U.double(), network.config)


def mixed_attention(pattern: Tensor, rate: float) -> Tensor:
    """rate * learned + (1 - rate) * 1: Zhong et al. 2023 mix with the all-ones matrix, not with 1/3."""
    return pattern if rate == 1 else rate * pattern + (1 - rate)
