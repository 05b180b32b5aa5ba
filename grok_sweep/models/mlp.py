"""A network without attention: the embeddings of a and b straight into the neurons, these straight into the logits.

One embedding serves both operands, each with input weights of its own: where d_model >= p the same functions as
Chughtai et al.'s 2023 one-layer MLP, which has an embedding for each operand.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, zeros

from grok_sweep.models.network import Activations, Dropout, Network, activate, scaled, with_bias
from grok_sweep.models.parameters import Shapes, Weights, draw


class MLP(Network):
    """logits = act(W_E[a] W_in[0] + W_E[b] W_in[1] + b_in) W_U + b_U."""

    def shapes(self) -> Shapes:
        d_model, d_mlp = self.config.d_model, self.config.d_mlp
        assert d_mlp is not None, "settings are resolved before a model is built"
        shapes: Shapes = {"W_E": (self.p, d_model), "W_in": (2, d_model, d_mlp)}
        shapes |= {"b_in": (d_mlp,)} if self.config.mlp_biases else {}
        shapes |= {"W_U": (d_mlp, self.d_vocab_out)}
        return shapes | ({"b_U": (self.d_vocab_out,)} if self.config.mlp_biases else {})

    def init(self) -> Weights:
        """Gaussian; W_E / sqrt(d_model), W_in / sqrt(2 d_model), W_U / sqrt(d_mlp): their fan-in; biases 0."""
        shapes = self.shapes()
        fan_in = {"W_E": self.config.d_model, "W_in": 2 * self.config.d_model, "W_U": shapes["W_U"][0]}
        return {
            name: draw(name, shape, fan_in[name] ** -0.5, self.config.init_seed) if name in fan_in else zeros(shape)
            for name, shape in shapes.items()
        }

    def forward(
        self, weights: Weights, a: Int[Tensor, " n_pairs"], b: Int[Tensor, " n_pairs"], dropout: Dropout | None = None
    ) -> Activations:
        """What each number adds to the neurons is computed once a number, not once a pair."""
        in_a, in_b = weights["W_E"] @ weights["W_in"][0], weights["W_E"] @ weights["W_in"][1]
        mlp_pre = with_bias(in_a.index_select(0, a) + in_b.index_select(0, b), weights.get("b_in"))
        mlp_post = activate(mlp_pre, self.config.activation)
        kept = mlp_post if dropout is None else dropout(mlp_post)
        logits = with_bias(kept @ weights["W_U"], weights.get("b_U"))
        return Activations(scaled(logits, self.config), mlp_pre, mlp_post)

    def embedding(self, weights: Weights) -> Float[Tensor, "p d_model"] | None:
        return weights["W_E"]

    def neuron_logit_map(self, weights: Weights) -> Float[Tensor, "d_mlp p"] | None:
        return scaled(weights["W_U"].double(), self.config)

    def input_maps(self, weights: Weights) -> dict[str, Float[Tensor, "p d_mlp"]]:
        W_E, W_in = weights["W_E"].double(), weights["W_in"].double()
        return {"in_a": W_E @ W_in[0], "in_b": W_E @ W_in[1]}
