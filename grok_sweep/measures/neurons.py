"""Neurons that compute with one frequency: how many, which frequencies, how much they matter."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import number_or_none, told_as, where_defined, wholes_or_none

LEAST_SHARE = 0.85
"""A neuron counts where one frequency explains more of its variance than this (Nanda et al. 2023, section 4.3)."""


@told_as(number_or_none)
def frac_neurons_85(evaluation: Evaluation) -> Tensor:
    """Share of the neurons whose best single frequency explains more than 85 % of their variance over the pairs.

    Of mlp_post at "=", in the last layer, over the group's pairs: the energy in the block {1, cos w_k, sin w_k}² of
    the two operands, without the constant, over the whole energy without it; the best k counts. A neuron that is
    constant over the pairs (a dead one) counts as not explained. Sees all inputs, test inputs among them. Nanda et
    al. 2023, section 4.3. Not defined for neurons that square: of (cos w_k a + cos w_k b)² frequency k explains four
    fifths (2k has the rest), however clean the network.
    """
    return _where_numbers(evaluation, _is_of(evaluation).any(0).double().mean())


@told_as(number_or_none)
def frac_neurons_85_weighted(evaluation: Evaluation) -> Tensor | None:
    """The same share with each neuron weighted by its variance times the squared norm of its row of W_out.

    Sees weights and all inputs, test inputs among them. Ours: the head-count of frac_neurons_85 takes a neuron that
    hardly speaks for a whole one. A network without W_out is weighted by its rows of W_L (mlp and quadratic: W_U).
    None where no neuron varies, or none is read out.
    """
    readout = evaluation.readout
    if readout is None:
        return None
    weight = evaluation.neuron_blocks.total * readout.double().square().sum(1)
    share = torch.where(_is_of(evaluation).any(0), weight, 0.0).sum() / weight.sum()
    return _where_numbers(evaluation, share)


@told_as(wholes_or_none)
def neurons_85_k(evaluation: Evaluation) -> Tensor:
    """Number of neurons of each frequency k = 1..n//2: those that k explains to more than 85 %, as frac_neurons_85.

    Sees all inputs, test inputs among them. Nanda et al. 2023, section 4.3.
    """
    return _where_numbers(evaluation, _is_of(evaluation).sum(1).double())


def _is_of(evaluation: Evaluation) -> Bool[Tensor, "n_freqs d_mlp"]:
    """True where the frequency explains the neuron."""
    return evaluation.neuron_blocks.shares > LEAST_SHARE


def _where_numbers(evaluation: Evaluation, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The value, if every neuron is a number."""
    return where_defined(evaluation.neuron_blocks.total.isfinite().all(), value)
