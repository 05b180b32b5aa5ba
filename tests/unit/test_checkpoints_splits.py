"""The split that a file does not name: found where the losses show it, unknown where they do not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import small_network
from published import published
from torch import Tensor

from analysis.checkpoints.checkpoint import Checkpoint, Losses, SplitRule
from analysis.checkpoints.listed import by_list, task_of
from analysis.checkpoints.read import read
from analysis.checkpoints.splits import PROVES, doubt, find_split, rank, rank_splits
from grok_sweep.config import DataConfig, SplitBy
from grok_sweep.splits import shuffled
from grok_sweep.tasks import make_task

P = 23
RULES = [SplitRule(SplitBy.paper, 0.3, 1), SplitRule(SplitBy.torch, 0.4, 5), SplitRule(SplitBy.paper, 0.75, 0)]
SEEDS = range(8)


def planted(rule: SplitRule, shift: float, spread: float = 1.0) -> Tensor:
    """Losses of all pairs, log-normal; those of the rule's train pairs lower by a factor exp(shift)."""
    logs = spread * torch.randn(P * P, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (logs - shift * make_task(rule.data("add", P)).train_mask.double()).exp() * 1e-3


def small(**facts) -> Checkpoint:
    """An untrained network: nothing shows a split."""
    network, weights = small_network(P)
    return Checkpoint(weights, P, network.config, "add", None, None, None, "planted", Path("model.pt"), **facts)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shift", [1.0, 8.0], ids=["generalising", "memorising"])
def test_a_planted_split_is_found_with_its_fraction(rule, shift):
    ranking = rank(planted(rule, shift), SEEDS)
    assert ranking.is_clear
    assert ranking.winner.rule == rule
    mask = make_task(rule.data("add", P)).train_mask
    losses = planted(rule, shift)
    assert ranking.winner.train_loss == pytest.approx(float(losses[mask].mean()), rel=1e-12)
    assert ranking.winner.test_loss == pytest.approx(float(losses[~mask].mean()), rel=1e-12)
    assert ranking.margin == ranking.tried[1].train_loss / ranking.winner.train_loss


def test_a_few_pairs_that_carry_the_mean_do_not_hide_it():
    """As amid a loss spike: with a spread of e^3 another split has the lowest mean."""
    rule = RULES[0]
    losses = planted(rule, 3.0, spread=3.0)
    losses[torch.tensor(shuffled(P * P, rule.split_by, rule.split_seed)[0])] = 1e3
    ranking = rank(losses, SEEDS)
    assert ranking.winner.rule == rule
    assert min(each.train_loss for each in ranking.tried) < ranking.winner.train_loss


def test_where_nothing_shows_a_split_it_stays_unknown():
    ranking = rank(planted(RULES[0], 0.0), range(51))
    assert not ranking.is_clear
    assert str(ranking).startswith("split unknown; the likeliest of those tried is")
    assert max(each.z for each in ranking.tried) < PROVES
    found, ranking = find_split(small(), SEEDS)
    assert found.data is None
    assert found.notes == (str(ranking),)


def test_by_chance_the_deviations_are_standard_normal():
    """Over splits that have nothing to do with the losses: mean 0, deviation 1, and none near what proves a split."""
    z = torch.tensor([each.z for each in rank(planted(RULES[0], 0.0), range(200), [0.3]).tried])
    assert abs(float(z.mean())) < 4 / math.sqrt(len(z))
    assert float(z.std()) == pytest.approx(1, abs=0.15)
    assert float(z.abs().max()) < 4.5


def test_losses_of_the_file_agree_to_ten_percent():
    rule = RULES[0]
    losses = planted(rule, 2.0)
    train = rank(losses, SEEDS).winner.train_loss
    for off, agrees in ((0.09, True), (-0.09, True), (0.12, False)):
        ranking = rank(losses, SEEDS, saved=Losses(train / (1 + off), None))
        assert ranking.off == pytest.approx(off)
        assert ranking.agrees is agrees
    assert rank(losses, SEEDS).agrees is None


def test_a_split_that_is_known_is_not_searched_for():
    data = DataConfig(p=P, frac_train=0.4)
    found, ranking = find_split(replace(small(), data=data))
    assert ranking is None
    assert found.data is data
    assert "nothing in the losses shows it" in (doubt(found) or "")
    random_labels, ranking = find_split(replace(small(), operation="random"))
    assert ranking is None
    assert "has to be given" in random_labels.notes[0]


def test_no_split_to_try():
    with pytest.raises(ValueError, match="no split to try"):
        rank_splits(small(), [])
    with pytest.raises(ValueError, match="no split to try"):
        rank_splits(small(), SEEDS, [1e-9])


@pytest.mark.parametrize("rule", [SplitRule(SplitBy.torch, 0.3, 598), SplitRule(SplitBy.paper, 0.33, 2)], ids=str)
def test_train_pairs_that_the_file_lists(rule):
    task = make_task(rule.data("add", P))
    listed = frozenset(task.train_mask.nonzero()[:, 0].tolist())
    found = by_list(small(train_pairs=listed))
    assert found.data is not None
    assert torch.equal(make_task(found.data).train_mask, task.train_mask)
    assert (found.data.split_by, found.data.split_seed) == (rule.split_by, rule.split_seed)
    # Pairs that no seed draws are taken as they are listed.
    odd = frozenset(range(100))
    unknown = by_list(small(train_pairs=odd))
    assert unknown.data is None
    by_hand = task_of(unknown)
    assert by_hand is not None
    assert by_hand.train_mask.nonzero()[:, 0].tolist() == list(range(100))
    assert torch.equal(by_hand.swap_mask, ~by_hand.train_mask & by_hand.train_mask.view(P, P).T.reshape(-1))
    assert task_of(small()) is None


@pytest.mark.parametrize("text", ["paper:0.3", "paper:1.5:0", "mine:0.3:1", "torch:0.3:-1", "torch:a:1"])
def test_a_split_on_the_command_line(text):
    assert SplitRule.parse("torch:0.25:7") == SplitRule(SplitBy.torch, 0.25, 7)
    assert str(SplitRule.parse("torch:0.25:7")) == "torch:0.25:7"
    with pytest.raises(ValueError, match=r"a split is paper\|torch:FRACTION:SEED"):
        SplitRule.parse(text)


@pytest.mark.parametrize(
    "name, rule, train, test, off",
    [
        ("low_precision_mod_addition.pth", SplitRule(SplitBy.paper, 0.3, 1), 3.045181e-4, 3.994994e-3, 0.0250),
        ("C113_T_seed2/model.pt", SplitRule(SplitBy.torch, 0.3, 2), 8.940985e-8, 3.889911e-7, None),
    ],
)
def test_published(name, rule, train, test, off):
    """DEFINITIONS 1 and 3 of the reference: seed and shuffle of both files; saved losses 2.5 % off amid a spike."""
    checkpoint = replace(read(published(name)), data=None)
    found, ranking = find_split(checkpoint)
    assert ranking is not None
    assert (ranking.winner.rule, ranking.is_clear) == (rule, True)
    assert ranking.winner.train_loss == pytest.approx(train, rel=1e-6)
    assert ranking.winner.test_loss == pytest.approx(test, rel=1e-6)
    assert ranking.tried[1].z < PROVES - 1
    assert ranking.off == (None if off is None else pytest.approx(off, abs=5e-4))
    assert found.data == rule.data("add", 113)
    assert doubt(found) is None
