"""Every ablation beside its formula written out plainly, on generic weights; sizes that no axis can mistake."""

import math

import pytest
import torch
from evaluations import TASKS, of_logits, random, task_of
from networks import small_network
from torch import Tensor

from analysis.circuit import verdict
from analysis.circuit.ablations import ablations
from analysis.circuit.attention import heads
from analysis.circuit.logits import logits
from analysis.circuit.neuron_logit_map import neuron_logit_map
from analysis.circuit.neurons import replaced_by_fit
from analysis.circuit.subject import Subject, subject
from grok_sweep import fourier
from grok_sweep.measures.losses import excluded_loss, restricted_loss

P, K = 11, [2, 5]
SAME = {"rel": 1e-9}


@pytest.fixture(scope="module")
def made() -> Subject:
    network, weights = small_network(P)
    return subject(weights, task_of("add", P), network, key_freqs=K)


@pytest.fixture(scope="module")
def found(made: Subject) -> dict[str, float]:
    return {each.name: each.losses["all"] for each in ablations(made)}


def loss(made: Subject, changed: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(changed.expand(made.task.n_pairs, P), made.task.answers))


# --- logits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation, p", TASKS[:4])
def test_restricted_and_excluded_are_the_measures(operation, p):
    task = task_of(operation, p)
    made = Subject(of_logits(task, 3 * random(task.n_pairs, p)), given_keys=(1, 3))
    losses = {each.name: each.losses for each in ablations_of_logits(made)}
    train = task.train_mask
    assert losses["restricted"]["all"] == pytest.approx(restricted_loss(made.evaluation, [1, 3]), **SAME)
    assert losses["restricted"]["train"] == pytest.approx(restricted_loss(made.evaluation, [1, 3], train), **SAME)
    assert losses["excluded"]["train"] == pytest.approx(excluded_loss(made.evaluation, [1, 3]), **SAME)
    assert losses["excluded.3"]["train"] == pytest.approx(float(made.evaluation.excluded_loss_k[2]), **SAME)


def ablations_of_logits(made: Subject):
    """Those that read no weights: the subject holds none."""
    from analysis.circuit.ablations import Ablation, _of_logits

    return [Ablation(name, what, part, made.losses(make())) for name, what, part, make in _of_logits(made)]


@pytest.mark.parametrize(
    "suffix, kept",
    [("_2x2", lambda u, v: u == v and u > 0), ("_3x3", lambda u, v: (u == v or 0 in (u, v)) and u + v > 0)],
)
def test_blocks_are_those_of_the_2d_transform(made: Subject, found, suffix, kept):
    """By the whole 2-D transform of the logits and a mask over its p² components."""
    basis, table = fourier.basis(P), made.evaluation.logits.view(P, P, P)
    spectrum = torch.einsum("ui,vj,ijc->uvc", basis, basis, table)
    k = fourier.row_frequency(P).tolist()
    mask = torch.tensor([[kept(k[u], k[v]) and {k[u], k[v]} - {0} <= set(K) for v in range(P)] for u in range(P)])
    block = torch.einsum("ui,vj,uvc->ijc", basis, basis, spectrum * mask[..., None]).reshape(-1, P)
    mean = made.evaluation.logits.mean(0)
    assert found[f"restricted{suffix}"] == pytest.approx(loss(made, mean + block), **SAME)
    assert found[f"excluded{suffix}"] == pytest.approx(loss(made, made.evaluation.logits - block), **SAME)


def test_the_fit_is_least_squares(made: Subject, found):
    """On the P³ logits, by a solver; taken off the logits, what is left is orthogonal to it."""
    task = made.task
    away = ((task.a + task.b)[:, None] - torch.arange(P)).double()
    waves = torch.stack([(2 * math.pi * k / P * away).cos().flatten() for k in K], 1)
    flat = made.evaluation.logits.flatten()
    alphas = torch.linalg.lstsq(waves, flat[:, None] - flat.mean()).solution[:, 0]
    fitted = (waves @ alphas).view(-1, P)
    assert found["fit"] == pytest.approx(loss(made, fitted), **SAME)
    assert found["excluded_3d"] == pytest.approx(loss(made, made.evaluation.logits - fitted), **SAME)
    told = logits(made)
    assert list(told.alphas.values()) == pytest.approx(alphas.tolist(), **SAME)
    margins = [
        sum(a * (1 - math.cos(2 * math.pi * k * d / P)) for a, k in zip(alphas.tolist(), K, strict=True))
        for d in range(1, 6)
    ]
    assert told.fitted_least == pytest.approx((min(margins), margins.index(min(margins)) + 1), **SAME)


# --- neurons ------------------------------------------------------------------------------------------------


def plain(made: Subject) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """resid_mid, mlp_post, W_L and b_out W_U over the answers."""
    w, activations = made.weights, made.evaluation.activations
    assert activations.resid_mid is not None
    assert activations.mlp_post is not None
    W_U = w["W_U"][:, :P]
    return activations.resid_mid, activations.mlp_post, w["W_out"] @ W_U, w["b_out"] @ W_U


