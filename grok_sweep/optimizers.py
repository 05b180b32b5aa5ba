"""Update rules: pure functions of (weights, gradient, state, hyper-parameters), number by number as torch.optim's.

They act on one flat vector of all parameters, or on one a row for each of several networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from grok_sweep.config import DecayTarget, OptimizerConfig, OptimizerName
from grok_sweep.models.parameters import Shapes

Number = float | Tensor


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of one update; `lr` already holds the warm-up.

    Attributes:
        is_decoupled: weight decay shrinks the weights; False: it is added to the gradient (L2).
    """

    lr: float
    weight_decay: float
    beta1: float
    beta2: float
    eps: float
    momentum: float = 0.0
    is_decoupled: bool = True


@dataclass(frozen=True)
class OptimizerState:
    """What the next update continues: running means by torch.optim's names, and the number of updates made."""

    moments: dict[str, Float[Tensor, " n_parameters"]]
    n_updates: int


def moment_names(config: OptimizerConfig) -> tuple[str, ...]:
    """The running means that this optimizer keeps."""
    if config.name is OptimizerName.sgd:
        return ("momentum_buffer",) if config.momentum else ()
    return ("exp_avg", "exp_avg_sq")


def start(config: OptimizerConfig, weights: Float[Tensor, " n_parameters"]) -> OptimizerState:
    return OptimizerState({name: torch.zeros_like(weights) for name in moment_names(config)}, 0)


def hyper_at(config: OptimizerConfig, n_updates: int) -> Hyper:
    """Hyper-parameters of the update after `n_updates`: lr * min(n_updates / warmup_steps, 1).

    The first update has learning rate 0, as the authors' LambdaLR(min(step / 10, 1)).
    """
    warmed = min(n_updates / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    return Hyper(
        config.lr * warmed, config.weight_decay, config.beta1, config.beta2, config.eps, config.momentum,
        config.is_decoupled,
    )  # fmt: skip


def decay_mask(shapes: Shapes, target: DecayTarget, like: Tensor) -> Float[Tensor, " n_parameters"] | None:
    """1 where weight decay acts, 0 elsewhere; None where it acts on every parameter."""
    if target is DecayTarget.all:
        return None
    parts = [torch.full((torch.Size(s).numel(),), float(len(s) > 1)) for s in shapes.values()]
    return torch.cat(parts).to(like)


@dataclass(frozen=True)
class Factors:
    """What the numbers of one update are multiplied by: numbers, or a column with one for each row of weights.

    They are reckoned in Python's float64, whoever multiplies by them: so that the bits are the same.

    Attributes:
        kept, shrunk: shares of a weight that decoupled decay leaves and takes.
        l2: what of a weight is added to its gradient.
        new_1, old_2, new_2: weights of the gradient and of the earlier mean square in the running means.
        root_2: root of the second mean's bias correction.
        step: of the bias-corrected mean over root mean square.
    """

    lr: Number
    kept: Number
    shrunk: Number
    l2: Number
    new_1: Number
    old_2: Number
    new_2: Number
    root_2: Number
    eps: Number
    step: Number
    momentum: Number


def factors(hyper: Hyper, n_updates: int) -> Factors:
    """Those of the update after `n_updates`."""
    t, decay = n_updates + 1, hyper.lr * hyper.weight_decay
    return Factors(
        lr=hyper.lr, kept=1 - decay, shrunk=decay, l2=hyper.weight_decay,
        new_1=1 - hyper.beta1, old_2=hyper.beta2, new_2=1 - hyper.beta2,
        root_2=(1 - hyper.beta2**t) ** 0.5, eps=hyper.eps, step=hyper.lr / (1 - hyper.beta1**t),
        momentum=hyper.momentum,
    )  # fmt: skip


def settled_after(config: OptimizerConfig) -> int:
    """Updates after which the factors stay as they are: warmed up, and every 1 - beta**t is 1 to the last bit."""
    betas = [beta for beta in (config.beta1, config.beta2) if beta > 0]
    return max([config.warmup_steps, *(math.ceil(-54 * math.log(2) / math.log(beta)) for beta in betas)])


def updated(
    name: OptimizerName,
    weights: Float[Tensor, " n_parameters"],
    gradient: Float[Tensor, " n_parameters"],
    state: OptimizerState,
    hyper: Hyper,
    mask: Float[Tensor, " n_parameters"] | None = None,
) -> tuple[Float[Tensor, " n_parameters"], OptimizerState]:
    """The weights after one update of this optimizer, and what the next one continues."""
    now = factors(hyper, state.n_updates)
    weights, moments = RULES[name](weights, gradient, state.moments, now, hyper.is_decoupled, mask)
    return weights, OptimizerState(moments, state.n_updates + 1)


Vectors = Float[Tensor, "*members n_parameters"]
Moments = dict[str, Tensor]


def adam(
    weights: Vectors,
    gradient: Vectors,
    moments: Moments,
    by: Factors,
    is_decoupled: bool,
    mask: Float[Tensor, " n_parameters"] | None,
) -> tuple[Vectors, Moments]:
    """One step of Adam (Kingma and Ba 2015), in torch.optim's order of operations.

    Decoupled decay (AdamW, Loshchilov and Hutter 2019): first the weights shrink by lr * weight_decay (where `mask`
    is 1). Then they move by the bias-corrected mean over root mean square of the gradient.
    """
    gradient = gradient if is_decoupled else _with_l2(weights, gradient, by, mask)
    exp_avg = torch.lerp(moments["exp_avg"], gradient, by.new_1)
    exp_avg_sq = (moments["exp_avg_sq"] * by.old_2).addcmul_(gradient, gradient * by.new_2)
    denominator = exp_avg_sq.sqrt().div_(by.root_2).add_(by.eps)
    step = (exp_avg / denominator).mul_(by.step)
    moved = (_shrunk(weights, by, mask) if is_decoupled else weights) - step
    return moved, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


def sgd(
    weights: Vectors,
    gradient: Vectors,
    moments: Moments,
    by: Factors,
    is_decoupled: bool,
    mask: Float[Tensor, " n_parameters"] | None,
) -> tuple[Vectors, Moments]:
    """One step of gradient descent, with momentum where it is kept: torch.optim.SGD's, without dampening.

    With decoupled decay the weights shrink by lr * weight_decay first, and momentum knows nothing of it.
    """
    gradient = gradient if is_decoupled else _with_l2(weights, gradient, by, mask)
    if "momentum_buffer" in moments:
        # The first one is the gradient itself, as in torch: the buffer starts at 0.
        gradient = moments["momentum_buffer"] * by.momentum + gradient
        moments = {"momentum_buffer": gradient}
    return (_shrunk(weights, by, mask) if is_decoupled else weights) - gradient * by.lr, moments


RULES: dict[OptimizerName, Callable[..., tuple[Tensor, Moments]]] = {
    OptimizerName.adamw: adam,
    OptimizerName.adam: adam,
    OptimizerName.sgd: sgd,
}


def _with_l2(weights: Tensor, gradient: Tensor, by: Factors, mask: Tensor | None) -> Tensor:
    decayed = weights * by.l2
    return gradient + (decayed if mask is None else decayed * mask)


def _shrunk(weights: Tensor, by: Factors, mask: Tensor | None) -> Tensor:
    return weights * (by.kept if mask is None else 1 - by.shrunk * mask)
