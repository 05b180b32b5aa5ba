"""The step: losses, gradients, and equality with the plain reference through grokking."""

import json
from pathlib import Path

import pytest
import torch
from networks import VARIANTS, reference_of, small_network
from reference import LOSSES, ReferenceTraining, pairs_and_labels, reference_logits

from grok_sweep import train
from grok_sweep.config import DataConfig, Dtype, Loss, ModelConfig, OptimizerConfig, RunConfig, resolved
from grok_sweep.models.parameters import flatten, unflatten, weights_hash
from grok_sweep.optimizers import OptimizerState
from grok_sweep.phases import crossing
from grok_sweep.tasks import make_task

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "step_equality.json").read_text())


def settings(p, frac, d_model, lr, dtype="float64", **optimizer) -> RunConfig:
    return resolved(
        RunConfig(
            data=DataConfig(p=p, frac_train=frac),
            model=ModelConfig(d_model=d_model),
            optimizer=OptimizerConfig(lr=lr, **optimizer),
            dtype=Dtype[dtype],
        )
    )


def beside_the_reference(config: RunConfig):
    """Our states and the plain reference's training from the same initial weights."""
    task = make_task(config.data)
    fixed = train.setup(config, task)
    state = train.initial_state(fixed)
    tokens, labels = pairs_and_labels(config.data.p)
    reference = ReferenceTraining(
        unflatten(state.weights, fixed.shapes),
        tokens[task.train_mask],
        labels[task.train_mask],
        lr=config.optimizer.lr,
    )
    return task, fixed, train.training(state, fixed), reference


def difference(vector, shapes, reference) -> float:
    """Largest relative difference over the weight tensors."""
    ours = unflatten(vector, shapes)
    plain = {name: w.detach() for name, w in reference.weights.items()}
    return max(float((ours[name] - w).norm() / w.norm()) for name, w in plain.items() if w.any())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "p, frac", [(31, 0.7), *(pytest.param(p, 0.5, marks=pytest.mark.slow, id=f"{p}") for p in (59, 113))]
)
def test_float64_step_equals_the_reference_through_grokking(p, frac):
    """p = 59 takes minutes, and .ci/run runs it; p = 113 is for `make test-slow`."""
    config = settings(p=p, frac=frac, d_model=64, lr=3e-3)
    task, fixed, states, reference = beside_the_reference(config)
    tokens, labels = pairs_and_labels(p)
    test, worst = task.test_mask, 0.0
    accuracies = {"ours": [], "reference": []}
    for i in range(1, 1001):
        state, loss = next(states), reference.step()
        assert state.objective == pytest.approx(loss, rel=1e-9)
        if i % 20 == 0:
            worst = max(worst, difference(state.weights, fixed.shapes, reference))
            both = {"ours": unflatten(state.weights, fixed.shapes), "reference": reference.weights}
            for name, weights in both.items():
                with torch.no_grad():
                    answers = reference_logits(weights, tokens[test])[:, -1, :p].argmax(-1)
                accuracies[name].append(float((answers == labels[test]).double().mean()))
    print(f"largest relative difference of a weight tensor: {worst:.1e}")
    assert worst < GOLDEN[f"float64_p{p}_1000_steps"]["tolerance"]
    looks = list(range(20, 1001, 20))
    t_test = {name: crossing(looks, values, 0.9).first for name, values in accuracies.items()}
    assert t_test["ours"] == t_test["reference"]
    assert t_test["ours"] is not None, "the run was to grok within 1,000 steps"
    assert accuracies["ours"][4] < 0.9, "at step 100 it was to have memorised only"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_float32_step_equals_the_reference_for_ten_steps(seed):
    """Where a ReLU's input is 0 to rounding, it falls on one side or the other with the order of a sum, and Adam
    makes whole steps of that; of two million inputs one does every five steps or so (docs/decisions.md). From such a
    step both go on at the reference's state; all others agree, those since the last such one taken together."""
    config = settings(p=113, frac=0.3, d_model=128, lr=1e-3, dtype="float32")
    config.data.split_seed = config.model.init_seed = seed
    _, fixed, _, reference = beside_the_reference(config)
    state, n_compared, worst = train.initial_state(fixed), 0, 0.0
    for _ in range(10):
        ties = inputs_on_two_sides(unflatten(state.weights, fixed.shapes), reference, fixed)
        state, loss = next(train.training(state, fixed)), reference.step()
        assert state.objective == pytest.approx(loss, rel=1e-6)
        if len(ties):
            assert len(ties) <= 3
            assert ties.abs().max() < 1e-6, "two sides of 0, and not by rounding"
            moments = {mean: flatten(of, fixed.shapes) for mean, of in reference.moments().items()}
            weights = flatten(reference.weights, fixed.shapes).detach().clone()
            state = train.TrainState(state.step, weights, OptimizerState(moments, state.step))
        else:
            n_compared += 1
            worst = max(worst, difference(state.weights, fixed.shapes, reference))
    print(f"largest relative difference of a weight tensor: {worst:.1e}, {n_compared} steps")
    assert worst < GOLDEN["float32_p113_10_steps"]["tolerance"]
    assert n_compared >= 5