def test_skips_and_neurons(made: Subject, found):
    mid, post, W_L, constant = plain(made)
    W_U = made.weights["W_U"][:, :P]
    assert found["skip_zero"] == pytest.approx(loss(made, post @ W_L + constant), **SAME)
    assert found["skip_mean"] == pytest.approx(loss(made, post @ W_L + mid.mean(0) @ W_U + constant), **SAME)
    assert found["mlp_zero"] == pytest.approx(loss(made, mid @ W_U + constant), **SAME)
    assert found["mlp_mean"] == pytest.approx(loss(made, post.mean(0) @ W_L + mid @ W_U + constant), **SAME)


def test_neurons_on_and_off_the_directions_of_W_L(made: Subject, found):
    """The span of u_k and v_k by its pseudo-inverse."""
    mid, post, W_L, constant = plain(made)
    rows = torch.cat([fourier.basis(P)[2 * k - 1 : 2 * k + 1] for k in K]) @ W_L.T
    onto = torch.linalg.pinv(rows) @ rows
    past = mid @ made.weights["W_U"][:, :P] + constant
    assert found["mlp_on_W_L"] == pytest.approx(loss(made, past + post @ onto @ W_L), **SAME)
    assert found["mlp_off_W_L"] == pytest.approx(loss(made, past + (post - post @ onto) @ W_L), **SAME)


def features(k: int) -> Tensor:
    """{1, cos, sin}(w a) x {1, cos, sin}(w b), not normalised: [n_pairs, 9]."""
    task = task_of("add", P)
    of = [
        torch.stack([x.double() * 0 + 1, (w := 2 * math.pi * k / P * x.double()).cos(), w.sin()], 1)
        for x in (task.a, task.b)
    ]
    return torch.einsum("iu,iv->iuv", *of).flatten(1)


def fitted(columns: Tensor, by: Tensor) -> Tensor:
    return by @ torch.linalg.lstsq(by, columns).solution


def test_neurons_replaced_and_without_a_frequency(made: Subject, found):
    """By least squares on the nine products; the best frequency is the one with the least residual."""
    mid, post, W_L, constant = plain(made)
    past = mid @ made.weights["W_U"][:, :P] + constant
    fits = torch.stack([fitted(post, features(k)) for k in range(1, 6)])
    residuals = (fits - post).square().sum(1)
    best = made.evaluation.neuron_blocks.shares.argmax(0)
    # A neuron that fires on one pair alone has the same residual at every frequency.
    assert (residuals.gather(0, best[None])[0] <= residuals.amin(0) + 1e-12).all()
    of_best = fits[best, :, torch.arange(post.shape[1])].T
    shares = 1 - (of_best - post).square().sum(0) / (post - post.mean(0)).square().sum(0)
    some = float(shares.median())
    changed = torch.where(shares > some, of_best, post)
    assert torch.allclose(replaced_by_fit(made, some), changed, atol=1e-10)
    assert found["neurons_all_fitted"] == pytest.approx(loss(made, past + of_best @ W_L), **SAME)
    for k in K:
        left = post - fits[k - 1] + post.mean(0)
        assert found[f"neurons_without.{k}"] == pytest.approx(loss(made, past + left @ W_L), **SAME)


def test_neurons_restricted_and_excluded(made: Subject, found):
    mid, post, W_L, constant = plain(made)
    past, s = mid @ made.weights["W_U"][:, :P] + constant, (made.task.a + made.task.b).double()
    angles = [2 * math.pi * k / P * s for k in K]
    waves = torch.stack([wave for angle in angles for wave in (angle.cos(), angle.sin())], 1)
    along = fitted(post - post.mean(0), waves)
    assert found["neurons_restricted"] == pytest.approx(loss(made, past + (post.mean(0) + along) @ W_L), **SAME)
    assert found["neurons_excluded"] == pytest.approx(loss(made, past + (post - along) @ W_L), **SAME)


def test_directions_of_W_L_explain_what_a_regression_says(made: Subject):
    _, post, W_L, _ = plain(made)
    told = neuron_logit_map(made)
    assert told is not None
    s = (made.task.a + made.task.b).double()
    for direction in told.directions:
        row = 2 * direction.k - (direction.wave == "cos")
        y = post @ (W_L @ fourier.basis(P)[row])
        angle = 2 * math.pi * direction.k / P * s
        wave = angle.cos() if direction.wave == "cos" else angle.sin()
        by = torch.stack([torch.ones_like(wave), wave], 1)
        solution = torch.linalg.lstsq(by, y[:, None]).solution[:, 0]
        residual = (y - by @ solution).square().sum() / (y - y.mean()).square().sum()
        assert direction.fve == pytest.approx(1 - float(residual), **SAME)
        assert direction.coefficient == pytest.approx(float(solution[1]), **SAME)


# --- attention ----------------------------------------------------------------------------------------------


