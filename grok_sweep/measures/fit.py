"""The logits against the paper's form, sum over k of alpha_k cos w_k(a+b-c), and W_L against its few directions.

For distinct k the directions cos w_k(a+b-c) are orthogonal in the p³ logits, so each coefficient is an inner
product of its own.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.measures.evaluation import Evaluation


def cos_coefficients(evaluation: Evaluation) -> Float[Tensor, " n_freqs"]:
    """Inner product of the logits with the unit vector along cos w_k(a+b-c), for k = 1..n//2.

    cos w(s - c) = cos ws cos wc + sin ws sin wc: the sum coefficients, read along the class axis too.
    Nanda et al. 2023, `get_cos_coeffs` of the authors' notebook.
    """
    n = evaluation.group.n
    by_answer = evaluation.sum_coefficients[:, evaluation.answer_of_sum]
    per_row = (by_answer * fourier.basis(n).to(by_answer.device)).sum(1)
    frequency = fourier.row_frequency(n).to(per_row.device)
    rows_of_k = frequency.bincount(minlength=n // 2 + 1)
    totals = torch.zeros(n // 2 + 1, dtype=per_row.dtype, device=per_row.device)
    return (totals.index_add_(0, frequency, per_row) / rows_of_k.double().sqrt())[1:]


def cos_sim_k(evaluation: Evaluation) -> list[float]:
    """Cosine similarity of the logits with cos w_k(a+b-c), for k = 1..n//2; squares over K sum to the uncentred FVE.

    Sees test inputs. Nanda et al. 2023, `get_cos_sim` of the authors' notebook.
    """
    return (cos_coefficients(evaluation) / evaluation.group_logits.norm()).tolist()


def fve_logits(evaluation: Evaluation, key_freqs: list[int] | None = None) -> float | None:
    """Fraction of the logits' variance that cos w_k(a+b-c), k in K, explain: 1 - RSS / TSS of the least-squares fit.

    Sees test inputs, and through K train pairs. Nanda et al. 2023, sections 4.1 and 4.2. None where there are no
    key frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    key_freqs = key_freqs or evaluation.key_freqs.freqs
    if key_freqs is None:
        return None
    explained = cos_coefficients(evaluation)[_indices(key_freqs)].square().sum()
    logits = evaluation.group_logits
    return float(explained / (logits.var(correction=0) * logits.numel()))


def alphas(evaluation: Evaluation, key_freqs: list[int]) -> list[float]:
    """Least-squares alpha_k of the logits on cos w_k(a+b-c): their amplitudes, in nats."""
    n = evaluation.group.n
    norms = [math.sqrt(n**3 / (1 if 2 * k == n else 2)) for k in key_freqs]
    return [float(v) / norm for v, norm in zip(cos_coefficients(evaluation)[_indices(key_freqs)], norms, strict=True)]


def fit_loss(evaluation: Evaluation, key_freqs: list[int] | None = None) -> float | None:
    """Loss (nats) of the least-squares fit in the place of the logits, the same on every pair.

    Sees test inputs, and through K train pairs. Nanda et al. 2023, section 4.4. None where there are no key
    frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    key_freqs = key_freqs or evaluation.key_freqs.freqs
    if key_freqs is None:
        return None
    n = evaluation.group.n
    difference = torch.arange(1, n, dtype=torch.float64)
    angles = 2 * math.pi / n * torch.tensor(key_freqs, dtype=torch.float64)[:, None] * difference
    wrong = torch.tensor(alphas(evaluation, key_freqs), dtype=torch.float64) @ (angles.cos() - 1)
    return float(torch.logaddexp(wrong.logsumexp(0), torch.zeros((), dtype=torch.float64)))


def W_L_residual(evaluation: Evaluation, key_freqs: list[int] | None = None) -> float | None:
    """Share of the squared norm of W_L that lies outside the directions cos w_k, sin w_k, k in K, of its answer axis.

    Squared: so the paper's "under 0.55 %" fits (its equation 2). Sees weights, and through K train pairs and test
    inputs. Nanda et al. 2023, section 4.2. None where there are no key frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    key_freqs = key_freqs or evaluation.key_freqs.freqs
    if key_freqs is None:
        return None
    W_L = evaluation.group_neuron_logit_map
    if W_L is None:
        return None
    n = evaluation.group.n
    energy = fourier.component_norms(W_L.T).square()
    is_key = torch.isin(fourier.row_frequency(n), torch.tensor(key_freqs)).to(energy.device)
    return float(energy[~is_key].sum() / energy.sum())


def _indices(key_freqs: list[int]) -> Tensor:
    return torch.tensor(key_freqs) - 1
