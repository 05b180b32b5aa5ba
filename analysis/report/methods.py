"""A methods paragraph, made from a run's settings and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.report.words import counted, number, setting, steps

Settings = Mapping[str, Any]

OPERATIONS = {
    "add": "a + b",
    "subtract": "a - b",
    "multiply": "ab",
    "divide": "a/b",
    "quadratic": "a² + ab + b²",
    "cubic": "a³ + ab",
}
NEURONS = {"relu": "ReLU", "gelu": "GELU (the exact one)", "square": "squaring"}
SHUFFLES = {"paper": "random.shuffle of Python", "torch": "torch.randperm on the CPU"}


@dataclass(frozen=True)
class Outcome:
    """What the paragraph says of the training that took place.

    Attributes:
        n_pairs: pairs of the task; None where it could not be made here.
        n_train: of these, trained on.
        step: updates made.
        state: done, running, …
        train_loss, test_loss: at the last logged row.
        logged_step: the step of that row.
    """

    n_pairs: int | None
    n_train: int | None
    step: int
    state: str
    train_loss: float | None = None
    test_loss: float | None = None
    logged_step: int | None = None


def methods(settings: Settings, outcome: Outcome) -> str:
    """The paragraph.

    Args:
        settings: all of them, flat, every derived one filled in.
    """
    parts = [_network(settings), _split(settings, outcome), _noise(settings), _objective(settings)]
    parts += [_optimizer(settings), _rest(settings), _length(settings, outcome), _results(settings, outcome)]
    return " ".join(part for part in parts if part)


def task(settings: Settings) -> str:
    """a + b mod 113; random labels mod 23; my_operations.f mod 23."""
    operation, p = str(settings["data.operation"]), settings["data.p"]
    if operation == "random":
        return f"random labels mod {p}"
    name = OPERATIONS.get(operation, operation)
    return f"({name}) mod {p}" if " " in name else f"{name} mod {p}"


def decay(settings: Settings) -> str:
    """weight decay 1 (decoupled): never without its kind, of which there are two."""
    strength, kind = settings["optimizer.weight_decay"], settings["optimizer.decay"]
    return f"weight decay {setting(strength)} ({'decoupled' if kind == 'decoupled' else 'L2'})"


# --- network and task ---------------------------------------------------------------------------------------


def _network(s: Settings) -> str:
    return f"We trained {_architecture(s)} {_aim(s)}."


def _aim(s: Settings) -> str:
    if s["data.operation"] == "random":
        return f"to give a label, drawn once at random from 0..{s['data.p'] - 1}, for each pair (a, b)"
    if s["data.operation"] not in OPERATIONS:
        return f"to give the answer of the operation {s['data.operation']} mod {s['data.p']} to each pair (a, b)"
    return f"to give {task(s)} for a pair (a, b)"


def _architecture(s: Settings) -> str:
    known = {"transformer": _transformer, "mlp": _mlp, "quadratic": _quadratic}
    describe = known.get(s["model.architecture"])
    return f"the network {s['model.architecture']}" if describe is None else describe(s)


def _transformer(s: Settings) -> str:
    n_layers = counted(s["model.n_layers"], "layer").replace(" ", "-").removesuffix("s")
    norm = "LayerNorm before attention, MLP and unembedding" if s["model.norm"] == "layer" else "no LayerNorm"
    heads = counted(s["model.n_heads"], "attention head")
    parts = [
        f"d_model {s['model.d_model']}",
        f"{heads} of width {s['model.d_head']}",
        f"{s['model.d_mlp']} {_neurons(s)}",
        norm,
        "biases in the MLP only" if s["model.mlp_biases"] else "no biases",
        *(["unembedding tied to the embedding"] if s["model.tied"] else []),
        *_attention_rate(s),
        _outputs(s),
    ]
    article = "an" if n_layers.startswith(("eight", "eleven")) else "a"
    return f'{article} {n_layers} transformer ({", ".join(parts)}), which reads a, b and "=" and answers at "=",'


def _neurons(s: Settings) -> str:
    layer = " a layer" if s["model.architecture"] == "transformer" and s["model.n_layers"] > 1 else ""
    return f"{NEURONS[s['model.activation']]} neurons{layer}"


def _attention_rate(s: Settings) -> list[str]:
    rate = s["model.attention_rate"]
    if rate == 1:
        return []
    return [f"attention weights {setting(rate)} times the learned ones plus {setting(1 - rate)}"]


def _outputs(s: Settings) -> str:
    p = s["data.p"]
    return f'{p + 1} outputs, the {p} answers and "="' if s["model.equals_logit"] else f"{p} outputs"


def _mlp(s: Settings) -> str:
    biases = "biases at neurons and outputs" if s["model.mlp_biases"] else "no biases"
    return (
        f"a network without attention (one embedding of width {s['model.d_model']} for both operands, input weights "
        f"of its own for each, {s['model.d_mlp']} {_neurons(s)}, {biases}, {_outputs(s)})"
    )


def _quadratic(s: Settings) -> str:
    return f"a two-layer network on one-hot operands ({s['model.d_mlp']} {_neurons(s)}, no biases, {_outputs(s)})"


# --- split and labels ---------------------------------------------------------------------------------------


def _split(s: Settings, outcome: Outcome) -> str:
    unordered = s["data.split"] == "unordered"
    what = "unordered pairs, so that (a, b) and (b, a) lie on one side" if unordered else "ordered pairs"
    drawn = f"{SHUFFLES[s['data.split_by']]}, seed {s['data.split_seed']}"
    share = f"the fraction {setting(s['data.frac_train'])} of {what}"
    if outcome.n_pairs is None or outcome.n_train is None:
        return f"Trained on was {share} ({drawn}); the others were the test pairs."
    n_train, n_test = steps(outcome.n_train), steps(outcome.n_pairs - outcome.n_train)
    without = " (b is never 0)" if s["data.operation"] == "divide" else ""
    return (
        f"Of the {steps(outcome.n_pairs)} pairs{without} it was trained on {n_train}, {share} ({drawn}); the other "
        f"{n_test} were the test pairs."
    )


def _noise(s: Settings) -> str:
    noise = s["data.label_noise"]
    if not noise:
        return ""
    return (
        f"A share of {setting(noise)} of the train pairs bore a wrong label, drawn evenly from the other "
        f"{s['data.p'] - 1}."
    )


# --- training -----------------------------------------------------------------------------------------------


def _objective(s: Settings) -> str:
    if s["loss"] == "mse":
        lowered = "the mean squared difference from one-hot labels over pairs and outputs"
        inner = "the error"
    else:
        lowered = "the mean cross-entropy over all outputs"
        inner = "its log-softmax"
    if s["dtype"] == s["loss_dtype"]:
        precision = f"everything was computed in {s['dtype']}"
    else:
        precision = f"{inner} was computed in {s['loss_dtype']}, everything else in {s['dtype']}"
    tf32 = ", products rounded to TF32 on a GPU" if s["allow_tf32"] else ""
    return f"The objective was {lowered}; {precision}{tf32}."


def _optimizer(s: Settings) -> str:
    rate = f"learning rate {setting(s['optimizer.lr'])}{_warm_up(s)}"
    return f"We used {_rule(s)} with {rate} and {_decay(s)}, {_batches(s)}."


def _rule(s: Settings) -> str:
    if s["optimizer.name"] == "sgd":
        momentum = s["optimizer.momentum"]
        return "gradient descent" + (f" with momentum {setting(momentum)}" if momentum else " without momentum")
    name = {"adamw": "AdamW", "adam": "Adam"}[s["optimizer.name"]]
    betas = f"β1 {setting(s['optimizer.beta1'])}, β2 {setting(s['optimizer.beta2'])}"
    return f"{name} ({betas}, eps {setting(s['optimizer.eps'])})"


def _warm_up(s: Settings) -> str:
    n = s["optimizer.warmup_steps"]
    return f" after a linear warm-up of {counted(n, 'update')} (the first has none)" if n else ""


def _decay(s: Settings) -> str:
    strength = s["optimizer.weight_decay"]
    if strength == 0:
        return "no weight decay"
    which = "all parameters" if s["optimizer.decay_target"] == "all" else "matrices only, not biases or LayerNorms"
    if s["optimizer.decay"] == "decoupled":
        return f"decoupled weight decay {setting(strength)} on {which}"
    return f"an L2 term in the gradient, {setting(strength)} times the weights, on {which}"


def _batches(s: Settings) -> str:
    size = s["optimizer.batch_size"]
    if size is None:
        return "all train pairs at each step"
    return f"{steps(size)} train pairs at each step, in an order shuffled anew once all were seen"


def _rest(s: Settings) -> str:
    """The initial weights, and what few runs have."""
    scale = s["model.init_scale"]
    parts = [f"Initial weights were drawn with seed {s['model.init_seed']}"]
    parts += [f"multiplied by {setting(scale)}"] if scale != 1 else []
    text = " and ".join(parts) + "."
    if s["model.output_scale"] != 1:
        text += f" Logits were multiplied by {setting(s['model.output_scale'])}."
    if s["model.dropout"]:
        text += f" Dropout set a share of {setting(s['model.dropout'])} of the neurons to 0 at each step of training."
    return text


# --- how long, and with what result -------------------------------------------------------------------------


def _length(s: Settings, outcome: Outcome) -> str:
    made, asked = steps(outcome.step), steps(s["n_steps"])
    if outcome.state == "done" and outcome.step >= s["n_steps"]:
        return f"Training took {made} steps."
    if outcome.state == "done":
        return f"Training ended at step {made} of {asked}, {_stop_rule(s)}."
    how = {"diverged": "diverged", "failed": "broke off", "interrupted": "stands"}.get(outcome.state, "stood")
    return f"Training {how} at step {made} of {asked}."


def _stop_rule(s: Settings) -> str:
    if s["stop.test_loss"] is None:
        return "by its stop rule"
    more = f"{steps(s['stop.more_steps'])} steps after " if s["stop.more_steps"] else "at "
    return f"{more}the first logged test loss below {setting(s['stop.test_loss'])}"


def _results(s: Settings, outcome: Outcome) -> str:
    """Losses at the end, with what they depend on beside them: they are set by eps and weight decay."""
    if outcome.train_loss is None:
        return ""
    eps = "" if s["optimizer.name"] == "sgd" else f", eps {setting(s['optimizer.eps'])}"
    test = "" if outcome.test_loss is None else f" and the test loss {number(outcome.test_loss)}"
    kind = f"{s['data.split']} split, fraction {setting(s['data.frac_train'])}"
    return (
        f"At step {steps(outcome.logged_step or 0)} the train loss was {number(outcome.train_loss)}{test} nats: "
        f"mean cross-entropies over the {s['data.p']} answers, in float64, of a network in {s['dtype']} ({kind}, "
        f"{decay(s)}{eps})."
    )
