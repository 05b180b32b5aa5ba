"""The published checkpoints beside the repository, as our named weights; tests skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference"


def published(name: str) -> Path:
    """Path of a published file; skips the test where it does not lie beside the repository."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"published file {name} is not here (expected in ../shared/reference)")
    return path


def paper_weights(path: Path) -> dict[str, Tensor]:
    """A `.pth` of the paper's authors, float64; most of its matrices are stored transposed."""
    model = torch.load(path, map_location="cpu", weights_only=True)["model"]
    w = {name.rsplit(".", 1)[-1]: tensor.double() for name, tensor in model.items()}
    n_heads, d_head, d_model = w["W_Q"].shape
    return {
        "W_E": w["W_E"].T,
        "W_pos": w["W_pos"],
        **{name: w[name].transpose(1, 2) for name in ("W_Q", "W_K", "W_V")},
        "W_O": w["W_O"].T.reshape(n_heads, d_head, d_model),
        "W_in": w["W_in"].T,
        "b_in": w["b_in"],
        "W_out": w["W_out"].T,
        "b_out": w["b_out"],
        "W_U": w["W_U"],
    }


def transformer_lens_weights(path: Path) -> dict[str, Tensor]:
    """A TransformerLens state dict, float64; its further biases must be zero."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    w = {name.rsplit(".", 1)[-1]: t for name, t in state.items() if "_embed" not in name or "pos_embed" in name}
    assert all(not w[name].any() for name in ("b_Q", "b_K", "b_V", "b_O", "b_U"))
    names = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "b_in", "W_out", "b_out", "W_U")
    return {name: w[name].double() for name in names}
