"""The written-out gradient: autograd's to rounding, whatever the chunks, dtypes and buffers of the call before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import ONE_LAYER, SMALL, small_network
from torch import Tensor

from grok_sweep import train
from grok_sweep.config import DataConfig, Dtype, Loss, ModelConfig, RunConfig, resolved
from grok_sweep.models import build, pairs
from grok_sweep.models.parameters import flatten, unflatten
from grok_sweep.models.transformer import Transformer
from grok_sweep.optimizers import hyper_at
from grok_sweep.tasks import make_task
from grok_sweep.train import Setup


def setup_of(dtype: Dtype = Dtype.float64, loss: Loss = Loss.cross_entropy, **model: Any) -> tuple[Setup, Tensor]:
    """p = 13 with 67 train pairs, and generic weights."""
    network, weights = small_network(13, **model)
    config = resolved(RunConfig(data=DataConfig(p=13, frac_train=0.4), model=network.config, loss=loss, dtype=dtype))
    fixed = train.setup(config, make_task(config.data))
    assert fixed.by_hand is not None
    return fixed, flatten(weights, fixed.shapes).to(getattr(torch, dtype.name))


def autograd(fixed: Setup, weights: Tensor) -> tuple[Tensor, Tensor]:
    return train.gradient(weights, replace(fixed, by_hand=None), fixed.batch)


@pytest.mark.parametrize("chunk", [1, 20, 66, 67, 1000])
@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("variant", ONE_LAYER)
def test_it_is_autograds_in_float64(monkeypatch, variant, loss, chunk):
    monkeypatch.setattr(pairs, "CHUNK", chunk)
    fixed, weights = setup_of(loss=loss, **ONE_LAYER[variant])
    objective, ours = train.gradient(weights, fixed, fixed.batch)
    expected_objective, expected = autograd(fixed, weights)
    assert float(objective) == pytest.approx(float(expected_objective), rel=1e-13)
    of_parts = zip(unflatten(ours, fixed.shapes).items(), unflatten(expected, fixed.shapes).values(), strict=True)
    for (name, part), plain in of_parts:
        # Sums over some dozen pairs in another order.
        assert (part - plain).norm() <= 1e-12 * plain.norm(), name


@pytest.mark.parametrize("batch", ["one pair", "one first operand", "one second operand", "shuffled"])
def test_pairs_may_come_in_any_order_and_share_any_operand(batch):
    """Lists of pairs by operand, of any lengths: some empty, one with all pairs."""
    fixed, weights = setup_of()
    a, b = fixed.batch.a, fixed.batch.b
    chosen = {
        "one pair": torch.tensor([40]),
        "one first operand": (a == 5).nonzero()[:, 0],
        "one second operand": (b == 5).nonzero()[:, 0],
        "shuffled": torch.randperm(len(a), generator=torch.Generator().manual_seed(0)),
    }[batch]
    some = fixed.batch[chosen]
    ours = train.gradient(weights, fixed, some)[1]
    expected = train.gradient(weights, replace(fixed, by_hand=None), some)[1]
    assert (ours - expected).norm() <= 1e-12 * expected.norm()


def test_what_it_gives_is_for_any_further_use():
    """Of what is computed without autograd's bookkeeping, nothing leaves: it could not be differentiated again."""
    fixed, weights = setup_of()
    assert not any(tensor.is_inference() for tensor in train.gradient(weights, fixed, fixed.batch))
    after = train.step(train.initial_state(fixed), fixed, hyper_at(fixed.config.optimizer, 0))
    assert not after.weights.is_inference()


def test_it_is_autograds_to_rounding_in_float32_at_the_papers_size():
    config = resolved(RunConfig())
    fixed = train.setup(config, make_task(config.data))
    weights = train.initial_state(fixed).weights
    exactly = autograd(replace(fixed, config=replace(config, dtype=Dtype.float64)), weights.double())[1]
    (_, ours), (_, plain) = train.gradient(weights, fixed, fixed.batch), autograd(fixed, weights)
    for name, exact in unflatten(exactly, fixed.shapes).items():
        errors = [
            float((unflatten(g, fixed.shapes)[name].double() - exact).norm() / exact.norm()) for g in (ours, plain)
        ]
        assert errors[0] < 1e-6, name
        assert errors[0] < 3 * errors[1], name


def test_a_call_leaves_nothing_in_the_next_and_takes_nothing_from_the_last():
    fixed, weights = setup_of()
    small = train.Batch(*(t[:9] for t in (fixed.batch.a, fixed.batch.b, fixed.batch.labels)))
    first = [train.gradient(weights, fixed, batch)[1] for batch in (fixed.batch, small)]
    kept = [gradient.clone() for gradient in first]
    train.gradient(weights.float(), fixed, fixed.batch)
    train.gradient(2 * weights, fixed, fixed.batch)
    again = [train.gradient(weights, fixed, batch)[1] for batch in (fixed.batch, small)]
    assert all(torch.equal(one, other) for one, other in zip(kept, first, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_its_logits_are_the_networks():
    """To rounding: what is trained is what is measured."""
    fixed, weights = setup_of(Dtype.float32)
    assert fixed.by_hand is not None
    seen: list[Tensor] = []

    def look(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(logits.clone())
        return logits.sum(), torch.ones_like(logits)

    parts = [unflatten(vector[None], fixed.shapes) for vector in (weights, torch.zeros_like(weights))]
    fixed.by_hand.gradient(*parts, fixed.batch.a, fixed.batch.b, fixed.batch.labels, look)
    expected = fixed.network.forward(unflatten(weights, fixed.shapes), fixed.batch.a, fixed.batch.b).logits
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


def test_with_dropout_and_for_other_networks_it_is_autograd():
    fixed, weights = setup_of(dropout=0.5)
    dropout = train.dropout_of(fixed.config.model, 3)
    ours = train.gradient(weights, fixed, fixed.batch, dropout)
    again = train.dropout_of(fixed.config.model, 3)
    expected = train.gradient(weights, replace(fixed, by_hand=None), fixed.batch, again)
    assert torch.equal(ours[1], expected[1])
    assert not torch.equal(ours[1], train.gradient(weights, fixed, fixed.batch)[1])

    class Mine(Transformer):
        """May have another forward."""

    assert build.by_hand(Mine(fixed.config.model, 13)) is None
    for model in ({"n_layers": 2}, {"architecture": "mlp", "equals_logit": False}):
        other = resolved(RunConfig(data=DataConfig(p=13, frac_train=0.4), model=ModelConfig(**(SMALL | model))))  # type: ignore[arg-type]
        assert train.setup(other, make_task(other.data)).by_hand is None


def test_what_computes_gradients_is_said():
    fixed, _ = setup_of()
    assert fixed.gradient_by == "by hand, folded, 2048 pairs at a time"
    assert replace(fixed, by_hand=None).gradient_by == "autograd"
    assert replace(fixed, config=replace(fixed.config, compile=True)).gradient_by == "compiled"
