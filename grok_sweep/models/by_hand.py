"""The gradient of the paper's transformer, forward and backward written out over its folded weights (folded.py).

The function is `Transformer.forward`'s, its operations in the same order, and the gradient is autograd's to
rounding. Going back, a pair adds to the gradient of each table row its weight there times one vector. Pairs are
taken operand by operand, so that these sums, and the products that give the gradient by those weights, are small
matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Activation
from grok_sweep.lists import Lists, lists
from grok_sweep.models.folded import Folded, Mix, Tokens, fold, mix
from grok_sweep.models.network import activate, scaled
from grok_sweep.models.parameters import Weights
from grok_sweep.models.transformer import Transformer

CHUNK = 2048
"""Pairs at a time, at most, between the table and the gradient by its sums: a twentieth faster than all at once."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits and labels of some pairs -> what these add to the loss (nats), and its gradient by the logits."""


class TransformerByHand:
    """Gradients of one network, for batches of any size; holds nothing but buffers."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._buffers: dict[str, Tensor] = {}
        self._grouped: tuple[Tensor, Tensor, list[Lists]] | None = None

    def gradient(
        self,
        weights: Weights,
        out: Weights,
        a: Int[Tensor, " n_pairs"],
        b: Int[Tensor, " n_pairs"],
        labels: Int[Tensor, " n_pairs"],
        objective: Objective,
    ) -> Float[Tensor, ""]:
        """The loss on the pairs (a, b); its gradient by every parameter is added to `out`."""
        folded = fold(weights, self.network.p, self.network.d_vocab_out)
        mixed = mix(folded, a, b, self.network.config.attention_rate)
        by_summed = self._buffer("by_summed", folded.rows, len(a), folded.rows.shape[1])
        by_summed[:, sum(folded.W_L.shape) :] = 0
        by_W_L = torch.zeros_like(folded.W_L.T).T
        chunks = (slice(start, start + CHUNK) for start in range(0, len(a), CHUNK))
        losses = [self._some(folded, mixed, labels, objective, chunk, by_summed, by_W_L) for chunk in chunks]
        by_rows, by_scores = self._through_mix(folded, mixed, by_summed, self._operands(a, b))
        _through_fold(weights, folded, by_rows, by_W_L, by_scores, out)
        return torch.stack(losses).sum()

    def _some(
        self,
        folded: Folded,
        mixed: Mix,
        labels: Tensor,
        objective: Objective,
        chunk: slice,
        by_summed: Float[Tensor, "n_pairs width"],
        by_W_L: Float[Tensor, "d_mlp d_vocab_out"],
    ) -> Float[Tensor, ""]:
        """What these pairs add to the loss. Writes the gradient by what each of them sums; adds that by W_L."""
        config = self.network.config
        pre, past_neurons = folded.parts(mixed.of(folded.rows, chunk))
        post = _activated(pre, config.activation)
        logits = torch.addmm(past_neurons, post, folded.W_L, out=self._buffer("logits", pre, *past_neurons.shape))
        loss, by_logits = objective(scaled(logits, config), labels[chunk])
        by_pre, by_past = folded.parts(by_summed[chunk])
        by_past.copy_(scaled(by_logits, config))
        torch.mm(by_past, folded.W_L.T, out=by_pre)
        _through_activation(by_pre, pre, config.activation)
        by_W_L.T.addmm_(by_past.T, post)
        return loss

    def _through_mix(
        self, folded: Folded, mixed: Mix, by_summed: Tensor, operands: list[Lists]
    ) -> tuple[Float[Tensor, "n_rows width"], Float[Tensor, "n_tokens n_heads"]]:
        """From the gradient by what each pair sums to that by the table's rows and by the tokens' scores."""
        p, n_heads, width = self.network.p, mixed.pattern.shape[2], by_summed.shape[1]
        by_rows, by_pattern = torch.empty_like(folded.rows), torch.empty_like(mixed.pattern)
        of_tokens, by_tokens = (
            t[:-1].view(n_heads, 2 * p + 1, width).transpose(0, 1) for t in (folded.rows, by_rows)
        )
        for position, pairs in enumerate(operands):
            numbers = slice(position * p, (position + 1) * p)
            weights = mixed.pattern[:, position]
            if position == 0:  # "=" is in every pair: the lists of the first operand take its rows along
                weights = torch.cat([weights, mixed.weights[:, 2 * n_heads :]], 1)
            by_pairs = pairs.taken(by_summed, self._buffer("by_pairs", by_summed, pairs.size, width))
            by_these = torch.bmm(pairs.masked(weights).transpose(1, 2), by_pairs)
            by_tokens[numbers] = by_these[:, :n_heads]
            if position == 0:
                by_tokens[2 * p], by_rows[-1] = by_these[:, n_heads:].sum(0).split([n_heads, 1])
            by_pattern[:, position] = pairs.put_back(torch.bmm(by_pairs, of_tokens[numbers].transpose(1, 2)))
        by_pattern[:, 2] = by_summed @ of_tokens[2 * p].T

        by_learned = by_pattern.mul_(self.network.config.attention_rate).mul_(mixed.learned)
        by_scores = by_learned - mixed.learned * by_learned.sum(1, keepdim=True)
        of_numbers = [pairs.masked(by_scores[:, position]).sum(1) for position, pairs in enumerate(operands)]
        return by_rows, torch.cat([*of_numbers, by_scores[:, 2].sum(0, keepdim=True)])

    def _operands(self, a: Tensor, b: Tensor) -> list[Lists]:
        """The pairs by their first and by their second operand; once for a batch that comes again."""
        if self._grouped is None or self._grouped[0] is not a or self._grouped[1] is not b:
            self._grouped = (a, b, [lists(operand, self.network.p) for operand in (a, b)])
        return self._grouped[2]

    def _buffer(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory of this shape, with what the last use left in it."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[name] = like.new_empty(size)
        return buffer[:size].view(shape)


# --- through the folded weights -----------------------------------------------------------------------------


def _through_fold(
    weights: Weights, folded: Folded, by_rows: Tensor, by_W_L: Tensor, by_scores: Tensor, out: Weights
) -> None:
    """From the gradient by the table's rows, W_L and the tokens' scores to that by every parameter."""
    tokens, W_out = folded.tokens, weights["W_out"]
    by_table, equals = by_rows[:-1].view(*tokens.v.shape[:2], -1), tokens.resid[-1]
    by_heads = (tokens.v.transpose(1, 2) @ by_table).flatten(0, 1)
    W_O, by_W_O = (w["W_O"].flatten(0, 1) for w in (weights, out))
    by_W_O += by_heads @ folded.reads.T
    by_W_in, by_W_U = folded.parts(torch.addmm(torch.outer(equals, by_rows[-1]), W_O.T, by_heads))
    by_W_U = by_W_U + W_out.T @ by_W_L
    out["W_out"] += by_W_L @ folded.W_U.T
    out["W_in"] += by_W_in
    if "b_in" in out:
        by_b_in, by_past = folded.parts(by_rows[-1])
        out["b_in"] += by_b_in
        out["b_out"] += folded.W_U @ by_past
        by_W_U += torch.outer(weights["b_out"], by_past)
    if "W_U" in out:
        out["W_U"] += by_W_U
    else:
        out["W_E"][: len(by_W_U.T)] += by_W_U.T
    by_v = by_table @ folded.heads.transpose(1, 2)
    _through_tokens(weights, tokens, by_scores, by_v, folded.reads @ by_rows[-1], out)


def _through_tokens(
    weights: Weights, tokens: Tokens, by_scores: Tensor, by_v: Tensor, by_equals: Tensor, out: Weights
) -> None:
    """From the gradient by scores, values and the residual stream of "=" to that by W_Q, W_K, W_V, W_E and W_pos."""
    p = len(tokens.resid) // 2
    by_products = by_scores.T[..., None] / math.sqrt(tokens.q.shape[-1])
    by_k = by_products * tokens.q[:, None]
    by_q = (by_products * tokens.k).sum(1)
    out["W_Q"] += tokens.resid[2 * p, :, None] * by_q[:, None]
    out["W_K"] += tokens.resid.T @ by_k
    out["W_V"] += tokens.resid.T @ by_v
    by_resid = (by_k @ weights["W_K"].transpose(1, 2) + by_v @ weights["W_V"].transpose(1, 2)).sum(0)
    by_resid[2 * p] += by_equals + torch.einsum("hk,hdk->d", by_q, weights["W_Q"])
    first, second, last = by_resid.split([p, p, 1])
    out["W_E"][:p] += first + second
    out["W_E"][p:] += last
    out["W_pos"] += torch.stack([rows.sum(0) for rows in (first, second, last)])


# --- the neurons' non-linearity -----------------------------------------------------------------------------


def _activated(pre: Tensor, activation: Activation) -> Tensor:
    """The neurons; of a ReLU, which needs no more of `pre` than its sign, in its place."""
    return pre.clamp_min_(0) if activation is Activation.relu else activate(pre, activation)


def _through_activation(by_post: Tensor, pre: Tensor, activation: Activation) -> None:
    """From the gradient by the neurons to that before their non-linearity, in place."""
    if activation is Activation.relu:
        torch.ops.aten.threshold_backward.grad_input(by_post, pre, 0, grad_input=by_post)
    elif activation is Activation.gelu:
        by_post.copy_(torch.ops.aten.gelu_backward(by_post, pre))
    else:
        by_post.mul_(pre).mul_(2)
