"""The task: every pair with its answer, split as the published codes split, and what of the test set is novel."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_sweep.config import OPERATIONS, DataConfig, Split, SplitBy, smallest_divisor
from grok_sweep.operations import NAMED
from grok_sweep.splits import shuffled
from grok_sweep.tasks import Task, make_task

ROOT = Path(__file__).parents[2]

CONFIGS = st.builds(
    DataConfig,
    p=st.sampled_from([3, 5, 7, 11, 12]),
    frac_train=st.floats(0.12, 0.97),
    split=st.sampled_from(Split),
    split_by=st.sampled_from(SplitBy),
    split_seed=st.integers(0, 2**63 - 1),
)


ANSWERS: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: (a * b) % p,
    "divide": lambda a, b, p: next(c for c in range(p) if (b * c) % p == a),
    "quadratic": lambda a, b, p: (a**2 + a * b + b**2) % p,
    "cubic": lambda a, b, p: (a**3 + a * b) % p,
}
COMMUTING = ("add", "multiply", "quadratic")
NOT_COMMUTING = ("subtract", "divide", "cubic", "random")


def defined(names: Iterable[str], sizes: Iterable[int]) -> list[tuple[str, int]]:
    """Each operation at each modulus, but for division where p is composite."""
    return [(name, p) for name in names for p in sizes if not (name == "divide" and smallest_divisor(p) < p)]


def pairs_where(task: Task, mask: torch.Tensor) -> set[tuple[int, int]]:
    """The pairs (a, b) that a mask marks."""
    return {(int(a), int(b)) for a, b, marked in zip(task.a, task.b, mask, strict=True) if marked}


# --- operations: every pair and its answer -------------------------------------------------------------------


def test_every_operation_has_a_name_and_is_tried_here():
    assert set(OPERATIONS) == {*NAMED, "random"} == {*ANSWERS, "random"} == {*COMMUTING, *NOT_COMMUTING}


@pytest.mark.parametrize("name, p", defined(ANSWERS, [3, 8, 13, 15, 23]))
def test_pairs_and_answers_as_whole_numbers_give_them(name: str, p: int):
    """Division where p is prime: of (a, b) with b from 1, and b c = a."""
    task = make_task(DataConfig(operation=name, p=p))
    pairs = [(a, b) for a in range(p) for b in range(1 if name == "divide" else 0, p)]
    assert list(zip(task.a.tolist(), task.b.tolist(), strict=True)) == pairs
    assert task.answers.tolist() == [ANSWERS[name](a, b, p) for a, b in pairs]
    assert torch.equal(task.labels, task.answers)
    assert (task.p, task.n_pairs) == (p, len(pairs))
    assert DataConfig(operation=name, p=p).problems() == []


def test_a_column_over_pairs_reshapes_to_axis_0_for_a_and_axis_1_for_b():
    task = make_task(DataConfig(p=7))
    assert task.a.view(7, 7)[3].tolist() == [3] * 7
    assert task.b.view(7, 7)[3].tolist() == list(range(7))
    assert int(task.labels.view(7, 7)[5, 4]) == 2


def test_only_four_operations_have_a_group_and_products_only_mod_a_prime():
    def with_group(p: int) -> set[str]:
        made = {name: make_task(DataConfig(operation=name, p=p)) for name, _ in defined(OPERATIONS, [p])}
        return {name for name, task in made.items() if task.group is not None}

    assert with_group(13) == {"add", "subtract", "multiply", "divide"}
    assert with_group(15) == {"add", "subtract"}


@pytest.mark.parametrize("name", ["subtract", "multiply", "divide"])
def test_group_pairs_have_the_exponents_of_their_place_and_the_others_an_operand_0(name: str):
    p = 11
    task = make_task(DataConfig(operation=name, p=p))
    group, pairs = task.group, task.group_pairs
    assert group is not None
    assert pairs is not None
    i, j = torch.arange(group.n)[:, None], torch.arange(group.n)[None]
    assert torch.equal(group.of_a[task.a[pairs]], i.expand_as(pairs))
    assert torch.equal(group.of_b[task.b[pairs]], j.expand_as(pairs))
    zeros = {"subtract": set(), "multiply": {(a, b) for a in range(p) for b in range(p) if a * b == 0}}
    expected = zeros.get(name, {(0, b) for b in range(1, p)})
    assert pairs_where(task, task.outside_mask) == expected


def test_division_mod_a_composite_is_refused_with_its_reason():
    for p, divisor in ((15, 3), (49, 7), (64, 2)):
        assert DataConfig(operation="divide", p=p).problems() == [
            f"data.operation=divide needs a prime data.p (mod {p} nothing can be divided by {divisor}), got {p}"
        ]


def test_division_has_no_unordered_split():
    (line,) = DataConfig(operation="divide", p=13, split=Split.unordered).problems()
    assert line == "data.split=unordered has no meaning for divide: of (0, b) the swap (b, 0) is no pair"


def test_an_unknown_operation_is_told_the_known_ones():
    (line,) = DataConfig(operation="product").problems()
    assert line == (
        "unknown data.operation 'product'. Known: add, subtract, multiply, divide, quadratic, cubic, random; "
        "or a dotted path"
    )


# --- random labels ------------------------------------------------------------------------------------------


def test_random_labels_follow_the_split_seed_alone():
    def answers(**settings: object) -> torch.Tensor:
        return make_task(DataConfig(operation="random", p=23, **settings)).answers  # type: ignore[arg-type]

    first = answers(split_seed=3)
    assert torch.equal(answers(split_seed=3, frac_train=0.8, split_by=SplitBy.torch, label_noise=0.5), first)
    others = [answers(split_seed=seed) for seed in (0, 1, 4)]
    # 529 labels agree by chance on 23 of them, give or take 5.
    assert all(int((other == first).sum()) < 50 for other in others)
    counts = first.bincount(minlength=23).double()
    assert float(((counts - 23) ** 2 / 23).sum()) < 50  # chi-squared, 22 degrees of freedom: 1 in 1,700


def test_split_random_labels_and_noise_are_drawn_from_streams_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """Of one seed: else a wrong label could hang on the right one, or on the split."""
    seeds = []

    class Noted(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            seeds.append(seed)
            return super().manual_seed(seed)

    monkeypatch.setattr(torch, "Generator", Noted)
    for seed in (0, 1):
        make_task(DataConfig(operation="random", p=7, label_noise=0.5, split_by=SplitBy.torch, split_seed=seed))
    assert len(seeds) == len(set(seeds)) == 6


# --- label noise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["add", "divide", "random"])
@pytest.mark.parametrize("share", [0.0, 0.013, 0.3, 1.0])
def test_the_asked_share_of_the_train_labels_is_wrong_and_no_test_label(operation: str, share: float):
    config = DataConfig(operation=operation, p=29, frac_train=0.4, label_noise=share, split_seed=2)
    task, clean = make_task(config), make_task(replace(config, label_noise=0.0))
    assert torch.equal(task.train_mask, clean.train_mask)
    assert torch.equal(task.swap_mask, clean.swap_mask)
    assert torch.equal(task.answers, clean.labels)
    assert int(task.noisy_mask.sum()) == int(share * task.n_train)
    assert not (task.noisy_mask & task.test_mask).any()
    assert torch.equal(task.noisy_mask, task.labels != task.answers)
    assert 0 <= int(task.labels.min()) <= int(task.labels.max()) < 29


def test_wrong_labels_are_drawn_evenly_from_the_others():
    p = 59
    task = make_task(DataConfig(p=p, frac_train=0.9, label_noise=1.0))
    shifts = ((task.labels - task.answers) % p)[task.train_mask]
    counts = shifts.bincount(minlength=p)
    assert int(counts[0]) == 0
    expected = task.n_train / (p - 1)
    chi_squared = float(((counts[1:] - expected) ** 2 / expected).sum())
    assert chi_squared < 57 + 4 * math.sqrt(2 * 57)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_more_noise_only_adds_to_less(one: float, other: float, seed: int):
    less, more = (
        make_task(DataConfig(p=13, frac_train=0.5, label_noise=share, split_seed=seed))
        for share in sorted([one, other])
    )
    assert not (less.noisy_mask & ~more.noisy_mask).any()
    assert torch.equal(less.labels[less.noisy_mask], more.labels[less.noisy_mask])


def test_noise_of_other_seeds_falls_on_other_pairs():
    masks = [make_task(DataConfig(p=23, label_noise=0.5, split_seed=seed)).noisy_mask for seed in range(3)]
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


def test_a_share_outside_0_to_1_is_refused():
    for share in (-0.1, 1.1, math.nan):
        assert DataConfig(label_noise=share).problems() == [f"data.label_noise must lie in [0, 1], got {share}"]


# --- the split ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 598])
@pytest.mark.parametrize("p, frac", [(11, 0.3), (13, 0.47)])
def test_the_papers_split_as_its_code_writes_it(p: int, frac: float, seed: int):
    """Nanda et al.'s helpers: random.seed(s); random.shuffle(pairs); pairs[:int(frac * len(pairs))]."""
    state = random.getstate()
    try:
        random.seed(seed)
        pairs = [(i, j) for i in range(p) for j in range(p)]
        random.shuffle(pairs)
        expected = set(pairs[: int(frac * len(pairs))])
    finally:
        random.setstate(state)
    task = make_task(DataConfig(p=p, frac_train=frac, split_seed=seed))
    assert pairs_where(task, task.train_mask) == expected
    assert task.n_train == len(expected)


