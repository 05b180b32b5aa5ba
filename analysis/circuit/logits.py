"""The logits against sum over k of alpha_k cos w_k(a+b-c), and how far right answers stand above wrong ones. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from analysis.circuit.subject import Subject
from analysis.report.spectra import largest, logit_spectrum
from grok_sweep.measures.fit import alphas, fit_loss, fve_logits

SPECTRUM_ENTRIES = 8


@dataclass(frozen=True)
class Margins:
    """By how much (nats) the right answer's logit beats the best wrong one's, over a set of pairs.

    Attributes:
        least, first, median: minimum, 1 % quantile, median.
        share_right: of the pairs whose margin is above 0.
    """

    least: float
    first: float
    median: float
    share_right: float


@dataclass(frozen=True)
class RunnerUp:
    """How often the best wrong answer lies d steps from the right one, in exponents of the group.

    Attributes:
        distance: d in 1..n//2, to either side.
        share: of the pairs.
        fitted_margin: sum over k of alpha_k (1 - cos w_k d), by which the fit separates such answers (nats).
    """

    distance: int
    share: float
    fitted_margin: float | None


@dataclass(frozen=True)
class Logits:
    """What the logits are.

    Attributes:
        losses, accuracies, margins: by set of pairs; those with a 0 apart, in multiplication and division.
        spectrum: frequency of a, of b, share of the variance over inputs: the largest entries; [] without a group.
        runners_up: the distances of the best wrong answers, most frequent first; [] where no group is known.
        alphas: of the key frequencies, least squares (nats); {} where there are none.
        fve: share of the logits' variance that the fit explains.
        fit_loss: of the fit in the place of the logits.
        fitted_least: the least of its margins, over d, and that d.
    """

    losses: dict[str, float]
    accuracies: dict[str, float]
    margins: dict[str, Margins]
    spectrum: list[tuple[int, int, float]]
    runners_up: list[RunnerUp]
    alphas: dict[int, float]
    fve: float | None
    fit_loss: float | None
    fitted_least: tuple[float, int] | None


def logits(subject: Subject) -> Logits:
    evaluation, keys = subject.evaluation, subject.key_freqs
    found = dict(zip(keys, alphas(evaluation, keys), strict=True)) if keys else {}
    separated = _fitted_margins(subject, found)
    return Logits(
        losses=subject.losses(evaluation.logits, subject.reported),
        accuracies=subject.accuracies(),
        margins={name: _margins(-evaluation.margin[mask]) for name, mask in subject.reported.items()},
        spectrum=largest(logit_spectrum(evaluation), SPECTRUM_ENTRIES) if subject.group is not None else [],
        runners_up=_runners_up(subject, separated),
        alphas=found,
        fve=fve_logits(evaluation, keys) if keys else None,
        fit_loss=fit_loss(evaluation, keys) if keys else None,
        fitted_least=min((margin, d) for d, margin in separated.items()) if separated else None,
    )


def _margins(values: torch.Tensor) -> Margins:
    first, median = torch.quantile(values, torch.tensor([0.01, 0.5], dtype=values.dtype)).tolist()
    return Margins(float(values.min()), first, median, float((values > 0).double().mean()))


def _fitted_margins(subject: Subject, found: dict[int, float]) -> dict[int, float]:
    """Distance d = 1..n//2 to the margin of the fit: it is even in d."""
    if subject.group is None or not found:
        return {}
    n = subject.group.n
    return {
        d: sum(alpha * (1 - math.cos(2 * math.pi * (k * d % n) / n)) for k, alpha in found.items())
        for d in range(1, n // 2 + 1)
    }


def _runners_up(subject: Subject, fitted: dict[int, float], most: int = 8) -> list[RunnerUp]:
    if subject.group is None:
        return []
    evaluation, n = subject.evaluation, subject.group.n
    of_c = subject.group.of_c
    inside = ~subject.task.outside_mask
    best_wrong = evaluation.relative_logits[inside][:, evaluation.answer_of_sum].argmax(1)
    away = (best_wrong - of_c[subject.task.labels[inside]]) % n
    counts = torch.minimum(away, n - away).bincount(minlength=n // 2 + 1)[1:]
    order = sorted(range(1, n // 2 + 1), key=lambda d: (-int(counts[d - 1]), d))[:most]
    shares = counts.double() / counts.sum()
    return [RunnerUp(d, float(shares[d - 1]), fitted.get(d)) for d in order if counts[d - 1] > 0]
