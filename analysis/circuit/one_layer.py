"""A one-layer transformer in parts that can be exchanged: attention, heads, the skips, the neurons. Pure.

At "=": each head h adds sum over t of pattern[t] x_t W_V[h] W_O[h] to the residual stream; the neurons read that and
add mlp_post W_out + b_out; W_U reads the sum. Nanda et al. 2023, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.circuit.subject import Subject
from grok_sweep.models import build
from grok_sweep.models.folded import Tokens, mixed_attention, tokens_of, unembedding
from grok_sweep.models.network import activate, scaled, with_bias

Pattern = Float[Tensor, "n_pairs n_heads 3"]
Stream = Float[Tensor, "n_pairs d_model"]


@dataclass(frozen=True)
class OneLayer:
    """The parts of the subject's network.

    Attributes:
        tokens: what stands at each position, multiplied out.
        written: what a head adds to the stream at "=" per unit of attention to each token.
    """

    subject: Subject
    tokens: Tokens
    written: Float[Tensor, "n_heads n_tokens d_model"]

    @property
    def pattern(self) -> Pattern:
        """Attention as the network has it."""
        found = self.subject.evaluation.activations.attn_pattern
        assert found is not None, "a transformer has attention"
        return found

    @property
    def mlp_post(self) -> Float[Tensor, "n_pairs d_mlp"]:
        found = self.subject.evaluation.activations.mlp_post
        assert found is not None, "a transformer has neurons"
        return found

    @property
    def resid_mid(self) -> Stream:
        found = self.subject.evaluation.activations.resid_mid
        assert found is not None, "a transformer has a residual stream"
        return found

    @property
    def resid_pre(self) -> Float[Tensor, " d_model"]:
        """The stream at "=" before attention: the same for every pair."""
        return self.tokens.resid[-1]

    def score_difference(self) -> Float[Tensor, "n_pairs n_heads"]:
        """Score of "=" for a minus that for b, before the softmax."""
        task, p = self.subject.task, self.subject.task.p
        return self.tokens.scores[task.a] - self.tokens.scores[p + task.b]

    @cached_property
    def at(self) -> Int[Tensor, "n_pairs 3"]:
        """The token of each position, as `tokens` numbers them: a, b, "="."""
        task, p = self.subject.task, self.subject.task.p
        return torch.stack([task.a, p + task.b, torch.full_like(task.a, 2 * p)], 1)

    @cached_property
    def heads(self) -> Float[Tensor, "n_heads n_pairs d_model"]:
        """What each head adds to the stream at "="."""
        return torch.stack([self._added(self.pattern[:, [h]], self.written[[h]]) for h in range(len(self.written))])

    def stream(self, pattern: Pattern) -> Stream:
        """resid_mid with this attention in place of the network's own."""
        return self.resid_pre + self._added(pattern, self.written)

    def stream_learning(self, learned: Pattern) -> Stream:
        """resid_mid with this attention in place of the learned one, mixed as the network mixes its own."""
        rate = self.subject.network.config.attention_rate
        return self.stream(mixed_attention(learned, rate, 1 - rate))

    def _added(self, pattern: Pattern, written: Float[Tensor, "n_heads n_tokens d_model"]) -> Stream:
        """Sum over heads and tokens of pattern times written, as one weighted sum of rows a pair."""
        n_heads, n_tokens, d_model = written.shape
        rows = (self.at[:, None, :] + n_tokens * torch.arange(n_heads)[:, None]).flatten(1)
        return torch.nn.functional.embedding_bag(
            rows, written.reshape(-1, d_model), mode="sum", per_sample_weights=pattern.flatten(1)
        )

    def neurons(self, resid_mid: Stream) -> Float[Tensor, "n_pairs d_mlp"]:
        """mlp_post of a residual stream."""
        weights = self.subject.weights
        pre = with_bias(resid_mid @ weights["W_in"], weights.get("b_in"))
        return activate(pre, self.subject.network.config.activation)

    @cached_property
    def W_U(self) -> Float[Tensor, "d_model p"]:
        """Over the p answers, times the network's output_scale."""
        network = self.subject.network
        return scaled(unembedding(self.subject.weights, network.d_vocab_out)[:, : network.p], network.config)

    @cached_property
    def W_L(self) -> Float[Tensor, "d_mlp p"]:
        """W_out W_U: what each neuron adds to each answer."""
        return self.subject.weights["W_out"] @ self.W_U

    @cached_property
    def from_neurons(self) -> Float[Tensor, "n_pairs p"]:
        """What the neurons add to the logits."""
        return self.mlp_post @ self.W_L

    @cached_property
    def from_skip(self) -> Float[Tensor, "n_pairs p"]:
        """What reaches the logits past the neurons, b_out included."""
        return self.past(self.resid_mid)

    def past(self, skip: Float[Tensor, "*n_pairs d_model"]) -> Float[Tensor, "*n_pairs p"]:
        """Logits of a stream that no neuron reads, b_out included."""
        return with_bias(skip, self.subject.weights.get("b_out")) @ self.W_U

    def of_stream(self, resid_mid: Stream) -> Float[Tensor, "n_pairs p"]:
        """Logits of a residual stream, which the neurons and the skip both read."""
        return torch.addmm(self.past(resid_mid), self.neurons(resid_mid), self.W_L)


def one_layer(subject: Subject) -> OneLayer | None:
    """None for any other network: several layers, LayerNorm, no transformer."""
    if not build.is_folded(subject.network.config):
        return None
    tokens = tokens_of(subject.weights, subject.task.p)
    return OneLayer(subject, tokens, torch.matmul(tokens.v, subject.weights["W_O"]))
