"""Which network the settings name: the one place that chooses, and the trial of one that is the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from grok_sweep.config import FOLDED, ModelConfig
from grok_sweep.dotted import at_dotted_path, told
from grok_sweep.models.by_hand import TransformerByHand
from grok_sweep.models.general import GeneralTransformer
from grok_sweep.models.mlp import MLP
from grok_sweep.models.network import Activations, Network
from grok_sweep.models.parameters import Weights, flatten, unflatten
from grok_sweep.models.quadratic import Quadratic
from grok_sweep.models.transformer import Transformer

T = TypeVar("T")


def network(config: ModelConfig, p: int) -> Network:
    """The network for modulus p; the fast transformer wherever it computes the same function.

    Raises ValueError where a dotted path names no subclass of Network, or one that cannot be made.
    """
    if config.architecture == "transformer":
        return (Transformer if is_folded(config) else GeneralTransformer)(config, p)
    if config.architecture == "mlp":
        return MLP(config, p)
    if config.architecture == "quadratic":
        return Quadratic(config, p)
    own = at_dotted_path(config.architecture, "model.architecture")
    if not (isinstance(own, type) and issubclass(own, Network)):
        raise ValueError(
            f"model.architecture={config.architecture} must be a subclass of grok_sweep.models.network.Network, "
            f"but is {own!r:.80}"
        )
    return _tried(f"model.architecture={config.architecture}", own, config, p)


def is_folded(config: ModelConfig) -> bool:
    """Whether the fast transformer computes it: the one whose gradient is written out."""
    return all(getattr(config, name) == value for name, value in FOLDED.items())


def by_hand(network: Network) -> TransformerByHand | None:
    """The network's written-out gradient; None where it has none."""
    return TransformerByHand(network) if type(network) is Transformer else None


def initial_weights(network: Network) -> Weights:
    """Initial weights, float32 on the CPU, times config.init_scale."""
    scale = network.config.init_scale
    return network.init() if scale == 1 else {name: w * scale for name, w in network.init().items()}


# --- the trial ----------------------------------------------------------------------------------------------


class _Unfit(ValueError):
    """What a network of the user's own gives is not what is asked for."""


def check(network: Network) -> None:
    """Try a network of the user's own on two pairs, with all that training and measures ask of it.

    Raises ValueError with the first thing that does not fit.
    """
    name = f"model.architecture={network.config.architecture}"
    _tried(f"{name}: shapes()", _check_shapes, network)
    weights = _tried(f"{name}: init()", _checked_weights, network)
    for dtype in (torch.float32, torch.float64):
        cast = {n: w.to(dtype) for n, w in weights.items()}
        _tried(f"{name}: forward() with {str(dtype)[6:]} weights", _check_forward, network, cast)
    for map_name in ("embedding", "neuron_logit_map", "input_maps"):
        _tried(f"{name}: {map_name}()", _check_map, network, weights, map_name)


def _check_shapes(network: Network) -> None:
    shapes = network.shapes()
    wrong = [
        f"{name!r}: {shape!r}"
        for name, shape in shapes.items()
        if not isinstance(name, str) or "/" in name or not isinstance(shape, tuple)
    ]
    if wrong or not shapes:
        raise _Unfit(f"must give names without / and tuples of sizes, got {', '.join(wrong) or 'none'}")


def _checked_weights(network: Network) -> Weights:
    """The initial weights, once they are what shapes() says, and the same when drawn again."""
    weights, again = network.init(), network.init()
    try:
        flatten(weights, network.shapes())
    except ValueError as error:
        raise _Unfit(str(error).replace(":\n", ": ").replace("\n", "; ")) from error
    for name, w in weights.items():
        if w.dtype is not torch.float32 or w.device.type != "cpu":
            raise _Unfit(f"{name} must be float32 on the CPU, is {str(w.dtype)[6:]} on {w.device}")
        if not torch.equal(w, again[name]):
            raise _Unfit(
                f"{name} is drawn anew at each call: draw it from config.init_seed alone, as "
                "grok_sweep.models.parameters.draw does, or a run cannot be repeated"
            )
    return weights


def _check_forward(network: Network, weights: Weights) -> None:
    shapes, p = network.shapes(), network.p
    leaf = flatten(weights, shapes).requires_grad_()
    called: list[bool] = []

    def dropout(neurons: Tensor) -> Tensor:
        called.append(True)
        return neurons

    is_dropping = network.config.dropout > 0
    pair = torch.tensor([0, p - 1]), torch.tensor([p - 1, 1])
    activations = network.forward(unflatten(leaf, shapes), *pair, dropout if is_dropping else None)
    if not isinstance(activations, Activations):
        raise _Unfit(f"must return Activations, returned {type(activations).__name__}")
    wrong = list(_wrong_activations(activations, network.d_vocab_out, leaf.dtype))
    if wrong:
        raise _Unfit("; ".join(wrong))
    if is_dropping and not called:
        raise _Unfit(f"never calls dropout, which model.dropout={network.config.dropout} asks for")
    torch.autograd.grad(activations.logits.sum(), leaf)


def _wrong_activations(activations: Activations, d_vocab_out: int, dtype: torch.dtype) -> Iterator[str]:
    logits = activations.logits
    if not isinstance(logits, Tensor) or logits.shape != (2, d_vocab_out) or logits.dtype is not dtype:
        yield (
            f'logits of two pairs must be [2, {d_vocab_out}] (d_vocab_out: the p answers, and "=" where '
            f"model.equals_logit is true) and {str(dtype)[6:]}, are {_described(logits)}"
        )
    elif not logits.isfinite().all():
        yield "the logits are not finite"
    for name, n_axes in (("mlp_pre", 2), ("mlp_post", 2), ("resid_mid", 2), ("attn_pattern", 3)):
        value = getattr(activations, name)
        if value is not None and not (isinstance(value, Tensor) and value.ndim == n_axes and len(value) == 2):
            yield f"{name} of two pairs must have {n_axes} axes, the first of size 2, is {_described(value)}"


def _check_map(network: Network, weights: Weights, name: str) -> None:
    """What measures read off the weights: a row (or for neuron_logit_map a column) for each number."""
    found = getattr(network, name)(weights)
    tables = found.items() if isinstance(found, dict) else [("it", found)]
    axis = 1 if name == "neuron_logit_map" else 0
    for part, table in tables:
        if table is not None and not (table.ndim == 2 and table.shape[axis] == network.p):
            wanted = f"[d_mlp, {network.p}]" if axis else f"[{network.p}, its width]"
            raise _Unfit(f"{part} must be {wanted}, is {_described(table)}")


def _described(value: Any) -> str:
    return f"{list(value.shape)} {str(value.dtype)[6:]}" if isinstance(value, Tensor) else type(value).__name__


def _tried(what: str, call: Callable[..., T], *arguments: Any) -> T:
    """The call's result; ValueError that begins with `what`, whatever the user's code raises."""
    try:
        return call(*arguments)
    except _Unfit as error:
        raise ValueError(f"{what}: {error}") from error
    except Exception as error:
        raise ValueError(f"{what}: {told(error)}") from error
