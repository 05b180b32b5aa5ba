"""Neurons as polynomials of degree 2 in the waves of one frequency. Pure.

Shares are those of `measures.blocks`: energy in the block {1, cos, sin} x {1, cos, sin} of k without its constant,
over the neuron's variance. Nanda et al. 2023, section 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.circuit import directions, grid
from analysis.circuit.subject import Subject
from grok_sweep.measures.neurons import LEAST_SHARE, frac_neurons_85, frac_neurons_85_weighted
from grok_sweep.measures.table import measure


@dataclass(frozen=True)
class Cluster:
    """The neurons whose best frequency is k.

    Attributes:
        above: how many k explains to more than 85 % of their variance.
        below: how many it explains best, but no more than that.
        fve: mean share of the former; None where there is none.
        weight: share of all neurons' variance times squared W_out row that the former have; None without a readout.
    """

    k: int
    above: int
    below: int
    fve: float | None
    weight: float | None


@dataclass(frozen=True)
class Neurons:
    """All neurons of the last layer.

    Attributes:
        clusters: by k, those that have a neuron above 85 %, or whose k is a key frequency.
        n: how many neurons there are.
        n_constant: how many are the same on every pair.
        share: of the neurons that some frequency explains to more than 85 %; plain count.
        weighted: the same weighted by variance times squared norm of the row of W_out.
        best_k, best_share: of each neuron; k is 0 for a constant one.
    """

    clusters: list[Cluster]
    n: int
    n_constant: int
    share: float
    weighted: float | None
    best_k: list[int]
    best_share: list[float]


def have_frequencies(subject: Subject) -> bool:
    """Whether single frequencies explain its neurons: there are some, they do not square, and a group is known."""
    return measure("frac_neurons_85").needs <= subject.evaluation.has


def neurons(subject: Subject) -> Neurons | None:
    """None where no group is known, there are no neurons, or they square (no single frequency is theirs)."""
    evaluation = subject.evaluation
    if not have_frequencies(subject):
        return None
    shares, best = evaluation.neuron_blocks.shares.max(0)
    total = evaluation.neuron_blocks.total
    best = torch.where(total > 0, best + 1, 0)
    readout = evaluation.readout
    weights = None if readout is None else total * readout.double().square().sum(1)
    share = frac_neurons_85(evaluation)
    assert share is not None, "the weights are finite: a checkpoint with others is refused"
    is_above = shares > LEAST_SHARE
    named = sorted({*best[is_above].tolist(), *subject.key_freqs} - {0})
    return Neurons(
        [_cluster(k, best, shares, is_above, weights) for k in named],
        len(best), int((total == 0).sum()), share, frac_neurons_85_weighted(evaluation),
        best.tolist(), shares.tolist(),
    )  # fmt: skip


def _cluster(
    k: int,
    best: Int[Tensor, " d_mlp"],
    shares: Float[Tensor, " d_mlp"],
    is_above: Bool[Tensor, " d_mlp"],
    weights: Float[Tensor, " d_mlp"] | None,
) -> Cluster:
    mine = best == k
    good = mine & is_above
    n_good = int(good.sum())
    return Cluster(
        k, n_good, int(mine.sum()) - n_good, float(shares[good].mean()) if n_good else None,
        float(weights[good].sum() / weights.sum()) if weights is not None and bool(weights.sum() > 0) else None,
    )  # fmt: skip


# --- neurons changed ----------------------------------------------------------------------------------------


def replaced_by_fit(subject: Subject, least_share: float = LEAST_SHARE) -> Float[Tensor, "n_pairs d_mlp"]:
    """mlp_post with each neuron above `least_share` replaced by its polynomial of degree 2 in its own frequency.

    The polynomial is the least-squares one over the group's pairs: mean plus the projection on the block of its best
    k. Nanda et al. 2023, section 4.4: 433 neurons of the mainline, loss 2.41e-7 -> 2.48e-7.
    """
    mlp_post = subject.evaluation.activations.mlp_post
    assert mlp_post is not None, "asked for where there are neurons"
    values = grid.ordered(subject, mlp_post.double())
    shares, best = subject.evaluation.neuron_blocks.shares.max(0)
    n = len(grid.pairs(subject))
    for k in (best[shares > least_share] + 1).unique().tolist():
        mine = ((best == k - 1) & (shares > least_share)).nonzero()[:, 0]
        columns = values[:, mine]
        values[:, mine] = columns.mean(0) + directions.project(columns, directions.block(n, k))
    return grid.put_back(subject, mlp_post.double(), values)
