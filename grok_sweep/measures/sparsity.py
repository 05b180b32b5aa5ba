"""Sparsity in the Fourier basis, and the norm of the weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import by_name, number, number_or_none, told_as


def gini(x: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Gini coefficient of n values >= 0: 0 where all are equal, (n - 1) / n where one holds all.

    sum_i (2i - n - 1) x_(i) / (n sum x), x sorted ascending, i from 1. Hurley and Rickard 2009.
    """
    n = len(x)
    ranks = 2 * torch.arange(1, n + 1, dtype=x.dtype, device=x.device) - n - 1
    return (ranks * x.sort().values).sum() / (n * x.sum())


@told_as(number_or_none)
def gini_W_E(evaluation: Evaluation) -> Tensor | None:
    """Gini of the Fourier component norms of W_E over the p numbers: the constant left out, cosine and sine apart.

    Sees weights. Nanda et al. 2023, appendix C.2; which components count is our choice (it moves the value by 1-2 %).
    """
    rows = evaluation.group_embedding
    return None if rows is None else gini(fourier.component_norms(rows)[1:])


@told_as(number_or_none)
def gini_W_L(evaluation: Evaluation) -> Tensor | None:
    """The same for the neuron-logit map W_L = W_out @ W_U, over its answer classes.

    Sees weights. Nanda et al. 2023, appendix C.2.
    """
    W_L = evaluation.group_neuron_logit_map
    return None if W_L is None else gini(fourier.component_norms(W_L.T)[1:])


@told_as(number)
def sum_sq_weights(evaluation: Evaluation) -> Tensor:
    """Sum of squares of all parameters, biases included. Sees weights. Nanda et al. 2023, figure 7."""
    return torch.stack([*sum_sq.formula(evaluation).values()]).sum()


@told_as(by_name)
def sum_sq(evaluation: Evaluation) -> dict[str, Tensor]:
    """Sum of squares of each parameter. Sees weights. Nanda et al. 2023, figure 7.

    Under weight decay balanced pairs end equal: W_K and W_Q, W_V and W_O, W_in and W_out.
    """
    return {name: w.double().square().sum() for name, w in evaluation.weights.items()}
