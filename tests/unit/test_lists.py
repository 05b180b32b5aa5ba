"""Lists by key: every thing at one place, in its key's list, in order; what fills up counts for nothing."""

import pytest
import torch

from grok_sweep.lists import lists


@pytest.mark.parametrize("keys", [[3, 0, 3, 3, 1], [2], [0, 0, 0], [4, 3, 2, 1, 0]])
def test_every_thing_is_in_its_keys_list_once_and_in_order(keys):
    found = lists(torch.tensor(keys), 5)
    for key in range(5):
        is_thing = found.is_thing[key, :, 0] == 1
        assert found.things[key][is_thing].tolist() == [i for i, k in enumerate(keys) if k == key]
        assert is_thing.tolist() == sorted(is_thing.tolist(), reverse=True), "filled up at the end"


def test_sums_over_lists_and_back():
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(7, (40,), generator=generator)
    values = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    found = lists(keys, 7)
    expected = torch.zeros(7, 3, dtype=torch.float64).index_add_(0, keys, values)
    torch.testing.assert_close(found.masked(values).sum(1), expected, rtol=0, atol=1e-14)
    assert torch.equal(found.put_back(found.taken(values)), values)
