"""Losses and accuracies on the sets of pairs, and the restricted and excluded loss of Nanda et al. 2023."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from grok_sweep import fourier
from grok_sweep.config import Loss
from grok_sweep.measures.evaluation import Evaluation
from grok_sweep.measures.told import (
    by_name,
    frequencies,
    mean_over,
    number,
    number_or_none,
    numbers,
    told_as,
    where_defined,
    whole_or_none,
)
from grok_sweep.train import squared_errors


@told_as(by_name)
def losses_and_accuracies(evaluation: Evaluation) -> dict[str, Tensor]:
    """Mean float64 cross-entropy (nats, p answer classes) and share of right answers on each set of pairs.

    A set without pairs is absent. With label noise, train and noisy pairs are judged by the labels they are trained
    on; all pairs, and restored_acc (the noisy ones again), by the true answers. Sees the pairs of the set and their
    labels. Nanda et al. 2023, section 3; swap and novel pairs are ours, noisy ones Doshi et al.'s 2023.
    """
    sets = evaluation.task.sets
    values = {
        f"{name}_loss": mean_over(mask, evaluation.answer_losses if name == "all" else evaluation.pair_losses)
        for name, mask in sets.items()
    }
    correct = evaluation.correct.double()
    values |= {f"{name}_acc": mean_over(mask, correct) for name, mask in sets.items() if name != "all"}
    if "noisy" in sets:
        restored = evaluation.logits.argmax(1) == evaluation.task.answers
        values["restored_acc"] = mean_over(sets["noisy"], restored.double())
    return values


@told_as(number)
def objective(evaluation: Evaluation, loss: Loss = Loss.cross_entropy) -> Tensor:
    """What training lowers, without dropout, in float64 on the train pairs over *all* outputs.

    With an output for "=" the cross-entropy (nats) differs from train_loss at the start (ln(p+1) against ln p) and
    agrees with it to 7 digits once trained. Sees train pairs. The authors' code, `full_loss`; with loss=mse the mean
    over pairs and outputs of the squared difference from one-hot labels.
    """
    losses = evaluation.output_losses
    if loss is Loss.mse:
        losses = squared_errors(evaluation.outputs, evaluation.task.labels, torch.float64, n_pairs=1)[0][:, 0]
    return mean_over(evaluation.task.train_mask, losses)


@told_as(number_or_none)
def restricted_loss(
    evaluation: Evaluation, key_freqs: list[int] | None = None, mask: Bool[Tensor, " n_pairs"] | None = None
) -> Tensor:
    """Loss (nats, mean over all pairs) of the logits' key-frequency part alone: what the circuit achieves.

    L_R = P_K L + the mean of L over all pairs, per class; P_K projects on cos w_k(a+b) and sin w_k(a+b) for k
    in K (10 directions for five frequencies). Judged by the true answers. Sees test inputs and, averaging over all
    pairs, test labels. Nanda et al. 2023, section 5.1, and the authors' code. None where there are no key
    frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
        mask: average over these pairs, those outside the group left out; default: all, as the authors' code.
    """
    is_key, logits = evaluation.chosen(key_freqs), evaluation.logits
    group_pairs = evaluation.pairs_by_sum.reshape(-1)
    is_whole = len(group_pairs) == evaluation.task.n_pairs
    mean = (logits if is_whole else logits.index_select(0, group_pairs)).mean(0)
    restricted = fourier.sum_waves(evaluation.sum_coefficients, is_key) + mean
    labels = evaluation.answer_of_sum[:, None]
    relative = restricted.scatter(1, labels, -torch.inf) - restricted.gather(1, labels)
    logs = relative.logsumexp(1)
    by_sum = torch.logaddexp(logs, torch.zeros_like(logs))
    inside = ~evaluation.task.outside_mask
    of_pairs = by_sum[evaluation.sum_of_pair]
    return where_defined(is_key.any(), mean_over(inside if mask is None else mask & inside, of_pairs))


@told_as(number_or_none)
def excluded_loss(
    evaluation: Evaluation, key_freqs: list[int] | None = None, mask: Bool[Tensor, " n_pairs"] | None = None
) -> Tensor:
    """Train loss (nats) of the logits without their key-frequency part: what memory achieves alone.

    L_X = L - P_K L, the projection's coefficients taken over all pairs. Rises while the generalising circuit
    forms. Sees train pairs, and through the coefficients test inputs. Nanda et al. 2023, section 5.1 ("full" in
    the authors' notebook). None where there are no key frequencies.

    Args:
        key_freqs: K; default: this network's own (online K), by the largest gap.
        mask: average over these pairs, those outside the group left out; default: the train pairs.
    """
    is_key, task = evaluation.chosen(key_freqs), evaluation.task
    pairs = task.trained_by_sum if mask is None else task.by_sum(mask)
    waves = fourier.sum_waves(evaluation.sum_coefficients, is_key)
    return where_defined(is_key.any(), evaluation.excluded_losses(waves[None], pairs)[0])


@told_as(numbers)
def excluded_loss_k(evaluation: Evaluation) -> Tensor:
    """Train loss (nats) after removing one frequency, for k = 1..n//2: the paper's figure 15, for every k.

    Sees train pairs, and through the coefficients test inputs. Nanda et al. 2023, figure 15.
    """
    return evaluation.excluded_loss_k


@told_as(number)
def excluded_loss_max(evaluation: Evaluation) -> Tensor:
    """The largest of excluded_loss_k (nats): needs no key frequencies.

    Sees train pairs, and through the coefficients test inputs. Nanda et al. 2023, footnote 3.
    """
    return evaluation.excluded_loss_k.max()


@told_as(frequencies)
def key_freqs(evaluation: Evaluation) -> Tensor:
    """This network's own key frequencies, sorted; None where the gap is below 1.5 decades.

    All above the largest gap in log10(excluded_k - train_loss): see `largest_gap`. Sees train pairs, and through
    the coefficients test inputs. Ours; the paper reads them off a figure (section 4.1).
    """
    return evaluation.gap.is_key


@told_as(whole_or_none)
def n_key_freqs(evaluation: Evaluation) -> Tensor:
    """Number of key frequencies; None where there are none. Sees what `key_freqs` sees."""
    is_key = evaluation.gap.is_key
    return where_defined(is_key.any(), is_key.double().sum())


@told_as(number)
def key_gap(evaluation: Evaluation) -> Tensor:
    """The largest gap in log10(excluded_k - train_loss), in decades: how clearly the key frequencies stand out.

    Sees what `key_freqs` sees. Ours.
    """
    return evaluation.gap.gap
