"""Which of a file's state dicts is meant: the only one, that under the usual key, or that of a step. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from analysis.checkpoints import nested
from analysis.checkpoints.nested import Nested, StateDict
from analysis.checkpoints.refusal import refusal, shape_of


def chosen(path: Path, inside: Nested, value: Any, step: int | None) -> tuple[StateDict, list[str]]:
    """The state dict that is meant, and what else there was.

    Args:
        value: what the file holds.

    Raises:
        ValueError: there is none, or none of this step, or several without a step or a usual key.
    """
    if not inside.alone and not inside.series:
        raise refusal(path, [_no_weights(value)])
    if step is not None and inside.series:
        return _at_step(path, inside, step), []
    if inside.alone:
        return _of_several(path, inside, step)
    last = inside.series[-1]
    return last, [f"of the {_steps(inside.series)} in the file, the last"]


def _at_step(path: Path, inside: Nested, step: int) -> StateDict:
    at = [state for state in inside.series if state.step == step]
    if len(at) != 1:
        reason = f"has no checkpoint of step {step}" if not at else f"has several checkpoints of step {step}"
        raise refusal(path, [f"{reason}: it holds {_steps(inside.series)}"])
    return at[0]


def _of_several(path: Path, inside: Nested, step: int | None) -> tuple[StateDict, list[str]]:
    """The one state dict, or the one under the usual key."""
    notes = [f"it also holds {_steps(inside.series)}; a step chooses one"] if inside.series else []
    if step is not None and (known := nested.step_in(inside.beside)) != step:
        raise refusal(
            path, [f"holds one checkpoint{f', of step {known}' if known is not None else ''}: give no step"]
        )
    by_key = {state.where: state for state in inside.alone}
    usual = next((by_key[key] for key in ("", *nested.USUAL) if key in by_key), None)
    if usual is None and len(by_key) > 1:
        raise refusal(path, [f"holds several networks ({', '.join(by_key)}); save the one that is meant by itself"])
    chosen = usual or inside.alone[0]
    others = [key for key in by_key if key != chosen.where]
    return chosen, [
        *notes,
        *([f"{', '.join(others)} left out: {chosen.where or 'the top'} is read"] if others else []),
    ]


def _steps(series: list[StateDict]) -> str:
    steps = [str(state.step) for state in series]
    shown = ", ".join(steps) if len(steps) <= 6 else f"{', '.join(steps[:3])}, … {steps[-1]}"
    return f"{len(steps)} checkpoints (step {shown})"


def _no_weights(value: Any) -> str:
    """What a file without weights holds instead."""
    if isinstance(value, dict):
        keys = [str(key) for key in value]
        shown = ", ".join(keys[:6]) + (", …" if len(keys) > 6 else "")
        if any(key in ("param_groups", "state") for key in keys) or any(key.startswith("optim") for key in keys):
            return f"holds an optimizer's state ({shown}) and no weights; save model.state_dict()"
        return f"holds no weights of a network: only {shown or 'an empty mapping'}"
    if isinstance(value, Tensor):
        return f"holds one tensor {shape_of(value)}, no named weights; save model.state_dict()"
    if isinstance(value, list | tuple):
        return f"holds a {type(value).__name__} of {len(value)}, no named weights"
    return f"holds a {type(value).__name__}, no named weights"
