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

    resid: Float[Tensor, "*members n_tokens d_model"]
    q: Float[Tensor, "*members n_heads d_head"]
    k: Float[Tensor, "*members n_heads n_tokens d_head"]
    v: Float[Tensor, "*members n_heads n_tokens d_head"]
    scores: Float[Tensor, "*members n_tokens n_heads"]


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
    reads: Float[Tensor, "*members d_model width"]
    heads: Float[Tensor, "*members n_heads d_head width"]
    rows: Float[Tensor, "*members n_rows width"]
    W_U: Float[Tensor, "*members d_model d_vocab_out"]
    W_L: Float[Tensor, "*members d_mlp d_vocab_out"]

    def parts(self, sums: Float[Tensor, "*n width"]) -> tuple[Tensor, Tensor]:
        """Of sums of rows, or of a gradient by them: what is the neurons', and what the logits' past them."""
        d_mlp, d_vocab_out = self.W_L.shape[-2:]
        return sums[..., :d_mlp], sums[..., d_mlp : d_mlp + d_vocab_out]


@dataclass(frozen=True)
class Places:
    """Where each pair finds what it reads, in tables of one network, or of several end to end.

    Attributes:
        tokens: of its a, b and "=".
        rows: that it sums.
    """

    tokens: Int[Tensor, "n_pairs 3"]
    rows: Int[Tensor, "n_pairs n_summed"]


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
    numbers, equals = W_E[..., :p, :], W_E[..., p:, :]
    resid = torch.cat([numbers + W_pos[..., :1, :], numbers + W_pos[..., 1:2, :], equals + W_pos[..., 2:, :]], -2)
    k, v = (resid[..., None, :, :] @ weights[name] for name in ("W_K", "W_V"))
    q = by_vector(resid[..., None, 2 * p :, :], weights["W_Q"], n_axes=3)
    scores = by_vector(k, q[..., 0, :, None], n_axes=3)[..., 0].mT / math.sqrt(q.shape[-1])
    return Tokens(resid, q[..., 0, :], k, v, scores)


def fold(weights: Weights, p: int, d_vocab_out: int) -> Folded:
    tokens, W_U = tokens_of(weights, p), unembedding(weights, d_vocab_out)
    fill = -(weights["W_in"].shape[-1] + d_vocab_out) % ALIGNED
    reads = torch.cat([weights["W_in"], W_U, W_U.new_zeros(*W_U.shape[:-1], fill)], -1)
    W_O = weights["W_O"]
    heads = (W_O.flatten(-3, -2) @ reads).unflatten(-2, W_O.shape[-3:-1])
    alone = by_vector(tokens.resid[..., 2 * p :, :], reads)
    if "b_in" in weights:
        past = by_vector(weights["b_out"][..., None, :], W_U)
        alone = alone + torch.cat([weights["b_in"][..., None, :], past, W_U.new_zeros(*past.shape[:-1], fill)], -1)
    rows = torch.cat([(tokens.v @ heads).flatten(-3, -2), alone], -2)
    return Folded(tokens, reads, heads, rows, W_U, weights["W_out"] @ W_U)


def writes(weights: Weights, tokens: Tokens) -> Float[Tensor, "n_rows d_model"]:
    """What each row of `Folded.rows` adds to the residual stream at "=", before the neurons."""
    return torch.cat([(tokens.v @ weights["W_O"]).flatten(0, 1), tokens.resid[-1:]])


def places(
    a: Int[Tensor, " n_pairs"],
    b: Int[Tensor, " n_pairs"],
    p: int,
    n_heads: int,
    member: Int[Tensor, " n_pairs"] | None = None,
) -> Places:
    """What the pairs (a, b) read: tokens a, b and "=", their rows of every head, and the last row.

    Args:
        member: whose each pair is, where tables of several networks lie end to end.
    """
    n_tokens, n_rows = 2 * p + 1, (2 * p + 1) * n_heads + 1
    tokens = torch.stack([a, b + p, torch.full_like(a, 2 * p)], 1)
    rows = (tokens[:, :, None] + n_tokens * torch.arange(n_heads, device=a.device)).flatten(1)
    rows = torch.cat([rows, torch.full_like(rows[:, :1], n_rows - 1)], 1)
    if member is None:
        return Places(tokens, rows)
    return Places(tokens + n_tokens * member[:, None], rows + n_rows * member[:, None])


def mix(folded: Folded, places: Places, rate: float | Tensor, constant: float | Tensor) -> Mix:
    """Attention from "=" to a, b and "=" itself, for the pairs whose places these are; as `mixed_attention`."""
    scores = folded.tokens.scores.flatten(0, -2)
    # index_select: its backward adds in a fixed order; that of indexing does not (other bits at each run, seen with
    # torch 2.13 on the CPU).
    learned = scores.index_select(0, places.tokens.flatten()).view(*places.tokens.shape, -1).softmax(1)
    pattern = mixed_attention(learned, rate, constant)
    weights = torch.cat([pattern.flatten(1), torch.ones_like(pattern[:, 0, :1])], 1)
    return Mix(learned, pattern, weights, places.rows)


def by_vector(left: Tensor, right: Tensor, n_axes: int = 2) -> Tensor:
    """left @ right where one of them is a row or a column, with n_axes axes of each member's own.

    On a CPU one member at a time: BLAS has other ways for a vector by itself than for a batch of them, to other bits.
    """
    if left.ndim == n_axes or left.is_cuda:
        return left @ right
    if len(left) == 1:
        return (left[0] @ right[0])[None]
    return torch.stack([one @ other for one, other in zip(left, right, strict=True)])


def unembedding(weights: Weights, d_vocab_out: int) -> Float[Tensor, "*members d_model d_vocab_out"]:
    """W_U, or where embeddings are tied the transpose of W_E."""
    return weights["W_U"] if "W_U" in weights else weights["W_E"][..., :d_vocab_out, :].mT


def mixed_attention(pattern: Tensor, rate: float | Tensor, constant: float | Tensor) -> Tensor:
    """rate * learned + constant, which is 1 - rate: Zhong et al. 2023 mix with the all-ones matrix, not with 1/3."""
    if isinstance(rate, Tensor) and isinstance(constant, Tensor):
        return pattern * rate[..., None] + constant[..., None]
    return pattern if isinstance(rate, float | int) and rate == 1 else rate * pattern + constant