def read(made: Subject, mid: Tensor) -> Tensor:
    w = made.weights
    post = torch.relu(mid @ w["W_in"] + w["b_in"])
    return (mid + post @ w["W_out"] + w["b_out"]) @ w["W_U"][:, :P]


def by_position(made: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Streams [n_pairs, 3, d_model], scores [n_pairs, n_heads, 3], what heads write [n_pairs, n_heads, 3, d]."""
    w, task = made.weights, made.task
    tokens = torch.stack([task.a, task.b, torch.full_like(task.a, P)], 1)
    x = w["W_E"][tokens] + w["W_pos"]
    q = torch.einsum("nd,hdk->nhk", x[:, 2], w["W_Q"])
    scores = torch.einsum("nhk,npd,hdk->nhp", q, x, w["W_K"]) / math.sqrt(w["W_Q"].shape[2])
    return x, scores, torch.einsum("npd,hdk,hke->nhpe", x, w["W_V"], w["W_O"])


def test_heads_and_their_skip(made: Subject, found):
    x, scores, written = by_position(made)
    out = torch.einsum("nhp,nhpe->nhe", scores.softmax(2), written)
    pre = x[:, 2]
    assert found["attn_skip_zero"] == pytest.approx(loss(made, read(made, out.sum(1))), **SAME)
    assert found["heads_zero"] == pytest.approx(loss(made, read(made, pre)), **SAME)
    assert found["heads_mean"] == pytest.approx(loss(made, read(made, pre + out.sum(1).mean(0))), **SAME)
    for h in range(out.shape[1]):
        without = pre + out.sum(1) - out[:, h]
        assert found[f"head_zero.{h}"] == pytest.approx(loss(made, read(made, without)), **SAME)
        assert found[f"head_mean.{h}"] == pytest.approx(loss(made, read(made, without + out[:, h].mean(0))), **SAME)


def test_other_patterns(made: Subject, found):
    """The tangent, the least-squares line, half and half."""
    x, scores, written = by_position(made)
    difference = scores[:, :, 0] - scores[:, :, 1]

    def with_pattern(to_a: Tensor, to_b: Tensor, to_equals: Tensor) -> float:
        pattern = torch.stack([to_a, to_b, to_equals], 2)
        return loss(made, read(made, x[:, 2] + torch.einsum("nhp,nhpe->ne", pattern, written)))

    half, zero = torch.full_like(difference, 0.5), torch.zeros_like(difference)
    assert found["attn_tangent"] == pytest.approx(
        with_pattern(half + difference / 4, half - difference / 4, zero), **SAME
    )
    assert found["attn_uniform"] == pytest.approx(with_pattern(half, half, zero), **SAME)
    pattern, line = scores.softmax(2), []
    for h in range(difference.shape[1]):
        by = torch.stack([torch.ones_like(difference[:, h]), difference[:, h]], 1)
        line.append(fitted(pattern[:, h, :1], by)[:, 0])
    to_a, to_equals = torch.stack(line, 1), pattern[:, :, 2]
    assert found["attn_linear"] == pytest.approx(with_pattern(to_a, 1 - to_equals - to_a, to_equals), **SAME)


def test_a_pattern_at_nyquist_is_fitted():
    """(-1)^a - (-1)^b: one direction, no sine."""
    task = task_of("add", 12)
    tilt = 0.2 * ((-1.0) ** task.a - (-1.0) ** task.b).double()
    pattern = torch.stack([0.5 + tilt, 0.5 - tilt, torch.zeros_like(tilt)], 1)[:, None, :]
    told = heads(Subject(of_logits(task, random(144, 12), attn_pattern=pattern)))
    assert told is not None
    assert (told[0].k, told[0].beta) == (6, 0.0)
    assert (told[0].fve, told[0].alpha) == pytest.approx((1.0, 0.2))


# --- the verdict's null -------------------------------------------------------------------------------------


def test_the_null_has_as_many_frequencies_as_the_network(made: Subject):
    judged = verdict.judge(made, torch.Generator().manual_seed(4), 3)
    assert judged is not None
    generator = torch.Generator().manual_seed(4)
    expected = []
    for _ in range(3):
        named = verdict.relabelled(made, generator)
        dearest = (named.excluded_loss_k.argsort(descending=True)[: len(K)] + 1).tolist()
        expected.append(excluded_loss(named, dearest))
    assert judged.of("excluded_loss").null == pytest.approx(sorted(expected), rel=1e-12)


def test_wrong_answers_are_as_far_on_either_side():
    task = task_of("add", 13)
    right = torch.nn.functional.one_hot(task.answers, 13).double()
    beside = [torch.nn.functional.one_hot((task.answers + d) % 13, 13).double() for d in (4, -4)]
    outputs = 8 * right + torch.where(task.a[:, None] < 6, beside[0], beside[1])
    told = logits(Subject(of_logits(task, outputs)))
    assert [(each.distance, each.share) for each in told.runners_up] == [(4, 1.0)]
