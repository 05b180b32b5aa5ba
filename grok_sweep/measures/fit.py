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
from grok_sweep.measures.blocks import by_frequency
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import number_or_none, numbers, told_as, where_defined


def cos_coefficients(evaluation: Evaluation) -> Float[Tensor, " n_freqs"]:
    """Inner product of the logits with the unit vector along cos w_k(a+b-c), for k = 1..n//2.

    cos w(s - c) = cos ws cos wc + sin ws sin wc: the sum coefficients, read along the class axis too.
    Nanda et al. 2023, `get_cos_coeffs` of the authors' notebook.
    """
    by_answer = evaluation.sum_coefficients[:, evaluation.answer_of_sum]
    per_row = (by_answer * fourier.basis(evaluation.group.n, by_answer.device)).sum(1)
    rows_of_k = by_frequency(torch.ones_like(per_row[:, None]))
    return (by_frequency(per_row[:, None]) / rows_of_k.sqrt())[1:, 0]


@told_as(numbers)
def cos_sim_k(evaluation: Evaluation) -> Tensor:
    """Cosine similarity of the logits with cos w_k(a+b-c), for k = 1..n//2; squares over K sum to the uncentred FVE.

    Sees test inputs. Nanda et al. 2023, `get_cos_sim` of the authors' notebook.
    """
    return cos_coefficients(evaluation) / evaluation.group_logits.norm()


@told_as(number_or_none)
def fve_logits(evaluation: Evaluation, key_freqs: list[int] | None = None) -> Tensor:
    """Fraction of the logits' variance that cos w_k(a+b-c), k in K, explain: 1 - RSS / TSS of the least-squares fit.

    Sees test inputs, and through K train pairs. Nanda et al. 2023, sections 4.1 and 4.2. None where there are no
    key frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    is_key, logits = evaluation.chosen(key_freqs), evaluation.group_logits
    explained = torch.where(is_key, cos_coefficients(evaluation).square(), 0.0).sum()
    return where_defined(is_key.any(), explained / (logits.var(correction=0) * logits.numel()))


def alphas(evaluation: Evaluation, key_freqs: list[int]) -> list[float]:
    """Least-squares alpha_k of the logits on cos w_k(a+b-c): their amplitudes, in nats."""
    of_k = _alphas(evaluation).tolist()
    return [of_k[k - 1] for k in key_freqs]


def _alphas(evaluation: Evaluation) -> Float[Tensor, " n_freqs"]:
    """For every k."""
    n, coefficients = evaluation.group.n, cos_coefficients(evaluation)
    norms = [math.sqrt(n**3 / (1 if 2 * k == n else 2)) for k in range(1, n // 2 + 1)]
    return coefficients / torch.tensor(norms, dtype=torch.float64, device=coefficients.device)


@told_as(number_or_none)
def fit_loss(evaluation: Evaluation, key_freqs: list[int] | None = None) -> Tensor:
    """Loss (nats) of the least-squares fit in the place of the logits, the same on every pair.

    Sees test inputs, and through K train pairs. Nanda et al. 2023, section 4.4. None where there are no key
    frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    is_key = evaluation.chosen(key_freqs)
    waves = fourier.basis(evaluation.group.n, is_key.device)[1::2]
    falls = (waves / waves[:, :1])[:, 1:] - 1  # cos w_k x - 1
    wrong = torch.where(is_key, _alphas(evaluation), 0.0) @ falls
    loss = wrong.logsumexp(0)
    return where_defined(is_key.any(), torch.logaddexp(loss, torch.zeros_like(loss)))


@told_as(number_or_none)
def W_L_residual(evaluation: Evaluation, key_freqs: list[int] | None = None) -> Tensor | None:
    """Share of the squared norm of W_L that lies outside the directions cos w_k, sin w_k, k in K, of its answer axis.

    Squared: so the paper's "under 0.55 %" fits (its equation 2). Sees weights, and through K train pairs and test
    inputs. Nanda et al. 2023, section 4.2. None where there are no key frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
    """
    is_key, W_L = evaluation.chosen(key_freqs), evaluation.group_neuron_logit_map
    if W_L is None:
        return None
    energy = fourier.component_norms(W_L.T).square()
    outside = torch.where(fourier.by_row(is_key, evaluation.group.n), 0.0, energy)
    return where_defined(is_key.any(), outside.sum() / energy.sum())