def inputs_on_two_sides(weights, reference, fixed):
    """The float64 inputs of those ReLUs that our forward pass and the reference's put on different sides of 0."""
    a, b, seen = fixed.batch.a, fixed.batch.b, []
    with torch.no_grad():
        reference_logits(reference.weights, reference.tokens, seen=seen)
        ours = fixed.network.forward(weights, a, b).mlp_pre
        exact = fixed.network.forward({name: w.double() for name, w in weights.items()}, a, b).mlp_pre
    return exact[(ours > 0) != (seen[0][:, -1] > 0)]


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_equals_autograd_of_the_reference(variant, loss):
    config = settings(13, 0.4, 16, 1e-2)
    config.loss = loss
    network, generic = small_network(13, **VARIANTS[variant])
    config.model = network.config
    task = make_task(config.data)
    fixed = train.setup(config, task)
    objective, ours = train.gradient(flatten(generic, fixed.shapes), fixed, fixed.batch)
    weights = {name: w.clone().requires_grad_() for name, w in generic.items()}
    tokens, labels = pairs_and_labels(13)
    plain = LOSSES[loss.name](reference_of(network)(weights, tokens[task.train_mask]), labels[task.train_mask])
    plain.backward()
    assert float(objective) == pytest.approx(plain.item(), rel=1e-13)
    for name, part in unflatten(ours, fixed.shapes).items():
        expected = weights[name].grad
        if expected is None or not expected.any():
            assert not part.any(), f"{name} has a gradient"
        else:
            # Float64: sums over some dozen pairs in another order.
            assert (part - expected).norm() <= 1e-12 * expected.norm(), name


def test_the_objectives_gradient_keeps_its_direction_near_zero_loss():
    """float64 log-softmax on float32 logits: at a loss of 1e-9 a float32 one has no gradient left."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 31, generator=generator)
    labels = torch.randint(31, (200,), generator=generator)
    logits[torch.arange(200), labels] += 27
    exact = logits.double().requires_grad_()
    torch.nn.functional.cross_entropy(exact, labels).backward()
    loss, gradient = train.objective_gradient(logits, labels, torch.float64)
    assert float(loss) == pytest.approx(torch.nn.functional.cross_entropy(exact, labels).item(), rel=1e-6)
    assert cosine(gradient, exact.grad) > 1 - 1e-12
    _, rounded = train.objective_gradient(logits, labels, torch.float32)
    assert cosine(rounded, exact.grad) < 0.9


@pytest.mark.parametrize("equals_logit", [True, False])
def test_the_squared_error_is_torchs_over_all_outputs(equals_logit):
    """The "=" output counts: it is to be 0. float32 logits, a float64 loss."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7 + equals_logit, generator=generator)
    labels = torch.randint(7, (50,), generator=generator)
    exact = logits.double().requires_grad_()
    target = torch.nn.functional.one_hot(labels, logits.shape[1]).double()
    expected = torch.nn.functional.mse_loss(exact, target)
    expected.backward()
    before = logits.clone()
    loss, gradient = train.squared_error_gradient(logits, labels, torch.float64)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-14)
    assert gradient.dtype is torch.float32
    assert torch.allclose(gradient.double(), exact.grad, rtol=1e-7)
    assert torch.equal(logits, before), "the logits were written over"
    loss_of_double, _ = train.squared_error_gradient(exact.detach(), labels, torch.float64)
    assert float(loss_of_double) == pytest.approx(expected.item(), rel=1e-14)


def test_a_small_squared_error_is_taken_in_float64():
    """Logits 1e-4 off: in float32 the mean of their squares has seven digits."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(31, (4000,), generator=generator)
    logits = torch.nn.functional.one_hot(labels, 31) + 1e-4 * torch.randn(4000, 31, generator=generator)
    exact = torch.nn.functional.mse_loss(logits.double(), torch.nn.functional.one_hot(labels, 31).double())
    loss, _ = train.squared_error_gradient(logits, labels, torch.float64)
    assert float(loss) == pytest.approx(exact.item(), rel=1e-14, abs=0)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Without the guard of torch's own, which takes vectors of norm 1e-10 for 0."""
    return float((a.double() * b.double()).sum() / a.double().norm() / b.double().norm())


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_is_reproducible_bit_for_bit(n_threads):
    """Large enough that gathers and products are split between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        config = settings(59, 0.5, 64, 3e-3, dtype="float32")
        fixed = train.setup(config, make_task(config.data))
        hashes = set()
        for _ in range(3):
            states = train.training(train.initial_state(fixed), fixed)
            hashes.add([weights_hash(next(states).weights) for _ in range(15)][-1])
        assert len(hashes) == 1
    finally:
        torch.set_num_threads(before)
