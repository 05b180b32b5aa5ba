"""The gradient of the paper's transformer, forward and backward written out over its folded weights (folded.py).

The function is `Transformer.forward`'s, its operations in the same order, and the gradient is autograd's to
rounding. Going back, a pair adds to the gradient of each table row its weight there times one vector. Pairs are
taken operand by operand, so that these sums, and the products that give the gradient by those weights, are small
matrix products.

Networks of one shape go through it together, as members along the first axis of each weight, and each comes to the
gradient that it has alone; on a CPU to the same bits, but where a member's matrices begin amid a line of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Activation, ModelConfig
from grok_sweep.models.folded import Folded, Mix, Tokens, by_vector, fold, mix
from grok_sweep.models.network import activate
from grok_sweep.models.pairs import Chunk, Pairs, lay
from grok_sweep.models.parameters import Weights
from grok_sweep.models.transformer import Transformer

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits and labels of some pairs -> what these add to the loss (nats), and its gradient by the logits."""
Objectives = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""The same of the pairs at these places, whosever they are."""


@dataclass(frozen=True)
class Scales:
    """What the logits and attention are multiplied by, and what is added to attention: numbers, or a column with one
    for each place."""

    output: float | Tensor
    attention: float | Tensor
    constant: float | Tensor

    def scaled(self, logits: Tensor, places: slice) -> Tensor:
        if isinstance(self.output, Tensor):
            return logits * self.output[places]
        return logits if self.output == 1 else logits * self.output


class TransformerByHand:
    """Gradients of networks of one shape, for batches of any size; holds nothing but buffers."""

    def __init__(self, network: Transformer) -> None:
        self.network = network
        self._scales = scales_of([network.config])
        self._buffers: dict[str, Tensor] = {}
        self._laid: tuple[Tensor, Tensor, Pairs] | None = None

    def gradient(
        self,
        weights: Weights,
        out: Weights,
        a: Int[Tensor, " n_pairs"],
        b: Int[Tensor, " n_pairs"],
        labels: Int[Tensor, " n_pairs"],
        objective: Objective,
    ) -> Float[Tensor, ""]:
        """The loss of one network on the pairs (a, b); its gradient by every parameter is added to `out`.

        Args:
            weights, out: of this one member, which is their first axis.
        """
        if (
            self._laid is None or self._laid[0] is not a or self._laid[1] is not b
        ):  # once for a batch that comes again
            self._laid = (a, b, lay([(a, b)], self.network.p, self.network.config.n_heads))

        def objectives(logits: Tensor, places: slice) -> tuple[Tensor, Tensor]:
            return objective(logits, labels[places])

        of_chunks = self.gradients(weights, out, self._laid[2], self._scales, objectives)
        return torch.stack(of_chunks).sum()

    @torch.inference_mode()  # autograd's bookkeeping takes a tenth of a tiny network's step, for nothing
    def gradients(
        self, weights: Weights, out: Weights, pairs: Pairs, scales: Scales, objectives: Objectives
    ) -> list[Tensor]:
        """The losses, chunk by chunk; the gradient by every parameter of every member is added to `out`.

        Args:
            weights: each with the members as its first axis, contiguous.
            out: views will do.
        """
        folded = fold(weights, self.network.p, self.network.d_vocab_out)
        mixed = mix(folded, pairs.places, scales.attention, scales.constant)
        by_summed = self._buffer("by_summed", folded.rows, pairs.n_places, folded.rows.shape[-1])
        by_summed[:, sum(folded.W_L.shape[1:]) :] = 0
        by_W_L = torch.zeros_like(folded.W_L.mT).mT
        losses = [self._some(folded, mixed, scales, objectives, chunk, by_summed, by_W_L) for chunk in pairs.chunks]
        by_rows, by_scores = self._through_mix(folded, mixed, scales, by_summed, pairs)
        _through_fold(weights, folded, by_rows, by_W_L, by_scores, out)
        return losses

    def _some(
        self,
        folded: Folded,
        mixed: Mix,
        scales: Scales,
        objectives: Objectives,
        chunk: Chunk,
        by_summed: Float[Tensor, "n_places width"],
        by_W_L: Float[Tensor, "n_members d_mlp d_vocab_out"],
    ) -> Tensor:
        """The losses at these places. Writes the gradient by what each of them sums; adds that by W_L."""
        activation = self.network.config.activation
        pre, past_neurons = folded.parts(mixed.of(folded.rows.flatten(0, 1), chunk.places))
        post = _activated(pre, activation)
        logits = self._buffer("logits", pre, *past_neurons.shape)
        for block in chunk.blocks:
            W_L = folded.W_L[block.members]
            torch.baddbmm(block.of(past_neurons), block.of(post), W_L, out=block.of(logits))
        losses, by_logits = objectives(scales.scaled(logits, chunk.places), chunk.places)
        by_pre, by_past = folded.parts(by_summed[chunk.places])
        by_past.copy_(scales.scaled(by_logits, chunk.places))
        for block in chunk.blocks:
            torch.bmm(block.of(by_past), folded.W_L[block.members].mT, out=block.of(by_pre))
        _through_activation(by_pre, pre, activation)
        for block in chunk.blocks:
            by_W_L[block.members].mT.baddbmm_(block.of(by_past).mT, block.of(post))
        return losses

    def _through_mix(
        self, folded: Folded, mixed: Mix, scales: Scales, by_summed: Tensor, pairs: Pairs
    ) -> tuple[Float[Tensor, "n_members n_rows width"], Float[Tensor, "n_members n_tokens n_heads"]]:
        """From the gradient by what each pair sums to that by the table's rows and by the tokens' scores."""
        p, n_heads, width = self.network.p, mixed.pattern.shape[2], by_summed.shape[1]
        by_rows, by_pattern = torch.empty_like(folded.rows), torch.empty_like(mixed.pattern)
        of_tokens, by_tokens = (
            t[:, :-1].unflatten(1, (n_heads, 2 * p + 1)).transpose(1, 2) for t in (folded.rows, by_rows)
        )
        for position, of_operands in enumerate(pairs.operands):
            numbers = slice(position * p, (position + 1) * p)
            weights = mixed.pattern[:, position]
            if position == 0:  # "=" is in every pair: the lists of the first operand take its rows along
                weights = torch.cat([weights, mixed.weights[:, 2 * n_heads :]], 1)
            by_pairs = of_operands.taken(by_summed, self._buffer("by_pairs", by_summed, of_operands.size, width))
            by_these = torch.bmm(of_operands.masked(weights).mT, by_pairs).unflatten(0, (-1, p))
            by_tokens[:, numbers] = by_these[:, :, :n_heads]
            if position == 0:
                by_tokens[:, 2 * p], by_rows[:, -1:] = by_these[:, :, n_heads:].sum(1).split([n_heads, 1], 1)
            by_weights = torch.bmm(by_pairs, of_tokens[:, numbers].flatten(0, 1).mT)
            by_pattern[:, position] = of_operands.put_back(by_weights)
        for chunk in pairs.chunks:
            by_here, summed_here = by_pattern[chunk.places], by_summed[chunk.places]
            for block in chunk.blocks:
                by_weights = torch.bmm(block.of(summed_here), of_tokens[block.members, 2 * p].mT)
                by_here[block.pairs, 2] = by_weights.flatten(0, 1)

        rate = scales.attention[..., None] if isinstance(scales.attention, Tensor) else scales.attention
        by_learned = by_pattern.mul_(rate).mul_(mixed.learned)
        by_scores = by_learned - mixed.learned * by_learned.sum(1, keepdim=True)
        return by_rows, _by_tokens(by_scores, pairs, p)

    def _buffer(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory of this shape, with what the last use left in it."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[name] = like.new_zeros(size)
        return buffer[:size].view(shape)


def scales_of(configs: Sequence[ModelConfig], column: Callable[[list[float]], Tensor] | None = None) -> Scales:
    """Those of one network, or of several.

    Args:
        column: a value for each network as one for each place; for values that differ.
    """
    rates = [config.attention_rate for config in configs]
    outputs, constants = [config.output_scale for config in configs], [1 - rate for rate in rates]
    return Scales(*(v[0] if column is None or len(set(v)) == 1 else column(v) for v in (outputs, rates, constants)))


def _by_tokens(
    by_scores: Float[Tensor, "n_places 3 n_heads"], pairs: Pairs, p: int
) -> Float[Tensor, "n_members n_tokens n_heads"]:
    """The sum of the gradient by scores over the pairs that attend to each token.

    A sum over a list has other bits where the list is filled up with more zeros: each member's own.
    """
    listed = [o.masked(by_scores[:, i]).unflatten(0, (-1, p)) for i, o in enumerate(pairs.operands)]
    if pairs.is_even:
        return torch.cat([*(o.sum(2) for o in listed), pairs.summed(by_scores[:, 2])[:, None]], 1)
    return torch.stack(
        [
            torch.cat(
                [
                    *(o[member, :, : longest[position]].sum(1) for position, o in enumerate(listed)),
                    by_scores[of_member, 2].sum(0, keepdim=True),
                ]
            )
            for member, (of_member, longest) in enumerate(zip(pairs.of_members, pairs.longest, strict=True))
        ]
    )


# --- through the folded weights -----------------------------------------------------------------------------


def _through_fold(
    weights: Weights, folded: Folded, by_rows: Tensor, by_W_L: Tensor, by_scores: Tensor, out: Weights
) -> None:
    """From the gradient by the table's rows, W_L and the tokens' scores to that by every parameter."""
    tokens, W_out = folded.tokens, weights["W_out"]
    n_heads, n_tokens = tokens.v.shape[-3:-1]
    by_table = by_rows[..., :-1, :].unflatten(-2, (n_heads, n_tokens))
    by_alone, equals = by_rows[..., -1:, :], tokens.resid[..., -1:, :]
    by_heads = (tokens.v.mT @ by_table).flatten(-3, -2)
    W_O, by_W_O = (w["W_O"].flatten(-3, -2) for w in (weights, out))
    by_W_O += by_heads @ folded.reads.mT
    by_W_in, by_W_U = folded.parts(torch.baddbmm(equals.mT * by_alone, W_O.mT, by_heads))
    by_W_U = by_W_U + W_out.mT @ by_W_L
    out["W_out"] += by_W_L @ folded.W_U.mT
    out["W_in"] += by_W_in
    if "b_in" in out:
        by_b_in, by_past = folded.parts(by_alone)
        out["b_in"] += by_b_in[..., 0, :]
        out["b_out"] += by_vector(folded.W_U, by_past.mT)[..., 0]
        by_W_U += weights["b_out"][..., None] * by_past
    if "W_U" in out:
        out["W_U"] += by_W_U
    else:
        out["W_E"][..., : by_W_U.shape[-1], :] += by_W_U.mT
    by_v = by_table @ folded.heads.mT
    _through_tokens(weights, tokens, by_scores, by_v, by_vector(folded.reads, by_alone.mT)[..., 0], out)


def _through_tokens(
    weights: Weights, tokens: Tokens, by_scores: Tensor, by_v: Tensor, by_equals: Tensor, out: Weights
) -> None:
    """From the gradient by scores, values and the residual stream of "=" to that by W_Q, W_K, W_V, W_E and W_pos."""
    p, resid = tokens.resid.shape[-2] // 2, tokens.resid[..., None, :, :]
    by_products = by_scores.mT[..., None] / math.sqrt(tokens.q.shape[-1])
    by_k = by_products * tokens.q[..., None, :]
    by_q = (by_products * tokens.k).sum(-2)
    out["W_Q"] += resid[..., 2 * p, :, None] * by_q[..., None, :]
    out["W_K"] += resid.mT @ by_k
    out["W_V"] += resid.mT @ by_v
    by_resid = (by_k @ weights["W_K"].mT + by_v @ weights["W_V"].mT).sum(-3)
    by_heads, W_Q = by_q.flatten(-2)[..., None, :], weights["W_Q"].mT.flatten(-3, -2)
    by_resid[..., 2 * p, :] += by_equals + by_vector(by_heads, W_Q)[..., 0, :]
    first, second, last = by_resid.split([p, p, 1], -2)
    out["W_E"][..., :p, :] += first + second
    out["W_E"][..., p:, :] += last
    out["W_pos"] += torch.stack([rows.sum(-2) for rows in (first, second, last)], -2)


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
