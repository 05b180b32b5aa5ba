"""The plain reference: networks, losses and training written out directly, and no code shared with the package.

The transformer and its training are the paper's published code: all three positions, einsum, causal softmax, p + 1
outputs, log-softmax in float64, torch.optim with a linear warm-up. Equality with it is what "the same function"
means. Sources: Nanda et al. 2023, section 3 and appendix A, and the authors' `transformers.py` and `helpers.py`;
LayerNorm before each part as in GPT-2; attention rate, Zhong et al. 2023; the quadratic network, Gromov 2023, eq. 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

ACTIVATIONS = {"relu": torch.relu, "gelu": torch.nn.functional.gelu, "square": torch.square}

Logits = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Weights and tokens [n, 3] to logits [n, d_vocab_out] at "="."""


# --- networks -----------------------------------------------------------------------------------------------


def reference_logits(
    weights: Mapping[str, Tensor],
    tokens: Tensor,
    activation: str = "relu",
    *,
    n_layers: int = 1,
    layer_norm: bool = False,
    attention_rate: float = 1.0,
    output_scale: float = 1.0,
    n_outputs: int | None = None,
    seen: list[Tensor] | None = None,
) -> Tensor:
    """Logits [n, 3, d_vocab_out] at every position; weights in the field's names and orientation.

    Biases act where there are some. `n_outputs` is asked for where W_U is absent: W_E serves in its place. `seen`
    takes each layer's neurons before their non-linearity.
    """
    w = weights
    x = w["W_E"][tokens] + w["W_pos"]
    for layer in range(n_layers):
        at = "" if n_layers == 1 else f"blocks.{layer}."
        y = normed(x, w[at + "ln1.w"], w[at + "ln1.b"]) if layer_norm else x
        q = torch.einsum("npd,hdk->nhpk", y, w[at + "W_Q"])
        k = torch.einsum("npd,hdk->nhpk", y, w[at + "W_K"])
        v = torch.einsum("npd,hdk->nhpk", y, w[at + "W_V"])
        scores = torch.einsum("nhqk,nhpk->nhqp", q, k) / w[at + "W_Q"].shape[-1] ** 0.5
        causal = torch.tril(torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool))
        pattern = scores.masked_fill(~causal, float("-inf")).softmax(-1)
        pattern = attention_rate * pattern + (1 - attention_rate) * causal.to(pattern)
        z = torch.einsum("nhqp,nhpk->nhqk", pattern, v)
        x = x + torch.einsum("nhqk,hkd->nqd", z, w[at + "W_O"])
        y = normed(x, w[at + "ln2.w"], w[at + "ln2.b"]) if layer_norm else x
        pre = torch.einsum("npd,dm->npm", y, w[at + "W_in"]) + w.get(at + "b_in", 0.0)
        if seen is not None:
            seen.append(pre)
        post = ACTIVATIONS[activation](pre)
        x = x + torch.einsum("npm,md->npd", post, w[at + "W_out"]) + w.get(at + "b_out", 0.0)
    if layer_norm:
        x = normed(x, w["ln_final.w"], w["ln_final.b"])
    W_U = w["W_U"] if "W_U" in w else w["W_E"][:n_outputs].T
    return output_scale * torch.einsum("npd,dv->npv", x, W_U)


def normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """torch.nn.LayerNorm: variance divided by n, eps 1e-5 inside the root."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def mlp_logits(
    weights: Mapping[str, Tensor], tokens: Tensor, activation: str = "relu", output_scale: float = 1.0
) -> Tensor:
    """Logits [n, p] of the network without attention: both embeddings, end to end, through one matrix."""
    w = weights
    x = torch.cat([w["W_E"][tokens[:, 0]], w["W_E"][tokens[:, 1]]], 1)
    W_in = torch.cat([w["W_in"][0], w["W_in"][1]], 0)
    post = ACTIVATIONS[activation](x @ W_in + w.get("b_in", 0.0))
    return output_scale * (post @ w["W_U"] + w.get("b_U", 0.0))


def quadratic_logits(
    weights: Mapping[str, Tensor], tokens: Tensor, activation: str = "square", output_scale: float = 1.0
) -> Tensor:
    """Logits [n, p] of Gromov's network on one-hot inputs: W2 (W1 x)^2 / (D N), D = 2p inputs, N neurons."""
    W_1 = torch.cat([weights["W_in"][0], weights["W_in"][1]], 0)
    D, N = W_1.shape
    one_hot = torch.nn.functional.one_hot
    x = torch.cat([one_hot(tokens[:, 0], D // 2), one_hot(tokens[:, 1], D // 2)], 1).to(W_1)
    return output_scale * ACTIVATIONS[activation](x @ W_1) @ weights["W_U"] / (D * N)


def transformer_at_equals(weights: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """The paper's own network, read where its loss is."""
    return reference_logits(weights, tokens)[:, -1]


# --- data and losses ----------------------------------------------------------------------------------------


def pairs_and_labels(p: int) -> tuple[Tensor, Tensor]:
    """Tokens [p², 3] in lexicographic order of (a, b), and (a + b) mod p."""
    tokens = torch.tensor([[a, b, p] for a in range(p) for b in range(p)])
    return tokens, (tokens[:, 0] + tokens[:, 1]) % p


def cross_entropy_float64(logits: Tensor, labels: Tensor) -> Tensor:
    log_probabilities = logits.to(torch.float64).log_softmax(-1)
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def mse_float64(logits: Tensor, labels: Tensor) -> Tensor:
    """torch's, averaged over pairs and outputs, against one-hot labels."""
    target = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(torch.float64)
    return torch.nn.functional.mse_loss(logits.to(torch.float64), target)


LOSSES = {"cross_entropy": cross_entropy_float64, "mse": mse_float64}


# --- training -----------------------------------------------------------------------------------------------


class ReferenceTraining:
    """Training of a copy of `weights`; `step()` makes one update and returns the loss before it.

    Args:
        optimizer: adamw, adam or sgd as torch.optim's; "sgd decoupled" shrinks the weights by lr * weight_decay
            before torch.optim.SGD, which then knows of no decay.
        matrices_only: weight decay leaves alone what has fewer than two axes.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        labels: Tensor,
        *,
        logits: Logits = transformer_at_equals,
        loss: str = "cross_entropy",
        optimizer: str = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        momentum: float = 0.0,
        warmup_steps: int = 10,
        matrices_only: bool = False,
    ) -> None:
        self.weights = {name: w.clone().requires_grad_() for name, w in weights.items()}
        self.tokens, self.labels, self.logits, self.loss = tokens, labels, logits, LOSSES[loss]
        self.decayed = [w for w in self.weights.values() if not (matrices_only and w.ndim < 2)]
        others = [w for w in self.weights.values() if matrices_only and w.ndim < 2]
        self.own_decay = weight_decay if optimizer == "sgd decoupled" else 0.0
        groups = [
            {"params": self.decayed, "weight_decay": weight_decay if not self.own_decay else 0.0},
            {"params": others, "weight_decay": 0.0},
        ]
        groups = [g for g in groups if g["params"]]
        if optimizer.startswith("sgd"):
            self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, foreach=False)
        else:
            rule = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimizer]
            self.optimizer = rule(groups, lr=lr, betas=betas, eps=eps, foreach=False)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda e: min(e / warmup_steps, 1) if warmup_steps else 1.0
        )

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimizer's running means, by name and weight."""
        states = {name: self.optimizer.state[w] for name, w in self.weights.items()}
        return {mean: {n: state[mean].clone() for n, state in states.items()} for mean in ("exp_avg", "exp_avg_sq")}

    def step(self, chosen: Tensor | None = None) -> float:
        """One update on all pairs, or on the chosen ones."""
        tokens, labels = (self.tokens, self.labels) if chosen is None else (self.tokens[chosen], self.labels[chosen])
        loss = self.loss(self.logits(self.weights, tokens), labels)
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for w in self.decayed:
                w *= 1 - self.schedule.get_last_lr()[0] * self.own_decay
        self.optimizer.step()
        self.schedule.step()
        return loss.item()
