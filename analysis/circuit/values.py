"""Everything that was found as one flat dictionary, unrounded: what --json writes. Pure.

Names are those of a run's rows where they mean the same; `ablation.<name>` is the loss over all pairs,
`ablation.<name>.<set>` that over train, test, swap or novel pairs. Where the split is not known, excluded losses are
over all pairs and named so: excluded_loss_all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.circuit.circuit import Circuit
from analysis.circuit.keys import Keys
from analysis.circuit.verdict import Judged

Entries = Iterator[tuple[str, Any]]


def values(circuit: Circuit) -> dict[str, Any]:
    """Name to number, list of numbers, text, or None; what is not defined for this network is absent."""
    parts = (_task, _losses, _keys, _weights, _attention, _neurons, _neuron_logit_map, _ablations, _rest)
    return {name: value for part in parts for name, value in part(circuit)}


def _task(circuit: Circuit) -> Entries:
    subject, task = circuit.subject, circuit.subject.task
    yield "p", task.p
    yield "n_classes", task.p
    yield "precision", "float64"
    yield "split", "known" if subject.has_split else "unknown"
    yield from ((f"n_pairs.{name}", int(mask.sum())) for name, mask in subject.reported.items())
    if task.group is not None:
        yield "group_order", task.group.n
        yield "primitive_root", task.group.primitive_root


def _losses(circuit: Circuit) -> Entries:
    logits = circuit.logits
    for name in logits.losses:
        yield f"{name}_loss", logits.losses[name]
        yield f"{name}_acc", logits.accuracies[name]
        margins = logits.margins[name]
        yield f"margin_min.{name}", margins.least
        yield f"margin_q01.{name}", margins.first
        yield f"margin_median.{name}", margins.median
    yield from ((f"logit_spectrum.{i}.{j}", share) for i, j, share in logits.spectrum)
    for each in logits.runners_up:
        yield f"runner_up.{each.distance}", each.share


def _keys(circuit: Circuit) -> Entries:
    keys = circuit.keys
    if keys is None:
        return
    yield "key_freqs", keys.used
    yield "key_freqs_given", keys.is_given
    yield "key_freqs_by_rule", keys.by_rule
    yield "key_gap", keys.gap
    yield ("excluded_loss_k" if keys.over == "train" else "excluded_loss_all_k"), keys.excluded_k
    yield ("excluded_loss_max" if keys.over == "train" else "excluded_loss_all_max"), max(keys.excluded_k)
    yield "cos_sim_k", keys.cos_sim_k
    yield from _with_keys(circuit, keys)


def _with_keys(circuit: Circuit, keys: Keys) -> Entries:
    """Restricted and excluded loss, the fit: null where there are no key frequencies."""
    restricted = circuit.ablation.get("restricted", {})
    excluded = circuit.ablation.get("excluded", {})
    yield "restricted_loss", restricted.get("all")
    yield from ((f"restricted_loss_{name}", loss) for name, loss in restricted.items() if name != "all")
    if keys.over == "train":
        yield "excluded_loss", excluded.get("train")
    yield from ((f"excluded_loss_{name}", loss) for name, loss in excluded.items() if name != "train")
    yield "fve_logits", circuit.logits.fve
    yield "fit_loss", circuit.logits.fit_loss
    yield from ((f"alpha.{k}", alpha) for k, alpha in circuit.logits.alphas.items())
    if circuit.logits.fitted_least is not None:
        yield "fitted_margin_min", circuit.logits.fitted_least[0]
        yield "fitted_margin_min_distance", circuit.logits.fitted_least[1]


def _weights(circuit: Circuit) -> Entries:
    yield "sum_sq_weights", circuit.sum_sq_weights
    yield from ((f"sum_sq.{name}", value) for name, value in circuit.sum_sq.items())
    yield from circuit.ginis.items()
    if circuit.embedding is not None:
        yield "W_E_norm_k", circuit.embedding.norms
        yield "W_E_key_share", circuit.embedding.share
        yield from ((f"W_E_share.{circle.k}", circle.share) for circle in circuit.embedding.circles)
        yield from ((f"W_E_roundness.{circle.k}", circle.roundness) for circle in circuit.embedding.circles)


def _attention(circuit: Circuit) -> Entries:
    for h, head in enumerate(circuit.attention or []):
        yield f"attn_to_a.{h}", head.to_a
        yield f"attn_to_b.{h}", head.to_b
        yield f"attn_to_equals.{h}", head.to_equals
        if circuit.keys is not None:
            yield f"attn_k.{h}", head.k
            yield f"attn_fve.{h}", head.fve
            yield f"attn_alpha.{h}", head.alpha
            yield f"attn_beta.{h}", head.beta


def _neurons(circuit: Circuit) -> Entries:
    found = circuit.neurons
    if found is None:
        return
    yield "frac_neurons_85", found.share
    yield "frac_neurons_85_weighted", found.weighted
    yield "n_neurons", found.n
    yield "n_neurons_constant", found.n_constant
    for cluster in found.clusters:
        yield f"neurons_85.{cluster.k}", cluster.above
        yield f"neurons_below_85.{cluster.k}", cluster.below
        yield f"neurons_fve.{cluster.k}", cluster.fve
        yield f"neurons_weight.{cluster.k}", cluster.weight


def _neuron_logit_map(circuit: Circuit) -> Entries:
    found = circuit.neuron_logit_map
    if found is None:
        return
    yield "W_L_norm_k", found.norms
    yield "W_L_residual", found.residual
    for each in found.directions:
        letter = "u" if each.wave == "cos" else "v"
        yield f"{letter}_fve.{each.k}", each.fve
        yield f"{letter}_coefficient.{each.k}", each.coefficient
        yield f"{letter}_norm.{each.k}", each.norm


def _ablations(circuit: Circuit) -> Entries:
    for name, losses in circuit.ablation.items():
        for over, loss in losses.items():
            yield f"ablation.{name}" + ("" if over == "all" else f".{over}"), loss


def _rest(circuit: Circuit) -> Entries:
    placed = circuit.clock_pizza
    if placed is not None:
        yield "gradient_symmetricity", placed.gradient_symmetricity
        yield "distance_irrelevance", placed.distance_irrelevance
        yield "circularity", placed.circularity
    if circuit.judged is not None:
        yield from _verdict(circuit.judged)


def _verdict(judged: Judged) -> Entries:
    yield "verdict", judged.verdict.value
    yield "n_relabellings", judged.n_relabellings
    for each in judged.evidence:
        yield f"verdict.{each.name}", each.value
        yield f"verdict.{each.name}.over", each.over
        yield f"verdict.{each.name}.bound", each.bound
        yield f"verdict.{each.name}.null_median", each.null_median
        yield f"verdict.{each.name}.null_best", each.null_best
        yield f"verdict.{each.name}.null_as_good", each.n_as_good
