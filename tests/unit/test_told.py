"""From formulas of tensors to numbers of Python."""

from __future__ import annotations

import math

import torch

from grok_sweep.measures import told
from grok_sweep.measures.losses import restricted_loss
from grok_sweep.measures.told import Told, plain, told_as


def test_numbers_rows_and_names_come_back_as_they_were():
    found = [
        torch.tensor(2.5), None, torch.tensor([1, 0, 3]),
        {"W_E": torch.tensor(7.0), "W_U": torch.tensor([True, False])}, torch.empty(0), torch.tensor([4.0]), {},
    ]  # fmt: skip
    assert plain(found) == [2.5, None, [1, 0, 3], {"W_E": 7.0, "W_U": [1.0, 0.0]}, [], [4.0], {}]
    assert plain([]) == []
    assert plain([None]) == [None]


def test_large_whole_numbers_and_float64_keep_every_digit():
    assert plain([torch.tensor(2**53 - 1), torch.tensor(0.1, dtype=torch.float64)]) == [2**53 - 1, 0.1]


def test_no_number_is_told_as_none_where_a_measure_may_be_undefined():
    nan = math.nan
    assert [told.number_or_none(v) for v in (None, nan, 0.0, math.inf)] == [None, None, 0.0, math.inf]
    assert [told.whole_or_none(v) for v in (None, nan, 3.0)] == [None, None, 3]
    assert isinstance(told.whole_or_none(3.0), int)
    assert [told.numbers_or_none(v) for v in (None, [nan, nan], [1.0, 2.0])] == [None, None, [1.0, 2.0]]
    assert told.wholes_or_none([2.0, 0.0]) == [2, 0]
    assert all(isinstance(value, int) for value in told.wholes_or_none([2.0, 0.0]) or [])
    assert told.by_name_or_none({"W_E": nan, "W_L": 0.5}) == {"W_E": None, "W_L": 0.5}


def test_a_mask_is_told_as_the_frequencies_that_it_marks():
    assert told.frequencies([0.0, 1.0, 0.0, 1.0]) == [2, 4]
    assert told.frequencies([0.0, 0.0]) is None
    assert told.frequencies(None) is None


def test_a_mean_is_over_the_places_of_the_mask_alone():
    values = torch.tensor([1.0, math.nan, 5.0, math.inf])
    assert told.mean_over(torch.tensor([True, False, True, False]), values) == 3
    assert told.mean_over(torch.zeros(4, dtype=torch.bool), values).isnan()


def test_a_measure_is_called_with_an_evaluation_and_keeps_what_is_said_of_it():
    @told_as(told.number)
    def twice(x: float) -> torch.Tensor:
        """Two of it."""
        return torch.tensor(2 * x)

    assert (twice(3.0), twice.__name__, twice.__doc__) == (6.0, "twice", "Two of it.")
    assert torch.equal(twice.formula(3.0), torch.tensor(6.0))
    assert isinstance(restricted_loss, Told)
    assert "Nanda et al. 2023" in (restricted_loss.__doc__ or "")
