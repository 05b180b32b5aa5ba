"""Key frequencies by the other rules that are in use, beside the largest gap (`losses.key_freqs`).

None of them knows when there are none: at random weights each may name some.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.measures.blocks import by_frequency, frequency_norms
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.neurons import neurons_85_k
from grok_sweep.measures.told import frequencies, told_as

LEAST_NORM = 0.25
"""Of the largest norm."""
LEAST_SIMILARITY = 0.005


@told_as(frequencies)
def key_freqs_by_neurons(evaluation: Evaluation) -> Tensor:
    """Frequencies that explain some neuron to more than 85 % of its variance (frac_neurons_85), sorted.

    Sees all inputs, test inputs among them. Nanda et al. 2023, the authors' code, which counts every neuron's best
    frequency, however little it explains. None where there is no such neuron.
    """
    return neurons_85_k.formula(evaluation) > 0


@told_as(frequencies)
def key_freqs_by_W_E(evaluation: Evaluation) -> Tensor | None:
    """Frequencies whose norm in W_E is above a quarter of the largest, sorted.

    The norm of a frequency is that of its cosine and sine components over d_model together, the root of the sum of
    their squares; rows are the numbers by the first operand's exponent. Sees weights. TransformerLens'
    Grokking_Demo; that cosine and sine are taken together is ours. None where W_E is zero.
    """
    rows = evaluation.group_embedding
    if rows is None:
        return None
    norms = frequency_norms(rows)
    return norms > LEAST_NORM * norms.max()


@told_as(frequencies)
def key_freqs_by_cos_sim(evaluation: Evaluation) -> Tensor:
    """Frequencies with which the logits have a cosine similarity above .005, sorted.

    For each pair of the group its logits, centred over the answers, against cos w_k(a+b-c); the mean over pairs. So a
    pair counts whatever the size of its logits, other than in cos_sim_k. Sees all inputs, test inputs among them.
    Chughtai et al. 2023, `determine_key_reps` of their code. None where there is none.
    """
    n, logits = evaluation.group.n, evaluation.logits_by_sum
    centred = logits - logits.mean(-1, keepdim=True)
    norms = centred.norm(dim=-1)
    directions = torch.bmm(torch.where(norms == 0, 0.0, 1 / norms)[:, None, :], centred)[:, 0]
    basis = fourier.basis(n, directions.device)
    inner = by_frequency(((basis @ directions) * basis).sum(1, keepdim=True))[1:, 0]
    # basis holds cos w_k / norm(cos w_k), and sin likewise: one factor of the norm is left of cos w(s - c).
    is_nyquist = 2 * fourier.frequencies(n).to(inner.device) == n
    norm_of_wave = torch.where(is_nyquist, n, n / 2).sqrt()
    return inner * norm_of_wave / n**2 > LEAST_SIMILARITY
