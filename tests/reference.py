"""The plain reference: the network and training of the paper's published code, written out directly.

All three positions, einsum, causal softmax, p + 1 outputs, log-softmax in float64, torch.optim.AdamW with a
linear warm-up. It shares no code with the package: equality with it is what "the same function" means.
Sources: Nanda et al. 2023, section 3 and appendix A; the authors' `transformers.py` and `helpers.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference_logits(weights: dict[str, Tensor], tokens: Tensor, activation: str = "relu") -> Tensor:
    """Logits [n, 3, d_vocab_out] at every position; weights in the field's names and orientation."""
    x = weights["W_E"][tokens] + weights["W_pos"]
    q = torch.einsum("npd,hdk->nhpk", x, weights["W_Q"])
    k = torch.einsum("npd,hdk->nhpk", x, weights["W_K"])
    v = torch.einsum("npd,hdk->nhpk", x, weights["W_V"])
    scores = torch.einsum("nhqk,nhpk->nhqp", q, k) / weights["W_Q"].shape[-1] ** 0.5
    causal = torch.tril(torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool))
    pattern = scores.masked_fill(~causal, float("-inf")).softmax(-1)
    z = torch.einsum("nhqp,nhpk->nhqk", pattern, v)
    x = x + torch.einsum("nhqk,hkd->nqd", z, weights["W_O"])
    pre = torch.einsum("npd,dm->npm", x, weights["W_in"]) + weights["b_in"]
    post = {"relu": torch.relu, "gelu": torch.nn.functional.gelu, "square": torch.square}[activation](pre)
    x = x + torch.einsum("npm,md->npd", post, weights["W_out"]) + weights["b_out"]
    return torch.einsum("npd,dv->npv", x, weights["W_U"])


def cross_entropy_float64(logits: Tensor, labels: Tensor) -> Tensor:
    log_probabilities = logits.to(torch.float64).log_softmax(-1)
    return -log_probabilities[torch.arange(len(labels)), labels].mean()


def pairs_and_labels(p: int) -> tuple[Tensor, Tensor]:
    """Tokens [p², 3] in lexicographic order of (a, b), and (a + b) mod p."""
    tokens = torch.tensor([[a, b, p] for a in range(p) for b in range(p)])
    return tokens, (tokens[:, 0] + tokens[:, 1]) % p


class ReferenceTraining:
    """Full-batch training of a copy of `weights`; `step()` makes one update and returns the loss before it."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        tokens: Tensor,
        labels: Tensor,
        *,
        lr: float = 1e-3,
        weight_decay: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        warmup_steps: int = 10,
        activation: str = "relu",
        matrices_only: bool = False,
    ) -> None:
        self.weights = {name: w.clone().requires_grad_() for name, w in weights.items()}
        self.tokens, self.labels, self.activation = tokens, labels, activation
        decayed = [w for name, w in self.weights.items() if not (matrices_only and w.ndim < 2)]
        others = [w for name, w in self.weights.items() if matrices_only and w.ndim < 2]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False,
        )  # fmt: skip
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda e: min(e / warmup_steps, 1) if warmup_steps else 1.0
        )

    def step(self) -> float:
        logits = reference_logits(self.weights, self.tokens, self.activation)[:, -1]
        loss = cross_entropy_float64(logits, self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item()
