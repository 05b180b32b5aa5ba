"""From a checkpoint to its circuit, and what is said of where it comes from. Pure, once the checkpoint is read."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.checkpoints.checkpoint import Checkpoint, SplitRule
from analysis.checkpoints.listed import task_of
from analysis.circuit import circuit
from analysis.circuit.circuit import Circuit
from analysis.circuit.subject import subject
from analysis.circuit.verdict import N_RELABELLINGS
from analysis.report.words import counted, steps
from grok_sweep.config import DataConfig
from grok_sweep.models import build
from grok_sweep.tasks import make_task


def circuit_of(
    checkpoint: Checkpoint, key_freqs: Sequence[int] | None = None, n_relabellings: int = N_RELABELLINGS
) -> Circuit:
    """The network taken apart, in float64.

    Args:
        key_freqs: K, in place of the rule's.

    Raises:
        ValueError: key frequencies that it cannot have.
    """
    split = task_of(checkpoint)
    pairs = split or make_task(DataConfig(operation=checkpoint.operation, p=checkpoint.p))
    network = build.network(checkpoint.model, checkpoint.p)
    return circuit.take_apart(
        subject(checkpoint.weights, pairs, network, split is not None, key_freqs), n_relabellings
    )


def source_of(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Where it comes from and how it was read, line by line."""
    model = checkpoint.model
    split = SplitRule.of(checkpoint.data) if checkpoint.data else None
    sizes = [f"d_model {model.d_model}", f"d_mlp {model.d_mlp}"]
    if model.architecture == "transformer":
        sizes = [counted(model.n_layers, "layer"), f"{counted(model.n_heads, 'head')} of {model.d_head}", *sizes]
    return [
        ("file", str(checkpoint.path)),
        ("read as", checkpoint.layout),
        ("step", "not said" if checkpoint.step is None else steps(checkpoint.step)),
        ("task", f"{checkpoint.operation}, p = {checkpoint.p}"),
        ("split", str(split or ("listed in the file" if checkpoint.train_pairs else "unknown"))),
        ("network", ", ".join([model.architecture, *sizes, model.activation.name])),
    ]
