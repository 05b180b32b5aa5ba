"""The paper's one-layer transformer, read at "=": the same function, computed once where it repeats (folded.py).

Tokens are [a, b, "="]; only the last position reaches the loss. Nanda et al. 2023, section 3; sizes and scales from
the authors' `transformers.py`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import ModelConfig
from grok_sweep.models.folded import fold, mix, places, unembedding, writes
from grok_sweep.models.network import Activations, Dropout, Network, activate, scaled
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
        folded = fold(weights, self.p, self.d_vocab_out)
        rate = self.config.attention_rate
        mixed = mix(folded, places(a, b, self.p, self.config.n_heads), rate, 1 - rate)
        mlp_pre, past_neurons = folded.parts(mixed.of(folded.rows))
        mlp_post = activate(mlp_pre, self.config.activation)
        kept = mlp_post if dropout is None else dropout(mlp_post)
        logits = scaled(torch.addmm(past_neurons, kept, folded.W_L), self.config)
        return Activations(
            logits, mlp_pre, mlp_post, mixed.of(writes(weights, folded.tokens)), mixed.pattern.transpose(1, 2)
        )

    def forward_of_many(
        self, weights: Weights, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"]
    ) -> dict[str, Tensor]:
        """Activations of several networks at once, but for resid_mid: their axis is the first of each weight and of
        each activation."""
        n_networks, n_pairs, rate = len(weights["W_E"]), len(a), self.config.attention_rate
        network = torch.arange(n_networks, device=a.device).repeat_interleave(n_pairs)
        at = places(a.repeat(n_networks), b.repeat(n_networks), self.p, self.config.n_heads, network)
        folded = fold({name: w.contiguous() for name, w in weights.items()}, self.p, self.d_vocab_out)
        mixed = mix(folded, at, rate, 1 - rate)
        pre, past_neurons = (
            part.unflatten(0, (n_networks, n_pairs)) for part in folded.parts(mixed.of(folded.rows.flatten(0, 1)))
        )
        post = activate(pre, self.config.activation)
        logits = scaled(torch.baddbmm(past_neurons, post, folded.W_L), self.config)
        pattern = mixed.pattern.transpose(1, 2).unflatten(0, (n_networks, n_pairs))
        return {"logits": logits, "mlp_pre": pre, "mlp_post": post, "attn_pattern": pattern}

    def embedding(self, weights: Weights) -> Float[Tensor, "p d_model"] | None:
        return weights["W_E"][: self.p]

    def neuron_logit_map(self, weights: Weights) -> Float[Tensor, "d_mlp p"] | None:
        """W_L = W_out @ W_U over the p answer classes."""
        return read_out(self, weights, weights["W_out"])


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


def read_out(network: Network, weights: Weights, W_out: Tensor) -> Float[Tensor, "d_mlp p"]:
    """W_out @ W_U over the p answer classes, in float64, times config.output_scale."""
    W_U = unembedding(weights, network.d_vocab_out)[:, : network.p]
    return scaled(W_out.double() @ W_U.double(), network.config)
