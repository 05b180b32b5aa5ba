"""The pairs that networks of one shape are trained on, each its own, laid end to end; once for all steps.

A network by itself is one member. Laid tightly, each member's pairs begin where a line of the cache does, as they do
alone (products of matrices have other bits where these begin elsewhere), and products over pairs are each member's
own. Laid evenly, all members take as many places as the one with the most pairs, and a product over pairs is one
batched product: what a GPU wants. Places without a pair come to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from grok_sweep.lists import Lists, lists
from grok_sweep.models.folded import Places, places

ALIGNED = 16
"""Rows, of numbers of any size: so many are whole lines of the cache."""
CHUNK = 2048
"""Pairs at a time, at most, between the table and the gradient by its sums: a twentieth faster than all at once."""
EVEN_CHUNK = 2**18
"""The same where pairs are laid evenly: what bounds the memory."""
WASTE = 0.125
"""Of a group's places, laid evenly, so much at most holds no pair of a member: fewer pairs begin another group."""


@dataclass(frozen=True)
class Block:
    """Places of members that follow each other, as many of each."""

    members: slice
    pairs: slice

    def of(self, values: Tensor) -> Tensor:
        """[n_pairs, ...] of a chunk's places as [n_members, n_pairs of each, ...]."""
        n_members = self.members.stop - self.members.start
        return values[self.pairs][None] if n_members == 1 else values[self.pairs].unflatten(0, (n_members, -1))


@dataclass(frozen=True)
class Chunk:
    """Places that are computed at a time; the blocks count from its first one."""

    places: slice
    blocks: list[Block]


@dataclass(frozen=True)
class Pairs:
    """
    Attributes:
        of_members: the places that hold each member's pairs.
        member: whose each place is.
        is_pair: False where a place holds none.
        is_even: members of a group have as many places each, and what is filled up comes to nothing.
        groups: members that follow each other, and all their places.
        operands: pairs by their first and by their second operand, member by member.
        longest: of these two kinds of lists, the longest of each member.
    """

    of_members: list[slice]
    member: Int[Tensor, " n_places"]
    is_pair: Bool[Tensor, "n_places 1"]
    is_even: bool
    groups: list[Block]
    chunks: list[Chunk]
    places: Places
    operands: list[Lists]
    longest: list[list[int]]

    @property
    def n_places(self) -> int:
        return len(self.member)

    def laid(self, of_members: Sequence[Tensor], fill: float = 0.0) -> Tensor:
        """A value a pair of each member, at its place; `fill` where there is no pair."""
        return _laid(of_members, self.of_members, self.n_places, fill)

    def summed(self, values: Tensor) -> Tensor:
        """[n_places, ...] to the sum of each member's, [n_members, ...]; in the same order each time."""
        held = torch.where(self.is_pair, values, 0)
        if self.is_even:
            return torch.cat([group.of(held).sum(1) for group in self.groups])
        return values.new_zeros(len(self.of_members), *values.shape[1:]).index_add(0, self.member, held)


def lay(
    members: Sequence[tuple[Int[Tensor, " _n"], Int[Tensor, " _n"]]], p: int, n_heads: int, evenly: bool = False
) -> Pairs:
    """The pairs (a, b) of each member in their places."""
    counts = [len(a) for a, _ in members]
    rooms = _even_rooms(counts) if evenly else [-(-n // ALIGNED) * ALIGNED for n in counts]
    starts = [sum(rooms[:i]) for i in range(len(rooms))]
    of_members = [slice(start, start + n) for start, n in zip(starts, counts, strict=True)]
    a, b = (_laid(operands, of_members, sum(rooms)) for operands in zip(*members, strict=True))
    held = torch.cat([torch.arange(some.start, some.stop, device=a.device) for some in of_members])
    member = torch.arange(len(members), device=a.device).repeat_interleave(torch.tensor(rooms, device=a.device))
    groups = _groups(rooms, EVEN_CHUNK) if evenly else _groups(rooms, 1)
    return Pairs(
        of_members=of_members,
        member=member,
        is_pair=torch.zeros_like(a, dtype=torch.bool).index_fill(0, held, True)[:, None],
        is_even=evenly,
        groups=groups,
        chunks=_even_chunks(groups) if evenly else list(_chunks(of_members)),
        places=places(a, b, p, n_heads, member),
        operands=[_listed(operand + p * member, p * len(members), held) for operand in (a, b)],
        longest=[[int(torch.bincount(operand).max()) for operand in operands] for operands in members],
    )


def _laid(values: Sequence[Tensor], at: Sequence[slice], n_places: int, fill: float = 0.0) -> Tensor:
    out = values[0].new_full((n_places, *values[0].shape[1:]), fill)
    for some, value in zip(at, values, strict=True):
        out[some] = value
    return out


def _listed(keys: Int[Tensor, " n_places"], n_keys: int, held: Int[Tensor, " n_pairs"]) -> Lists:
    """The lists of the places that hold a pair."""
    found = lists(keys[held], n_keys)
    return Lists(held[found.things], found.is_thing, torch.zeros_like(keys).index_copy(0, held, found.places))


def _even_rooms(counts: Sequence[int]) -> list[int]:
    """Members that follow each other share a size where that fills up at most a WASTE-th of it."""
    rooms: list[int] = []
    for i, n in enumerate(counts):
        fits = i > 0 and rooms[-1] * (1 - WASTE) <= n <= rooms[-1]
        rooms.append(rooms[-1] if fits else n)
    return rooms


def _groups(rooms: Sequence[int], most: int) -> list[Block]:
    """Members that follow each other with as many places each, `most` places together at most, or one member."""
    groups: list[Block] = []
    first = start = 0
    for member, room in enumerate(rooms):
        stop = start + (member - first) * room
        if member > first and (room != rooms[first] or stop + room - start > most):
            groups.append(Block(slice(first, member), slice(start, start + (member - first) * rooms[first])))
            first, start = member, groups[-1].pairs.stop
    return [*groups, Block(slice(first, len(rooms)), slice(start, start + (len(rooms) - first) * rooms[first]))]


def _chunks(of_members: Sequence[slice]) -> Iterator[Chunk]:
    """Each member's pairs cut at multiples of CHUNK, whoever is beside it; small members are taken together."""
    taken: list[Block] = []
    first = 0
    for member, pairs in enumerate(of_members):
        for start in range(pairs.start, pairs.stop, CHUNK):
            stop = min(start + CHUNK, pairs.stop)
            if taken and stop - first > CHUNK:
                yield Chunk(slice(first, first + taken[-1].pairs.stop), taken)
                taken = []
            first = first if taken else start
            taken.append(Block(slice(member, member + 1), slice(start - first, stop - first)))
    yield Chunk(slice(first, first + taken[-1].pairs.stop), taken)


def _even_chunks(groups: Sequence[Block]) -> list[Chunk]:
    """One for each group."""
    return [Chunk(g.pairs, [Block(g.members, slice(0, g.pairs.stop - g.pairs.start))]) for g in groups]
