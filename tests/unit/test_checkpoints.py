"""Checkpoints of every layout, read back as the network that was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import small_network
from published import published
from torch import Tensor

from analysis.checkpoints.checkpoint import Checkpoint, Given
from analysis.checkpoints.read import read
from grok_sweep.models import build

P = 13


def saved(folder: Path, value: object, name: str = "model.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(value, folder / name)
    return folder / name


def logits_of(checkpoint: Checkpoint) -> Tensor:
    a, b = torch.cartesian_prod(torch.arange(checkpoint.p), torch.arange(checkpoint.p)).T
    return build.network(checkpoint.model, checkpoint.p).forward(checkpoint.weights, a, b).logits


def as_the_papers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names and the transposed matrices of the authors' code."""
    attn = {f"blocks.0.attn.{name}": weights[name].transpose(1, 2) for name in ("W_K", "W_Q", "W_V")}
    return {
        "embed.W_E": weights["W_E"].T,
        "pos_embed.W_pos": weights["W_pos"],
        **attn,
        "blocks.0.attn.W_O": weights["W_O"].flatten(0, 1).T,
        "blocks.0.attn.mask": torch.ones(3, 3).tril(),
        "blocks.0.mlp.W_in": weights["W_in"].T,
        "blocks.0.mlp.b_in": weights["b_in"],
        "blocks.0.mlp.W_out": weights["W_out"].T,
        "blocks.0.mlp.b_out": weights["b_out"],
        "unembed.W_U": weights["W_U"],
    }


def as_transformer_lens(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    part = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_U": "unembed.W_U"}
    of_mlp = ("W_in", "b_in", "W_out", "b_out")
    block = {name: f"blocks.0.{'mlp' if name in of_mlp else 'attn'}.{name}" for name in weights if name not in part}
    return {{**part, **block}[name]: w for name, w in weights.items()}


def test_the_papers_layout_is_turned(tmp_path):
    network, weights = small_network(P)
    file = saved(tmp_path, {"model": as_the_papers(weights), "train_losses": [3.0, 2.0], "test_losses": [4.0]})
    found = read(file)
    assert found.layout == "the paper's authors' .pth"
    assert list(found.weights) == list(network.shapes())
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)
    assert (found.losses.train, found.losses.test, found.step) == (2.0, 4.0, 2)
    assert "W_E, W_K, W_Q, W_V, W_O, W_in, W_out stored transposed" in found.notes


def test_transformer_lens_is_read_as_it_stands(tmp_path):
    network, weights = small_network(P, equals_logit=False)
    zero = {"blocks.0.attn.b_Q": torch.zeros(3, 5), "unembed.b_U": torch.zeros(P)}
    buffers = {"blocks.0.attn.mask": torch.ones(3, 3).bool(), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    found = read(saved(tmp_path, as_transformer_lens(weights) | zero | buffers))
    assert found.layout == "TransformerLens state dict"
    assert not found.model.equals_logit
    assert all(torch.equal(found.weights[name], weights[name]) for name in network.shapes())
    assert "b_Q, b_U are zero and left out" in found.notes


@pytest.mark.parametrize(
    "name, layout",
    [
        ("low_precision_mod_addition.pth", "the paper's authors' .pth"),
        ("C113_T_seed2/model.pt", "TransformerLens state dict"),
    ],
)
def test_published(name, layout):
    found = read(published(name), Given(p=113))
    assert (found.layout, found.p, found.operation) == (layout, 113, "add")
    assert [*found.weights] == [*build.network(found.model, 113).shapes()]
