"""The first 30 steps against the authors' own curves: the set-up is theirs. Skipped where the file is absent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published import published

from grok_sweep import train
from grok_sweep.config import DataConfig, ModelConfig, RunConfig, resolved
from grok_sweep.models.parameters import unflatten
from grok_sweep.tasks import make_task

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "authors_first_steps.json").read_text())
LIMIT = GOLDEN["tolerance"]["standard_deviations"]
STEPS = slice(6, 31)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def first_losses(frac: float, seed: int, **model) -> np.ndarray:
    """Train and test loss over all outputs at steps 6..30, [25, 2]."""
    config = resolved(
        RunConfig(data=DataConfig(frac_train=frac, split_seed=seed), model=ModelConfig(init_seed=seed, **model))
    )
    task = make_task(config.data)
    fixed = train.setup(config, task)
    state = train.initial_state(fixed)
    states, losses, test = train.training(state, fixed), [], task.test_mask
    for step in range(STEPS.stop):
        after = next(states)
        if step >= STEPS.start:
            weights = unflatten(state.weights, fixed.shapes)
            with torch.no_grad():
                logits = fixed.network.forward(weights, task.a[test], task.b[test]).logits
            test_loss = torch.nn.functional.cross_entropy(logits.double(), task.labels[test])
            # The objective of an update is the train loss of the network before it.
            losses.append([after.objective, float(test_loss)])
        state = after
    return np.array(losses)


def deviations(frac: float, n_seeds: int, **model) -> np.ndarray:
    """The authors' curves in standard deviations of ours, steps 6..30, [25, 2]."""
    file = np.load(published("frac_train_sweep.npz"))
    theirs = np.stack([file[f"{split}_{frac}"][STEPS] for split in ("train", "test")], 1)
    ours = np.stack([first_losses(frac, seed, **model) for seed in range(n_seeds)])
    return (theirs - ours.mean(0)) / ours.std(0, ddof=1)


@pytest.mark.slow  # a minute or two each; .ci/run runs that of 0.5
@pytest.mark.parametrize("frac", [0.5, 0.7])
def test_the_authors_run_is_one_of_ours(frac):
    assert np.abs(deviations(frac, n_seeds=8)).max() < LIMIT


@pytest.mark.slow
def test_another_number_of_outputs_is_told_apart():
    """The same comparison tells 113 outputs from the authors' 114: it can fail."""
    assert np.abs(deviations(0.5, n_seeds=4, equals_logit=False)).max() > 1.2 * LIMIT
