"""The one-layer transformer with its weights multiplied out: what repeats from pair to pair is computed once.

Only "=" reaches the loss, and in one layer keys and values depend on a token and its position alone: there are
2p + 1 of each. So what a head adds when it attends to a token, read through W_in and W_U, is one row of a table. The
neurons of a pair are a sum of 3 n_heads rows, weighted by its attention, and one for what "=" holds by itself: 13
multiplications a neuron at the paper's sizes, where the products by W_O and W_in take 160. W_out and W_U are one
matrix, the neuron-logit map W_L. Nanda et al. 2023, section 3, reads its network so; here it is trained so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.models.parameters import Weights

ALIGNED = 16
"""Rows of so many float32 numbers begin where a line of the cache does: products by them take a tenth less."""


@dataclass(frozen=True)
class Tokens:
    """Number 0..p-1: the numbers at position 0; p..2p-1: the numbers at position 1; 2p: "=" at position 2.

    Attributes:
        resid: residual stream before the layer.
        q: the query of "=".
        scores: of attention from "=".
    """

    resid: Float[Tensor, "n_tokens d_model"]
    q: Float[Tensor, "n_heads d_head"]
    k: Float[Tensor, "n_heads n_tokens d_head"]
    v: Float[Tensor, "n_heads n_tokens d_head"]
    scores: Float[Tensor, "n_tokens n_heads"]


@dataclass(frozen=True)
class Folded:
    """A transformer multiplied out.

    Attributes:
        reads: W_in and W_U side by side, and zeros up to a multiple of ALIGNED.
        heads: what reads the values of each head: W_O @ reads.
        rows: of token t and head h at h * n_tokens + t: what they add to the neurons, before their non-linearity, and
            past them to the logits (`parts`). The last row is what "=" adds by itself, biases included.
        W_U: over all outputs.
        W_L: what each neuron adds to each logit.
    """

    tokens: Tokens
    reads: Float[Tensor, "d_model width"]
    heads: Float[Tensor, "n_heads d_head width"]
    rows: Float[Tensor, "n_rows width"]
    W_U: Float[Tensor, "d_model d_vocab_out"]
    W_L: Float[Tensor, "d_mlp d_vocab_out"]

    def parts(self, sums: Float[Tensor, "*n width"]) -> tuple[Tensor, Tensor]:
        """Of sums of rows, or of a gradient by them: what is the neurons', and what the logits' past them."""
        d_mlp, d_vocab_out = self.W_L.shape
        return sums[..., :d_mlp], sums[..., d_mlp : d_mlp + d_vocab_out]


@dataclass(frozen=True)
class Mix:
    """Which rows each pair sums, and their weights.

    Attributes:
        learned: the softmax over the positions of a, b and "=".
        pattern: attention as the network uses it: learned, or mixed with a constant.
        weights: of the rows: the pattern, and 1 for what "=" adds by itself.
    """

    learned: Float[Tensor, "n_pairs 3 n_heads"]
    pattern: Float[Tensor, "n_pairs 3 n_heads"]
    weights: Float[Tensor, "n_pairs n_summed"]
    rows: Int[Tensor, "n_pairs n_summed"]

    def of(self, table: Float[Tensor, "n_rows width"], pairs: slice = slice(None)) -> Float[Tensor, "n width"]:
        """The weighted sum of each pair's rows of the table."""
        rows, weights = self.rows[pairs], self.weights[pairs]
        return torch.nn.functional.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)


def tokens_of(weights: Weights, p: int) -> Tokens:
    W_E, W_pos = weights["W_E"], weights["W_pos"]
    resid = torch.cat([W_E[:p] + W_pos[0], W_E[:p] + W_pos[1], W_E[p:] + W_pos[2]])
    q = torch.einsum("d,hdk->hk", resid[2 * p], weights["W_Q"])
    k, v = resid @ weights["W_K"], resid @ weights["W_V"]
    return Tokens(resid, q, k, v, torch.einsum("hmk,hk->mh", k, q) / math.sqrt(q.shape[-1]))


def fold(weights: Weights, p: int, d_vocab_out: int) -> Folded:
    tokens, W_U = tokens_of(weights, p), unembedding(weights, d_vocab_out)
    fill = -(weights["W_in"].shape[1] + d_vocab_out) % ALIGNED
    reads = torch.cat([weights["W_in"], W_U, W_U.new_zeros(len(W_U), fill)], 1)
    heads = weights["W_O"] @ reads
    alone = tokens.resid[2 * p :] @ reads
    if "b_in" in weights:
        alone = alone + torch.cat([weights["b_in"], weights["b_out"] @ W_U, W_U.new_zeros(fill)])
    rows = torch.cat([(tokens.v @ heads).flatten(0, 1), alone])
    return Folded(tokens, reads, heads, rows, W_U, weights["W_out"] @ W_U)


def writes(weights: Weights, tokens: Tokens) -> Float[Tensor, "n_rows d_model"]:
    """What each row of `Folded.rows` adds to the residual stream at "=", before the neurons."""
    return torch.cat([(tokens.v @ weights["W_O"]).flatten(0, 1), tokens.resid[-1:]])


def mix(folded: Folded, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"], attention_rate: float) -> Mix:
    """Attention from "=" to a, b and "=" itself, for the pairs (a, b)."""
    scores = folded.tokens.scores
    n_tokens, n_heads = scores.shape
    at = torch.stack([a, b + n_tokens // 2, torch.full_like(a, n_tokens - 1)], 1)
    # index_select: its backward adds in a fixed order; that of indexing does not (other bits at each run, seen with
    # torch 2.13 on the CPU).
    learned = scores.index_select(0, at.flatten()).view(len(a), 3, n_heads).softmax(1)
    pattern = mixed_attention(learned, attention_rate)
    rows = (at[:, :, None] + n_tokens * torch.arange(n_heads, device=a.device)).flatten(1)
    alone = torch.full_like(rows[:, :1], n_tokens * n_heads)
    weights = torch.cat([pattern.flatten(1), torch.ones_like(pattern[:, 0, :1])], 1)
    return Mix(learned, pattern, weights, torch.cat([rows, alone], 1))


def unembedding(weights: Weights, d_vocab_out: int) -> Float[Tensor, "d_model d_vocab_out"]:
    """W_U, or where embeddings are tied the transpose of W_E."""
    return weights["W_U"] if "W_U" in weights else weights["W_E"][:d_vocab_out].T


def mixed_attention(pattern: Tensor, rate: float) -> Tensor:
    """rate * learned + (1 - rate) * 1: Zhong et al. 2023 mix with the all-ones matrix, not with 1/3."""
    return pattern if rate == 1 else rate * pattern + (1 - rate)