@pytest.mark.parametrize("seed", [0, 2, 2**63 - 1])
@pytest.mark.parametrize("p, frac", [(11, 0.3), (13, 0.47)])
def test_chughtais_split_as_its_code_writes_it(p: int, frac: float, seed: int):
    """torch.manual_seed(s); torch.randperm(n) on the CPU, first int(frac * n)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(p * p)
    expected = torch.zeros(p * p, dtype=torch.bool)
    expected[order[: int(frac * p * p)]] = True
    task = make_task(DataConfig(p=p, frac_train=frac, split_by=SplitBy.torch, split_seed=seed))
    assert torch.equal(task.train_mask, expected)


@pytest.mark.parametrize("split_by", SplitBy)
def test_the_unordered_split_shuffles_pairs_with_a_not_above_b(split_by: SplitBy):
    p, frac, seed = 11, 0.41, 5
    pairs = [(a, b) for a in range(p) for b in range(a, p)]
    chosen = [pairs[i] for i in shuffled(len(pairs), split_by, seed)[: int(frac * len(pairs))]]
    task = make_task(DataConfig(p=p, frac_train=frac, split=Split.unordered, split_by=split_by, split_seed=seed))
    assert pairs_where(task, task.train_mask) == {*chosen, *((b, a) for a, b in chosen)}


@settings(deadline=None, max_examples=60)
@given(CONFIGS)
def test_train_swap_and_novel_part_the_pairs(config: DataConfig):
    task = make_task(config)
    train, test, swap, novel = (
        pairs_where(task, mask) for mask in (task.train_mask, task.test_mask, task.swap_mask, task.novel_mask)
    )
    everything = {(a, b) for a in range(config.p) for b in range(config.p)}
    assert train | swap | novel == everything
    assert len(train) + len(swap) + len(novel) == len(everything)
    assert test == everything - train
    assert swap == {(a, b) for a, b in test if (b, a) in train}


@settings(deadline=None, max_examples=60)
@given(CONFIGS)
def test_an_ordered_split_has_its_share_and_an_unordered_one_no_swap_pairs(config: DataConfig):
    task, p = make_task(config), config.p
    train = task.train_mask.view(p, p)
    if config.split is Split.ordered:
        assert task.n_train == int(config.frac_train * p * p)
    else:
        assert torch.equal(train, train.T)
        assert not task.swap_mask.any()
        assert int(train.triu().sum()) == int(config.frac_train * p * (p + 1) / 2)


@pytest.mark.parametrize("p", [11, 12])
@pytest.mark.parametrize("name", COMMUTING)
def test_pairs_that_commute_have_swap_pairs(name: str, p: int):
    task = make_task(DataConfig(operation=name, p=p))
    train, test = pairs_where(task, task.train_mask), pairs_where(task, task.test_mask)
    swap = {(a, b) for a, b in test if (b, a) in train}
    assert swap
    assert pairs_where(task, task.swap_mask) == swap
    assert pairs_where(task, task.novel_mask) == test - swap


@pytest.mark.parametrize("name, p", defined(NOT_COMMUTING, [3, 11, 12]))
def test_where_they_do_not_commute_every_test_pair_is_novel(name: str, p: int):
    task = make_task(DataConfig(operation=name, p=p))
    assert not task.swap_mask.any()
    assert torch.equal(task.novel_mask, task.test_mask)
    assert task.test_mask.any()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "divide"])
def test_the_split_does_not_hang_on_the_operation(name: str):
    for split in Split:
        config = DataConfig(p=13, frac_train=0.4, split=split, split_seed=4)
        assert torch.equal(make_task(replace(config, operation=name)).train_mask, make_task(config).train_mask)


def test_division_shuffles_its_own_pairs():
    p, frac, seed = 13, 0.4, 4
    pairs = [(a, b) for a in range(p) for b in range(1, p)]
    chosen = {pairs[i] for i in shuffled(p * (p - 1), SplitBy.paper, seed)[: int(frac * p * (p - 1))]}
    config = DataConfig(operation="divide", p=p, frac_train=frac, split_seed=seed)
    task = make_task(config)
    assert pairs_where(task, task.train_mask) == chosen
    assert task.n_pairs == config.n_pairs == len(pairs)


@settings(deadline=None, max_examples=40)
@given(CONFIGS, st.floats(0.12, 0.97))
def test_the_train_sets_of_one_seed_are_nested(config: DataConfig, frac: float):
    small, large = sorted([config.frac_train, frac])
    masks = []
    for config.frac_train in (small, large):
        masks.append(make_task(config).train_mask)
    assert not (masks[0] & ~masks[1]).any()


def test_seeds_and_ways_to_split_differ():
    masks = [
        tuple(make_task(DataConfig(p=11, split_seed=seed, split_by=way)).train_mask.tolist())
        for seed in range(3)
        for way in SplitBy
    ]
    assert len(set(masks)) == 6


@pytest.mark.parametrize("split_by", SplitBy)
@pytest.mark.parametrize("seed", [0, 7])
def test_shuffled_is_a_permutation(split_by: SplitBy, seed: int):
    order = shuffled(101, split_by, seed)
    assert sorted(order) == list(range(101))
    assert order != list(range(101))


RANDOM_STATES = """
import random, torch
from grok_sweep.config import DataConfig, SplitBy
from grok_sweep.tasks import make_task

for operation in ("add", "divide", "random"):
    for split_by in SplitBy:
        config = DataConfig(operation=operation, p=11, split_by=split_by, label_noise=0.2)
        first = make_task(config)
        random.random(), torch.rand(1)
        before = random.getstate(), torch.get_rng_state()
        second = make_task(config)
        print(random.getstate() == before[0], torch.equal(torch.get_rng_state(), before[1]))
        print(torch.equal(first.train_mask, second.train_mask), torch.equal(first.labels, second.labels))
"""


def test_a_task_leaves_the_global_random_states_alone_and_does_not_hang_on_them():
    """In a process of its own: the checks of shapes that these tests run under draw from `random` themselves."""
    command = [sys.executable, "-c", RANDOM_STATES]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["True"] * 24, ran.stdout + ran.stderr


def test_to_moves_every_tensor():
    task = make_task(DataConfig(p=5)).to("meta")
    tensors = {name: value for name, value in vars(task).items() if isinstance(value, torch.Tensor)}
    assert set(tensors) == {"a", "b", "answers", "labels", "train_mask", "swap_mask"}
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
