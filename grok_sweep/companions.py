"""Which runs may train together, by their settings alone. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from grok_sweep.config import FOLDED

Key = tuple[Hashable, ...]

AGREE = (
    "data.p", "model.architecture", "model.n_layers", "model.d_model", "model.n_heads", "model.d_head", "model.d_mlp",
    "model.activation", "model.equals_logit", "model.norm", "model.mlp_biases", "model.tied", "model.dropout",
    "optimizer.name", "optimizer.decay", "optimizer.decay_target", "optimizer.batch_size", "loss", "dtype",
    "loss_dtype", "allow_tf32", "compile", "device", "ensemble.size",
)  # fmt: skip
"""Settings that members share: shapes, and which operations a step is made of."""
DIFFER = (
    "data.operation", "data.frac_train", "data.split", "data.split_by", "data.split_seed", "data.label_noise",
    "model.init_seed", "model.init_scale", "model.output_scale", "model.attention_rate", "optimizer.lr",
    "optimizer.weight_decay", "optimizer.beta1", "optimizer.beta2", "optimizer.momentum", "optimizer.eps",
    "optimizer.warmup_steps",
)  # fmt: skip
"""Settings in which they may differ: which pairs and labels, and numbers."""
OWN = (
    "measures.", "logger.", "stop.", "phases.", "snapshots.", "checkpoint.", "n_steps", "root", "sweep",
    "claim_timeout_s",
)  # fmt: skip
"""Settings that are no part of a step, by the beginning of their names."""


def why_alone(settings: Mapping[str, Any]) -> str | None:
    """The setting for which this run trains by itself; None where it may train with others.

    Alone are networks whose gradient is not written out (models/by_hand.py), compiled ones, batches drawn anew at
    each step, and code of the user's own, which may change its process from one run to the next.

    Args:
        settings: resolved ones, under their full names.
    """
    folded = {f"model.{name}": getattr(value, "name", value) for name, value in FOLDED.items()}
    for name, value in (folded | {"model.dropout": 0, "compile": False, "optimizer.batch_size": None}).items():
        if (met := settings[name]) != value:
            return f"{name}={str(met).lower() if isinstance(met, bool) else met}"
    if "." in settings["data.operation"]:
        return f"data.operation={settings['data.operation']}"
    own = [name for name in settings["measures.names"] if "." in name]
    return f"measures.names with {own[0]}" if own else None


def compatible_key(settings: Mapping[str, Any]) -> Key | None:
    """Runs with the same key can train together; None: this one trains alone.

    Args:
        settings: as for `why_alone`.
    """
    if why_alone(settings) is not None:
        return None
    return (*(settings[name] for name in AGREE), settings["optimizer.momentum"] > 0)


def _in_groups(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return ""
    of = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    return f", in {len(sizes)} groups of {of} that agree in shape and step"


def together_in_words(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of runs whose settings ask for company: how many fit together, and which train by themselves for what."""
    asking = [settings for settings in runs if settings.get("ensemble.size", "1") != "1"]
    if not asking:
        return []
    size = asking[0]["ensemble.size"]
    groups = Counter(key for settings in asking if (key := compatible_key(settings)) is not None)
    alone = Counter(why for settings in asking if (why := why_alone(settings)) is not None)
    found = []
    if groups:
        most = "as many as pay" if size == "auto" else f"{size} at most"
        found.append(f"{groups.total()} can train together{_in_groups(list(groups.values()))}, in a worker {most}")
    found += [f"{n} train alone ({why})" for why, n in alone.most_common()]
    return [f"ensemble.size={size}: " + "; ".join(found)]
