"""How many directions the embedding uses."""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import number_or_none, told_as, where_defined


@told_as(number_or_none)
def spectral_entropy_W_E(evaluation: Evaluation) -> Tensor | None:
    """Entropy (nats) of the singular values of W_E over the p numbers, divided by their sum.

    -sum of s log s over s_i = sigma_i / sum sigma: the singular values themselves, not their squares, of rows that
    are not centred. Sees weights. Roy and Vetterli 2007; DeMoss et al. 2024 for all weights of a network. Liu et al.
    2022 take the spectrum of a principal component analysis. None where W_E is zero.
    """
    rows = evaluation.network.embedding(evaluation.weights)
    if rows is None:
        return None
    # On the CPU: a small matrix, and the same digits everywhere. An infinite one has no decomposition.
    rows, here = rows.double().cpu(), rows.device
    is_finite = rows.isfinite().all()
    sigma = torch.linalg.svdvals(torch.where(is_finite, rows, 0.0))
    s = sigma / sigma.sum()
    return where_defined(sigma.sum() > 0, -torch.xlogy(s, s).sum()).to(here)


@told_as(number_or_none)
def effective_rank_W_E(evaluation: Evaluation) -> Tensor | None:
    """exp of spectral_entropy_W_E: the number of equal singular values that have its entropy.

    At most min(p, d_model); 2 for an embedding of one frequency. Sees weights. Roy and Vetterli 2007. None where W_E
    is zero.
    """
    entropy = spectral_entropy_W_E.formula(evaluation)
    return None if entropy is None else entropy.exp()
