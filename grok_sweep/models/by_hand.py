"""The gradient of the paper's transformer, forward and backward written out, some pairs at a time.

The function is `Transformer.forward`'s, its operations in the same order, and the gradient is autograd's to rounding.
Pairs are taken in chunks whose activations are still in the cache when the backward pass comes to them, in buffers
that are used again at every step: beside the matrix products there is little left to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Activation
from grok_sweep.models.network import activate, scaled
from grok_sweep.models.parameters import Weights
from grok_sweep.models.transformer import Tokens, Transformer, mixed_attention, tokens_of, unembedding

CHUNK = 2048
"""Pairs at a time, at most."""

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits and labels of some pairs -> what these add to the loss (nats), and its gradient by the logits."""


class TransformerByHand:
    """Gradients of one network, for batches of any size; holds nothing but buffers."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._buffers: dict[str, Tensor] = {}

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
        tokens = tokens_of(weights, self.network.p)
        by = _ByTokens(*(torch.zeros_like(rows) for rows in (tokens.scores, tokens.v, tokens.resid[-1])))
        n_chunks = -(-len(a) // CHUNK)
        losses = [
            self._pairs(weights, tokens, *chunk, objective, out, by)
            for chunk in zip(a.chunk(n_chunks), b.chunk(n_chunks), labels.chunk(n_chunks), strict=True)
        ]
        _through_tokens(weights, tokens, by, out)
        return torch.stack(losses).sum()

    def _pairs(
        self,
        weights: Weights,
        tokens: Tokens,
        a: Int[Tensor, " n"],
        b: Int[Tensor, " n"],
        labels: Int[Tensor, " n"],
        objective: Objective,
        out: Weights,
        by: _ByTokens,
    ) -> Float[Tensor, ""]:
        """What these pairs add to the loss; the gradient that reaches weights and tokens through them is added."""
        config, p, n = self.network.config, self.network.p, len(a)
        n_heads, d_head, d_model = weights["W_O"].shape
        W_in, W_out, W_U = weights["W_in"], weights["W_out"], unembedding(weights, self.network.d_vocab_out)
        W_O, by_W_O = (w["W_O"].view(n_heads * d_head, d_model) for w in (weights, out))
        at = (a, b + p, torch.full_like(a, 2 * p))

        # Forward. Attention first: [3, n, n_heads] weights on values of [n, n_heads, d_head] each.
        scores = torch.stack([tokens.scores.index_select(0, rows) for rows in at])
        learned = scores.softmax(0)
        pattern = mixed_attention(learned, config.attention_rate)
        values = [tokens.v.index_select(0, at[0]), tokens.v.index_select(0, at[1]), tokens.v[2 * p :]]
        z, product = (self._buffer(name, W_in, n, n_heads, d_head) for name in ("z", "product"))
        torch.mul(pattern[0, ..., None], values[0], out=z)
        for position in (1, 2):
            z += torch.mul(pattern[position, ..., None], values[position], out=product)
        z = z.view(n, n_heads * d_head)
        mid = torch.mm(z, W_O, out=self._buffer("mid", W_in, n, d_model)).add_(tokens.resid[2 * p])
        pre = torch.mm(mid, W_in, out=self._buffer("pre", W_in, n, W_in.shape[1]))
        if "b_in" in weights:
            pre += weights["b_in"]
        post = _activated(pre, config.activation)
        resid_post = torch.mm(post, W_out, out=self._buffer("resid_post", W_in, n, d_model)).add_(mid)
        if "b_out" in weights:
            resid_post += weights["b_out"]
        logits = torch.mm(resid_post, W_U, out=self._buffer("logits", W_in, n, W_U.shape[1]))
        loss, by_logits = objective(scaled(logits, config), labels)
        by_logits = scaled(by_logits, config)

        # Backward.
        if "W_U" in out:
            out["W_U"].addmm_(resid_post.T, by_logits)
        else:
            out["W_E"][: W_U.shape[1]].addmm_(by_logits.T, resid_post)
        by_resid = torch.mm(by_logits, W_U.T, out=self._buffer("by_resid", W_in, n, d_model))
        out["W_out"].addmm_(post.T, by_resid)
        by_pre = torch.mm(by_resid, W_out.T, out=self._buffer("by_pre", W_in, *pre.shape))
        _through_activation(by_pre, pre, config.activation)
        out["W_in"].addmm_(mid.T, by_pre)
        if "b_in" in out:
            out["b_in"] += by_pre.sum(0)
            out["b_out"] += by_resid.sum(0)
        by_mid = by_resid.addmm_(by_pre, W_in.T)
        by.equals += by_mid.sum(0)
        by_W_O.addmm_(z.T, by_mid)
        by_z = torch.mm(by_mid, W_O.T, out=self._buffer("by_z", W_in, n, n_heads * d_head)).view(n, n_heads, d_head)

        # Through attention: to the values, and to the scores by way of the softmax.
        by_pattern = torch.stack([torch.mul(by_z, v, out=product).sum(-1) for v in values])
        by_learned = by_pattern.mul_(config.attention_rate).mul_(learned)
        by_scores = by_learned - learned * by_learned.sum(0)
        for position in (0, 1):
            _add_rows(by.v, at[position], torch.mul(pattern[position, ..., None], by_z, out=product))
            _add_rows(by.scores, at[position], by_scores[position])
        by.v[2 * p] += torch.mul(pattern[2, ..., None], by_z, out=product).sum(0)
        by.scores[2 * p] += by_scores[2].sum(0)
        return loss

    def _buffer(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory of this shape, with what the last use left in it."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[name] = like.new_empty(size)
        return buffer[:size].view(shape)


# --- the 2p + 1 tokens at their positions -------------------------------------------------------------------


@dataclass
class _ByTokens:
    """Gradients by what the pairs read of the tokens; `equals`: by the residual stream of "=" past attention."""

    scores: Tensor
    v: Tensor
    equals: Tensor


def _through_tokens(weights: Weights, tokens: Tokens, by: _ByTokens, out: Weights) -> None:
    """From the gradient by scores, values and "=" to that by W_Q, W_K, W_V, W_E and W_pos."""
    p = len(tokens.resid) // 2
    by_products = by.scores / math.sqrt(tokens.q.shape[-1])
    by_k = by_products[..., None] * tokens.q
    by_q = torch.einsum("mh,mhk->hk", by_products, tokens.k)
    out["W_Q"] += torch.einsum("d,hk->hdk", tokens.resid[2 * p], by_q)
    out["W_K"] += torch.einsum("md,mhk->hdk", tokens.resid, by_k)
    out["W_V"] += torch.einsum("md,mhk->hdk", tokens.resid, by.v)
    by_resid = torch.einsum("mhk,hdk->md", by_k, weights["W_K"]) + torch.einsum("mhk,hdk->md", by.v, weights["W_V"])
    by_resid[2 * p] += by.equals + torch.einsum("hk,hdk->d", by_q, weights["W_Q"])
    first, second, last = by_resid.split([p, p, 1])
    out["W_E"][:p] += first + second
    out["W_E"][p:] += last
    out["W_pos"] += torch.stack([rows.sum(0) for rows in (first, second, last)])


# --- parts --------------------------------------------------------------------------------------------------


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


def _add_rows(sums: Tensor, rows: Int[Tensor, " n"], values: Tensor) -> None:
    """Add each of `values` to its row of `sums`; in a fixed order, so that a repetition has the same bits."""
    if sums.device.type == "cpu":
        sums.index_add_(0, rows, values)
    else:  # on other devices index_add_ is a race
        one_hot = torch.nn.functional.one_hot(rows, len(sums)).to(values)
        sums += (one_hot.T @ values.flatten(1)).view_as(sums)
