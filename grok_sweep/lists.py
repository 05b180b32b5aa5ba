"""Things sorted by a key into lists of one length: a sum over each list is one batched product, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Lists:
    """A list for each key; short ones are filled up with the first thing.

    Attributes:
        things: the thing at each place.
        is_thing: 0 where the list is filled up.
        places: where each thing is, in the flat lists.
    """

    things: Int[Tensor, "n_keys longest"]
    is_thing: Float[Tensor, "n_keys longest 1"]
    places: Int[Tensor, " n"]

    @property
    def size(self) -> int:
        return self.things.numel()

    def taken(
        self, values: Float[Tensor, "n width"], out: Tensor | None = None
    ) -> Float[Tensor, "n_keys longest width"]:
        """The values of each list's things."""
        flat = torch.index_select(values, 0, self.things.flatten(), out=out)
        return flat.view(*self.things.shape, values.shape[1])

    def masked(self, values: Float[Tensor, "n width"]) -> Float[Tensor, "n_keys longest width"]:
        """The values of each list's things, 0 where it is filled up."""
        return self.taken(values) * self.is_thing

    def put_back(self, values: Float[Tensor, "n_keys longest width"]) -> Float[Tensor, "n width"]:
        """The value at each thing's place."""
        return values.flatten(0, 1).index_select(0, self.places)


def lists(keys: Int[Tensor, " n"], n_keys: int) -> Lists:
    """Sort things by their keys, 0..n_keys-1; within a list they stay in order."""
    order, here = keys.argsort(stable=True), keys.device
    lengths = torch.bincount(keys, minlength=n_keys)
    longest, starts = int(lengths.max()), lengths.cumsum(0) - lengths
    of_list = keys[order]
    places = torch.empty_like(keys)
    places[order] = of_list * longest + torch.arange(len(keys), device=here) - starts[of_list]
    things, is_thing = keys.new_zeros(n_keys * longest), torch.zeros(n_keys * longest, 1, device=here)
    things[places] = torch.arange(len(keys), device=here)
    is_thing[places] = 1
    return Lists(things.view(n_keys, longest), is_thing.view(n_keys, longest, 1), places)
