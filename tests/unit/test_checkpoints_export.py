"""Export under TransformerLens's names: read back the same, and the same logits by TransformerLens itself."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import small_network
from published import published
from safetensors import safe_open
from torch import Tensor

from analysis.checkpoints import export
from analysis.checkpoints.checkpoint import Checkpoint, SplitRule
from analysis.checkpoints.read import read
from grok_sweep.config import Activation, Norm
from grok_sweep.models import build

P = 13
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "checkpoints.json").read_text())["transformer_lens"]
NETWORKS: dict[str, dict[str, Any]] = {
    "paper": {},
    "without =": {"equals_logit": False},
    "without biases": {"mlp_biases": False},
    "gelu": {"activation": Activation.gelu},
    "tied": {"tied": True},
    "output scale": {"output_scale": 2.5},
    "two layers, norm": {"n_layers": 2, "norm": Norm.layer},
}


def checkpoint_of(**settings: Any) -> Checkpoint:
    network, weights = small_network(P, **settings)
    rule = SplitRule.parse("torch:0.4:3")
    return Checkpoint(weights, P, network.config, "add", rule.data("add", P), 70, None, "made here", Path("model.pt"))


def pairs_of(p: int) -> tuple[Tensor, Tensor]:
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
    return a, b


def logits_of(checkpoint: Checkpoint, dtype: torch.dtype) -> Tensor:
    weights = {name: w.to(dtype) for name, w in checkpoint.weights.items()}
    return build.network(checkpoint.model, checkpoint.p).forward(weights, *pairs_of(checkpoint.p)).logits


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_read_back(tmp_path, name, ending):
    checkpoint = checkpoint_of(**NETWORKS[name])
    written = export.write(checkpoint, tmp_path / f"net.{ending}")
    assert [file.name for file in written] == [f"net.{ending}", "net.cfg.json"]
    found = read(written[0])
    assert found.layout.endswith("TransformerLens state dict")
    assert (found.model.activation, found.p) == (checkpoint.model.activation, P)
    difference = logits_of(found, torch.float64) - logits_of(checkpoint, torch.float64)
    assert float(difference.abs().max()) < GOLDEN["float64_absolute"]["tolerance"]
    if ending == "safetensors":
        assert (found.step, found.data) == (70, checkpoint.data)
        with safe_open(written[0], framework="pt") as file:
            assert json.loads(file.metadata()["cfg"]) == json.loads(written[1].read_text())


def test_what_transformer_lens_has_not_is_refused(tmp_path):
    for settings, said in (
        ({"activation": Activation.square}, "activation=square"),
        ({"attention_rate": 0.3}, "attention_rate=0.3"),
        ({"architecture": "mlp", "equals_logit": False}, "architecture=mlp is no transformer"),
    ):
        with pytest.raises(ValueError, match=said):
            export.write(checkpoint_of(**settings), tmp_path / "net.pt")
    assert list(tmp_path.iterdir()) == []


# --- the package itself, where it is installed: pip install -e '.[transformer-lens]' --------------------------


def by_transformer_lens(checkpoint: Checkpoint, dtype: torch.dtype) -> Tensor:
    """Logits at "=" of every pair, computed by HookedTransformer from what is exported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 4.0 is to remove it
        lens = pytest.importorskip("transformer_lens")
        settings = lens.HookedTransformerConfig(**export.config(checkpoint), dtype=dtype)
        model = lens.HookedTransformer(settings)
    missing, unexpected = model.load_state_dict(export.state_dict(checkpoint), strict=False)
    assert not unexpected
    assert all(name.endswith(("attn.mask", "attn.IGNORE")) for name in missing)
    a, b = pairs_of(checkpoint.p)
    with torch.no_grad():
        return model(torch.stack([a, b, torch.full_like(a, checkpoint.p)], 1))[:, -1]


def assert_the_same(checkpoint: Checkpoint) -> None:
    for dtype, golden in ((torch.float64, "float64_absolute"), (torch.float32, "float32_of_the_largest")):
        ours, theirs = logits_of(checkpoint, dtype), by_transformer_lens(checkpoint, dtype)
        largest = float(ours.abs().max()) if dtype is torch.float32 else 1.0
        assert float((ours - theirs).abs().max()) / largest < GOLDEN[golden]["tolerance"]


@pytest.mark.parametrize("name", NETWORKS)
def test_transformer_lens_computes_the_same_logits(name):
    assert_the_same(checkpoint_of(**NETWORKS[name]))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_network_of_transformer_lens_with_all_its_biases_is_read(n_layers, tmp_path):
    """b_Q, b_K, b_V, b_O and b_U moved exactly, in every layer."""
    lens = pytest.importorskip("transformer_lens")
    settings = {"n_layers": n_layers, "d_model": 24, "n_ctx": 3, "n_heads": 3, "d_head": 5, "d_mlp": 17}
    settings |= {"d_vocab": P + 1, "d_vocab_out": P, "act_fn": "relu", "normalization_type": None, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lens.HookedTransformer(lens.HookedTransformerConfig(**settings, dtype=torch.float64, seed=1))
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    found = read(tmp_path / "model.pt")
    a, b = pairs_of(P)
    with torch.no_grad():
        theirs = model(torch.stack([a, b, torch.full_like(a, P)], 1))[:, -1]
    assert float((logits_of(found, torch.float64) - theirs).abs().max()) < GOLDEN["float64_absolute"]["tolerance"]
    assert found.model.d_model == 25
    assert_the_same(found)


@pytest.mark.parametrize("name", ["low_precision_mod_addition.pth", "C113_T_seed2/model.pt"])
def test_transformer_lens_computes_the_same_logits_of_published_files(name, tmp_path):
    checkpoint = read(published(name))
    assert_the_same(checkpoint)
    assert_the_same(read(export.write(checkpoint, tmp_path / "net.safetensors")[0]))
