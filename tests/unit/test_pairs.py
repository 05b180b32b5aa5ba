"""Where the pairs of an ensemble's members lie."""

from __future__ import annotations

import torch
from torch import Tensor

from grok_sweep.models import pairs
from grok_sweep.models.pairs import ALIGNED, CHUNK, WASTE, lay


def members_of(*counts: int, p: int = 97) -> list[tuple[Tensor, Tensor]]:
    """The first so many of all pairs, in a random order."""
    drawn = torch.Generator().manual_seed(0)
    some = [torch.randperm(p * p, generator=drawn)[:n] for n in counts]
    return [(at // p, at % p) for at in some]


def test_each_member_begins_at_a_line_of_the_cache_and_has_its_own_places():
    laid = lay(members_of(5, 16, 17, 1), 97, 2)
    assert [(some.start, some.stop) for some in laid.of_members] == [(0, 5), (16, 32), (32, 49), (64, 65)]
    assert all(some.start % ALIGNED == 0 for some in laid.of_members)
    assert laid.member.tolist() == [0] * 16 + [1] * 16 + [2] * 32 + [3] * 16
    assert [int(laid.is_pair[some].sum()) for some in laid.of_members] == [5, 16, 17, 1]
    assert int(laid.is_pair.sum()) == 39


def test_values_lie_at_their_pairs_and_sum_by_member():
    for evenly in (False, True):
        laid = lay(members_of(5, 9, 40), 97, 2, evenly)
        values = laid.laid([torch.full((n, 1), n / 10) for n in (5, 9, 40)], fill=torch.inf)
        assert torch.isinf(values[~laid.is_pair]).all()
        assert torch.allclose(laid.summed(values)[:, 0], torch.tensor([2.5, 8.1, 160.0]))


def test_pieces_are_cut_as_for_a_member_alone():
    counts = (300, 2 * CHUNK + 7, 40, 50, CHUNK, 3)
    laid = lay(members_of(*counts), 97, 2)
    pieces: dict[int, list[int]] = {}
    for chunk in laid.chunks:
        assert chunk.places.stop - chunk.places.start <= CHUNK
        for block in chunk.blocks:
            pieces.setdefault(block.members.start, []).append(block.pairs.stop - block.pairs.start)
    assert pieces == {0: [300], 1: [CHUNK, CHUNK, 7], 2: [40], 3: [50], 4: [CHUNK], 5: [3]}
    held = [at for chunk in laid.chunks for b in chunk.blocks for at in range(b.pairs.start, b.pairs.stop)]
    assert len(held) == sum(counts)


def test_every_operand_has_its_own_list_of_its_own_member():
    members = members_of(60, 200, p=13)[:1] + members_of(100, p=13)
    for evenly in (False, True):
        laid = lay(members, 13, 2, evenly)
        for position, of_operands in enumerate(laid.operands):
            operand = laid.laid([each[position] for each in members]).float()[:, None]
            lists = of_operands.taken(operand).squeeze(2).view(2, 13, -1)
            is_thing = of_operands.is_thing.view(2, 13, -1) > 0
            for member, each in enumerate(members):
                counts = torch.bincount(each[position], minlength=13)
                assert torch.equal(is_thing[member].sum(1), counts)
                assert int(counts.max()) == laid.longest[member][position]
                for number in range(13):
                    assert (lists[member, number][is_thing[member, number]] == number).all()


def test_laid_evenly_little_is_filled_up_and_a_product_is_bounded(monkeypatch):
    monkeypatch.setattr(pairs, "EVEN_CHUNK", 500)
    laid = lay(members_of(200, 199, 180, 174, 100, 100, 90), 97, 2, evenly=True)
    groups = [(group.members.start, group.members.stop) for group in laid.groups]
    assert groups == [(0, 2), (2, 3), (3, 4), (4, 7)]
    sizes = [group.pairs.stop - group.pairs.start for group in laid.groups]
    assert sizes == [400, 200, 174, 300], "180 of 200 will do, 174 of 200 is too little"
    assert float((~laid.is_pair).sum()) <= WASTE * laid.n_places
    assert [chunk.places for chunk in laid.chunks] == [group.pairs for group in laid.groups]
