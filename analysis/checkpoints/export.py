"""A network under TransformerLens's names, with the settings that its HookedTransformer needs, and as files."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from analysis.checkpoints.checkpoint import Checkpoint, SplitRule
from grok_sweep.config import Activation, ModelConfig, Norm
from grok_sweep.models.folded import unembedding
from grok_sweep.models.general import LAYER_NORM_EPS
from grok_sweep.models.transformer import N_CTX
from grok_sweep.store import write_atomic

OF_ATTENTION = ("W_Q", "W_K", "W_V", "W_O")
OF_MLP = ("W_in", "b_in", "W_out", "b_out")
OF_NORMS = ("ln1.w", "ln1.b", "ln2.w", "ln2.b")
ACT_FN = {Activation.relu: "relu", Activation.gelu: "gelu"}


def problems(model: ModelConfig) -> list[str]:
    """What HookedTransformer has no counterpart for; empty where it computes the same function."""
    if model.architecture != "transformer":
        return [f"model.architecture={model.architecture} is no transformer"]
    found = []
    if model.activation not in ACT_FN:
        found.append(f"model.activation={model.activation.name}: TransformerLens has no such neurons")
    if model.attention_rate != 1:
        found.append(f"model.attention_rate={model.attention_rate}: TransformerLens's attention sums to 1")
    return found


def state_dict(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights under TransformerLens's names; biases that the network has not are zeros.

    Tied embeddings become two matrices, and an output scale goes into W_U. ValueError where TransformerLens has no
    such network.
    """
    if found := problems(checkpoint.model):
        raise ValueError(f"{checkpoint.path} cannot be exported: {'; '.join(found)}")
    weights, model = checkpoint.weights, checkpoint.model
    W_U = unembedding(weights, checkpoint.p + model.equals_logit) * model.output_scale
    state = {"embed.W_E": weights["W_E"], "pos_embed.W_pos": weights["W_pos"]}
    for layer in range(model.n_layers):
        state |= _block(weights, model, layer)
    if model.norm is Norm.layer:
        state |= {name: weights[name] for name in ("ln_final.w", "ln_final.b")}
    state |= {"unembed.W_U": W_U, "unembed.b_U": W_U.new_zeros(W_U.shape[1])}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _block(weights: dict[str, Tensor], model: ModelConfig, layer: int) -> dict[str, Tensor]:
    theirs, ours = f"blocks.{layer}.", f"blocks.{layer}." if model.n_layers > 1 else ""
    like = weights[f"{ours}W_Q"]
    assert model.d_head is not None, "a checkpoint's settings are resolved"
    assert model.d_mlp is not None, "a checkpoint's settings are resolved"
    of_heads = {f"{theirs}attn.b_{letter}": like.new_zeros(model.n_heads, model.d_head) for letter in "QKV"}
    block = {f"{theirs}attn.{name}": weights[ours + name] for name in OF_ATTENTION}
    block |= of_heads | {f"{theirs}attn.b_O": like.new_zeros(model.d_model)}
    sizes = {"b_in": model.d_mlp, "b_out": model.d_model}
    block |= {
        f"{theirs}mlp.{name}": weights[ours + name] if ours + name in weights else like.new_zeros(sizes[name])
        for name in OF_MLP
    }
    norms = OF_NORMS if model.norm is Norm.layer else ()
    return block | {theirs + name: weights[ours + name] for name in norms}


def config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Settings for HookedTransformerConfig(**config): numbers and strings alone, ready for JSON."""
    model = checkpoint.model
    return {
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "n_ctx": N_CTX,
        "n_heads": model.n_heads,
        "d_head": model.d_head,
        "d_mlp": model.d_mlp,
        "d_vocab": checkpoint.p + 1,
        "d_vocab_out": checkpoint.p + model.equals_logit,
        "act_fn": ACT_FN[model.activation],
        "normalization_type": "LN" if model.norm is Norm.layer else None,
        "eps": LAYER_NORM_EPS,
        "attention_dir": "causal",
        "init_weights": False,
        "device": "cpu",
    }


def write(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> list[Path]:
    """Write the state dict to `path` and its settings beside it, <stem>.cfg.json; the files written.

    Args:
        path: *.safetensors; any other ending gets what torch.save writes.

    Raises:
        ValueError: TransformerLens has no such network.
        OSError: a file cannot be written.
    """
    path = Path(path)
    state, settings = state_dict(checkpoint), json.dumps(config(checkpoint), indent=1)
    if path.suffix == ".safetensors":
        content = save(state, _metadata(checkpoint, settings))
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    beside = path.with_suffix(".cfg.json")
    write_atomic(path, content)
    write_atomic(beside, (settings + "\n").encode())
    return [path, beside]


def _metadata(checkpoint: Checkpoint, settings: str) -> dict[str, str]:
    """What a state dict does not say of itself, for whoever opens the file."""
    facts = {"format": "pt", "cfg": settings, "p": str(checkpoint.p), "operation": checkpoint.operation}
    if checkpoint.step is not None:
        facts["step"] = str(checkpoint.step)
    return facts | ({"split": str(SplitRule.of(checkpoint.data))} if checkpoint.data else {})
