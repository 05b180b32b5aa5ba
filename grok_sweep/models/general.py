"""The transformer in general, read at "=": any number of layers, LayerNorm or none, every position where it counts.

In the last layer only "=" is computed: nothing else reaches the loss. With one layer and no LayerNorm it is the
function of transformer.py, written out.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grok_sweep.config import Norm
from grok_sweep.models.folded import mixed_attention, unembedding
from grok_sweep.models.network import Activations, Dropout, Network, activate, scaled, with_bias
from grok_sweep.models.parameters import Shapes, Weights
from grok_sweep.models.transformer import N_CTX, initial, read_out

LAYER_NORM_EPS = 1e-5


class GeneralTransformer(Network):
    """n_layers blocks of causal attention and MLP on a residual stream, each after a LayerNorm where there is one.

    Parameters of one layer bear the field's bare names (W_Q); those of several "blocks.0.W_Q", and so on.
    """

    def _prefix(self, layer: int) -> str:
        return "" if self.config.n_layers == 1 else f"blocks.{layer}."

    def shapes(self) -> Shapes:
        """In the order of computation; a LayerNorm has weight w and bias b; W_U only where it is not W_E."""
        config, d_vocab = self.config, self.p + 1
        d_model, n_heads, d_head, d_mlp = config.d_model, config.n_heads, config.d_head, config.d_mlp
        assert d_head is not None, "settings are resolved before a model is built"
        assert d_mlp is not None, "settings are resolved before a model is built"
        has_norm = config.norm is Norm.layer
        shapes: Shapes = {"W_E": (d_vocab, d_model), "W_pos": (N_CTX, d_model)}
        for layer in range(config.n_layers):
            prefix = self._prefix(layer)
            block: Shapes = {"ln1.w": (d_model,), "ln1.b": (d_model,)} if has_norm else {}
            block |= dict.fromkeys(("W_Q", "W_K", "W_V"), (n_heads, d_model, d_head))
            block |= {"W_O": (n_heads, d_head, d_model)}
            block |= {"ln2.w": (d_model,), "ln2.b": (d_model,)} if has_norm else {}
            block |= {"W_in": (d_model, d_mlp)} | ({"b_in": (d_mlp,)} if config.mlp_biases else {})
            block |= {"W_out": (d_mlp, d_model)} | ({"b_out": (d_model,)} if config.mlp_biases else {})
            shapes |= {prefix + name: shape for name, shape in block.items()}
        shapes |= {"ln_final.w": (d_model,), "ln_final.b": (d_model,)} if has_norm else {}
        return shapes | ({} if config.tied else {"W_U": (d_model, self.d_vocab_out)})

    def init(self) -> Weights:
        """As the one-layer transformer's; LayerNorms start as w = 1, b = 0."""
        return {name: self._initial(name, shape) for name, shape in self.shapes().items()}

    def _initial(self, name: str, shape: tuple[int, ...]) -> Tensor:
        kind = name.rpartition(".")[2]
        if kind in ("w", "b"):
            return torch.full(shape, 1.0 if kind == "w" else 0.0)
        return initial(name, shape, self.config, self.p)

    def forward(
        self, weights: Weights, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"], dropout: Dropout | None = None
    ) -> Activations:
        """Activations of earlier layers stand in `others`, at every position."""
        tokens = torch.stack([a, b, torch.full_like(a, self.p)], 1)
        # index_select: the backward of indexing adds in another order at each run.
        embedded = weights["W_E"].index_select(0, tokens.reshape(-1)).view(*tokens.shape, -1)
        x = embedded + weights["W_pos"]
        others: dict[str, Tensor] = {}
        for layer in range(self.config.n_layers - 1):
            x, pattern, mid, pre, post = self._block(weights, x, layer, dropout, x)
            name = f"blocks.{layer}."
            others |= {f"{name}attn_pattern": pattern, f"{name}resid_mid": mid}
            others |= {f"{name}mlp_pre": pre, f"{name}mlp_post": post, f"{name}resid_post": x}
        x, pattern, mid, pre, post = self._block(weights, x, self.config.n_layers - 1, dropout, x[:, -1:])
        final = self._norm(weights, "ln_final", x[:, 0])
        logits = scaled(final @ unembedding(weights, self.d_vocab_out), self.config)
        return Activations(logits, pre[:, 0], post[:, 0], mid[:, 0], pattern[:, :, 0], others)

    def _block(
        self, weights: Weights, x: Tensor, layer: int, dropout: Dropout | None, queried: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One layer on the residual stream x [n_pairs, 3, d_model], at the queried positions (all, or the last).

        Returns the stream after it, attn_pattern [n_pairs, n_heads, n_queried, 3], resid_mid, mlp_pre, mlp_post.
        """
        prefix, n_heads = self._prefix(layer), self.config.n_heads
        normed = self._norm(weights, prefix + "ln1", x)
        n_queried = queried.shape[1]
        q, k, v = (
            torch.einsum("npd,hdk->nhpk", normed[:, -n_queried:] if name == "W_Q" else normed, weights[prefix + name])
            for name in ("W_Q", "W_K", "W_V")
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        allowed = torch.ones(N_CTX, N_CTX, dtype=torch.bool, device=x.device).tril()[-n_queried:]
        pattern = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        rate = self.config.attention_rate
        pattern = mixed_attention(pattern, rate, 1 - rate) * allowed
        z = (pattern @ v).transpose(1, 2).reshape(len(x), n_queried, -1)
        mid = queried + z @ weights[prefix + "W_O"].reshape(n_heads * q.shape[-1], -1)
        normed_mid = self._norm(weights, prefix + "ln2", mid)
        pre = with_bias(normed_mid @ weights[prefix + "W_in"], weights.get(prefix + "b_in"))
        post = activate(pre, self.config.activation)
        kept = post if dropout is None else dropout(post)
        out = with_bias(mid + kept @ weights[prefix + "W_out"], weights.get(prefix + "b_out"))
        return out, pattern, mid, pre, post

    def _norm(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        if self.config.norm is Norm.none:
            return x
        return torch.nn.functional.layer_norm(
            x, x.shape[-1:], weights[name + ".w"], weights[name + ".b"], LAYER_NORM_EPS
        )

    def embedding(self, weights: Weights) -> Float[Tensor, "p d_model"] | None:
        return weights["W_E"][: self.p]

    def neuron_logit_map(self, weights: Weights) -> Float[Tensor, "d_mlp p"] | None:
        """W_out @ W_U of the last layer; None with LayerNorm, whose factor differs from pair to pair."""
        if self.config.norm is Norm.layer:
            return None
        return read_out(self, weights, weights[self._prefix(self.config.n_layers - 1) + "W_out"])
