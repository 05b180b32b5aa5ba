"""Checkpoints of every layout, read back as the network that was saved."""

from __future__ import annotations

import json
import shutil
import sys
import types
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import hand_written
import numpy as np
import pytest
import torch
from networks import small_network
from published import published
from safetensors.torch import save_file
from small_runs import plan_of, small_config
from torch import Tensor

from analysis.checkpoints.checkpoint import Checkpoint, Given, Losses, SplitRule
from analysis.checkpoints.names import meaning
from analysis.checkpoints.read import read
from analysis.checkpoints.splits import find_split
from grok_sweep.config import Activation, Norm, SnapshotsConfig, SplitBy
from grok_sweep.models import build
from grok_sweep.models.parameters import Weights
from grok_sweep.run import run_one
from grok_sweep.splits import shuffled
from grok_sweep.tasks import make_task

P = 13
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "checkpoints.json").read_text())


def saved(folder: Path, value: object, name: str = "model.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(value, folder / name)
    return folder / name


def logits_of(checkpoint: Checkpoint) -> Tensor:
    a, b, _ = hand_written.tokens(checkpoint.p).T
    return build.network(checkpoint.model, checkpoint.p).forward(checkpoint.weights, a, b).logits


def as_the_papers(weights: Weights) -> dict[str, Tensor]:
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


def as_transformer_lens(weights: Weights) -> dict[str, Tensor]:
    """The names of TransformerLens, of one layer (ours bare) or several (ours with their layer)."""
    top = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_U": "unembed.W_U"}

    def theirs(name: str) -> str:
        if name in top or name.startswith("ln_final"):
            return top.get(name, name)
        layer, kind = name.split(".", 2)[1:] if name.startswith("blocks.") else ("0", name)
        part = "" if kind.startswith("ln") else "mlp." if kind in ("W_in", "b_in", "W_out", "b_out") else "attn."
        return f"blocks.{layer}.{part}{kind}"

    return {theirs(name): w for name, w in weights.items()}


def assert_same(found: Checkpoint, weights: Weights) -> None:
    assert list(found.weights) == list(build.network(found.model, found.p).shapes())
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)


# --- the paper's and TransformerLens's ------------------------------------------------------------------------


def test_the_papers_layout_is_turned(tmp_path):
    _, weights = small_network(P)
    losses = {"train_losses": [3.0, np.float64(2.0), torch.tensor(1.5)], "test_losses": np.array([5.0, 4.0])}
    found = read(saved(tmp_path, {"model": OrderedDict(as_the_papers(weights)), **losses}))
    assert_same(found, weights)
    assert found.layout == "the paper's authors' .pth"
    assert (found.losses, found.step) == (Losses(1.5, 4.0, 3), 3)
    assert "W_E, W_K, W_Q, W_V, W_O, W_in, W_out stored transposed" in found.notes
    assert (found.p, found.model.equals_logit, found.model.n_heads, found.model.d_head) == (P, True, 3, 5)


def test_transformer_lens_is_read_as_it_stands(tmp_path):
    _, weights = small_network(P, equals_logit=False)
    zero = {"blocks.0.attn.b_Q": torch.zeros(3, 5), "unembed.b_U": torch.zeros(P)}
    buffers = {"blocks.0.attn.mask": torch.ones(3, 3).bool(), "blocks.0.attn.IGNORE": torch.tensor(-1e5)}
    copies = {"x_embed": weights["W_E"].clone(), "y_embed": weights["W_E"].clone()}
    found = read(saved(tmp_path, copies | as_transformer_lens(weights) | zero | buffers))
    assert_same(found, weights)
    assert found.layout == "TransformerLens state dict"
    assert not found.model.equals_logit
    assert "b_Q, b_U are zero and left out" in found.notes
    assert "x_embed, y_embed left out: equal to embed.W_E" in found.notes


@pytest.mark.parametrize(
    "settings",
    [{"n_layers": 2}, {"n_layers": 3, "norm": Norm.layer}, {"norm": Norm.layer}, {"mlp_biases": False}],
    ids=str,
)
def test_transformer_lens_in_general(tmp_path, settings):
    _, weights = small_network(P, **settings)
    found = read(saved(tmp_path, as_transformer_lens(weights)))
    assert_same(found, weights)
    assert found.layout == "TransformerLens state dict"


def test_settings_beside_the_weights(tmp_path):
    """cfg.json in the folder, or settings in the file: activation, heads, operation, split."""
    _, weights = small_network(P)
    file = saved(tmp_path, as_transformer_lens(weights))
    chughtai = {"group": "CyclicGroup", "group_parameter": P, "frac_train": 0.4, "seed": 3, "act_fn": "gelu"}
    (tmp_path / "cfg.json").write_text(json.dumps(chughtai))
    found = read(file)
    assert (found.operation, found.model.activation) == ("add", Activation.gelu)
    assert found.data is not None
    assert SplitRule.of(found.data) == SplitRule(SplitBy.torch, 0.4, 3)
    assert read(tmp_path).weights.keys() == found.weights.keys()  # a folder with one file of weights
    given = Given(activation=Activation.square, operation="subtract", split=SplitRule(SplitBy.paper, 0.5, 7))
    found = read(file, given)
    assert (found.operation, found.model.activation) == ("subtract", Activation.square)
    assert found.data == given.split.data("subtract", P)


# --- other hands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", hand_written.LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.model."])
def test_hand_written_networks(tmp_path, layout, prefix):
    network = hand_written.made(layout)
    state = {f"{prefix}{name}": w for name, w in network.state_dict().items()}
    found = read(saved(tmp_path, {"model_state_dict": state, "epoch": 7}), Given(n_heads=hand_written.N_HEADS))
    with torch.no_grad():
        expected = network(hand_written.tokens())
    assert (logits_of(found) - expected).abs().max() < GOLDEN["layouts"]["tolerance"]
    assert (found.layout, found.step) == ("mapped by names and shapes", 7)


def test_biases_without_a_place_go_where_the_notes_say(tmp_path):
    file = saved(tmp_path, hand_written.made("biases everywhere").state_dict())
    found = read(file, Given(n_heads=hand_written.N_HEADS))
    assert found.model.d_model == hand_written.D_MODEL + 1
    for start in ("b_K left out", "b_V, b_O moved into b_in and b_out", "b_Q, b_U put on a further coordinate"):
        assert any(note.startswith(start) for note in found.notes), found.notes


def test_settings_of_argparse_beside_the_weights(tmp_path):
    state = hand_written.made("four linear layers").state_dict()
    args = Namespace(num_heads=hand_written.N_HEADS, act_fn="relu", train_frac=0.25, fn_name="subtract")
    found = read(saved(tmp_path, {"model": state, "args": args}))
    assert (found.model.n_heads, found.frac_train, found.operation) == (hand_written.N_HEADS, 0.25, "subtract")
    other = read(saved(tmp_path, {"model": as_transformer_lens(small_network(P)[1]), "args": Namespace(n_heads=8)}))
    assert other.model.n_heads == 3  # the weights' own


@pytest.mark.parametrize("nesting", ["state_dict", "model", "net"])
@pytest.mark.parametrize("kind", ["pt", "legacy", "safetensors"])
def test_containers(tmp_path, nesting, kind):
    _, weights = small_network(P)
    state = as_transformer_lens({name: w.float() for name, w in weights.items()})
    file = tmp_path / f"net.{kind}"
    if kind == "safetensors":
        save_file(state, file)
    else:
        optimizer = {"state": {0: {"exp_avg": torch.zeros(3, 3)}}, "param_groups": [{"lr": 1e-3}]}
        value = {nesting: state, "optimizer": optimizer, "lr": 0.1}
        torch.save(value, file, _use_new_zipfile_serialization=kind == "pt")
    found = read(file)
    assert found.weights["W_E"].dtype is torch.float32
    assert found.layout == ("safetensors, " if kind == "safetensors" else "") + "TransformerLens state dict"


def test_names_given_by_hand(tmp_path):
    """Names that mean nothing, with a matrix that is turned; and a square one, which only the user can tell."""
    _, weights = small_network(P, d_mlp=24)
    odd = {f"thing{i}": w.T if name == "W_in" else w for i, (name, w) in enumerate(weights.items())}
    names = {name: f"thing{i}" + (".T" if name == "W_in" else "") for i, name in enumerate(weights)}
    found = read(saved(tmp_path, odd), Given(names=names))
    assert_same(found, weights)


def test_halves_are_widened(tmp_path):
    _, weights = small_network(P)
    found = read(saved(tmp_path, as_transformer_lens({name: w.half() for name, w in weights.items()})))
    assert found.weights["W_E"].dtype is torch.float32
    assert "stored as float16, read as float32" in found.notes


@pytest.mark.parametrize(
    "name, ours",
    [
        ("blocks.0.attn.W_Q", "0.W_Q"), ("blocks.2.mlp.b_out", "2.b_out"), ("W_O", "0.W_O"), ("W_pos", "W_pos"),
        ("transformer.layers.1.self_attn.in_proj_weight", "1.W_QKV"), ("layers.0.linear2.bias", "0.b_out"),
        ("transformer.wpe.weight", "W_pos"), ("pos_encoder.pe", "W_pos"), ("decoder.weight", "W_U"),
        ("encoder.weight", "W_E"), ("tok_emb.weight", "W_E"), ("output_proj.bias", "b_U"), ("fc_out.weight", "W_U"),
        ("attention.out_proj.weight", "0.W_O"), ("block.ffn.w1.weight", "0.W_in"), ("h.0.attn.c_proj.bias", "0.b_O"),
        ("blocks.0.ln1.w", "0.ln1.w"), ("attn.to_out.0.weight", "0.W_O"), ("wq.weight", "0.W_Q"),
        ("mask_token", None), ("attn.rotary_freqs", None), ("gate.weight", None), ("mlp.gate_proj.weight", None),
    ],
)  # fmt: skip
def test_what_a_name_means(name, ours):
    assert meaning(name) == ours


# --- several checkpoints ----------------------------------------------------------------------------------------


def several(n: int = 3) -> list[Weights]:
    return [{name: w + i for name, w in small_network(P)[1].items()} for i in range(n)]


@pytest.mark.parametrize("last_too", [True, False])
def test_a_file_of_several_steps(tmp_path, last_too):
    states = [as_transformer_lens(weights) for weights in several()]
    value: dict[str, Any] = {"checkpoints": states, "checkpoint_epochs": [9, 19, 29]}
    value |= {"train_losses": [float(100 - i) for i in range(40)]}
    value |= {"model": states[-1]} if last_too else {}
    file = saved(tmp_path, value)
    assert_same(read(file), several()[-1])
    found = read(file, Given(step=19))
    assert_same(found, several()[1])
    assert (found.step, found.losses.train) == (19, 81.0)
    with pytest.raises(ValueError, match=r"no checkpoint of step 20: it holds 3 checkpoints \(step 9, 19, 29\)"):
        read(file, Given(step=20))


def test_a_mapping_by_step(tmp_path):
    file = saved(tmp_path, {step: as_the_papers(w) for step, w in zip((0, 100, 500), several(), strict=True)})
    assert read(file).step == 500
    assert_same(read(file, Given(step=100)), several()[1])


def test_what_stands_beside_the_weights_may_be_odd(tmp_path):
    nan = float("nan")
    state = as_transformer_lens(small_network(P)[1])
    beside = {
        "epoch": nan,
        "step": float("inf"),
        "train_losses": [1.0, nan],
        "train_indices": [0, P * P],
        "seed": "x",
    }
    beside |= {"checkpoints": [state, state], "checkpoint_epochs": [1.0, nan], "config": np.zeros(3), ("a", 1): 2}
    found = read(saved(tmp_path, {"model": state, **beside}))
    assert (found.step, found.train_pairs) == (None, None)
    assert found.losses == Losses(None, None, 2)
    assert f"the 2 train pairs that the file lists are no indices of {P}² pairs: passed over" in found.notes


# --- ours ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    sweep, (run_id,) = plan_of(
        tmp_path_factory.mktemp("sweep"), small_config(n_steps=40, snapshots=SnapshotsConfig(n=4))
    )
    run_one(small_config(n_steps=40, snapshots=SnapshotsConfig(n=4)), sweep.run(run_id).path)
    return sweep.path / run_id


def test_a_run_at_any_step(run):
    last = read(run)
    assert (last.layout, last.step, last.p, last.operation) == ("a run's folder", 40, 23, "add")
    stored = read(run, Given(step=20))
    assert stored.notes == ()
    again = read(run, Given(step=17))
    assert "step 17 was not stored: trained once more up to there" in again.notes
    assert not torch.equal(stored.weights["W_E"], again.weights["W_E"])
    rows = {row["step"]: row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}
    assert (again.losses.train, again.losses.test) == (rows[17]["train_loss"], rows[17]["test_loss"])


def test_files_of_a_run(run, tmp_path):
    snapshot = run / "snapshots" / "step_00000020.safetensors"
    found = read(snapshot)
    assert (found.layout, found.step) == ("a snapshot of ours", 20)
    assert_same(found, read(run, Given(step=20)).weights)
    assert found.data == read(run).data
    checkpoint = read(run / "checkpoint.safetensors")
    assert_same(checkpoint, read(run).weights)
    assert checkpoint.step == 40
    elsewhere = tmp_path / snapshot.name  # without its run's settings: by names alone
    elsewhere.write_bytes(snapshot.read_bytes())
    alone = read(elsewhere)
    assert (alone.layout, alone.data, alone.step) == ("safetensors, our names", None, 20)
    assert_same(alone, found.weights)
    elsewhere = tmp_path / "checkpoint.safetensors"  # with the optimizer's means
    elsewhere.write_bytes((run / "checkpoint.safetensors").read_bytes())
    assert_same(read(elsewhere), checkpoint.weights)
    assert read(elsewhere).step == 40


@pytest.mark.parametrize(
    "given, said",
    [
        (Given(p=29), "p=29 was given, but the run's settings say 23"),
        (Given(operation="subtract"), "operation=subtract was given"),
        (Given(n_heads=2), "n_heads=2 was given, but the run's settings say 4"),
        (
            Given(split=SplitRule(SplitBy.torch, 0.4, 0)),
            "split torch:0.4:0 was given, but .* say paper:0.4:0",
        ),
        (Given(names={"W_E": "W_E"}), "names of weights were given"),
        (Given(step=41), "step 41 is not in 0..40"),
    ],
)
def test_what_contradicts_a_run(run, given, said):
    with pytest.raises(ValueError, match=said):
        read(run, given)


def test_a_run_that_cannot_be_trained_again_says_so(run, tmp_path):
    other = tmp_path / run.name
    shutil.copytree(run, other)
    rows = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    changed = [row | {"weights_hash": "0" * 16} if row["step"] == 7 else row for row in rows]
    (other / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    with pytest.raises(ValueError, match="trained once more, the weights at step 7 are not the run's"):
        read(other, Given(step=9))


def test_weights_of_another_run_are_refused(run, tmp_path):
    other = tmp_path / run.name
    (other / "snapshots").mkdir(parents=True)
    for name in ("settings.json", "metrics.jsonl"):
        (other / name).write_bytes((run / name).read_bytes())
    changed = {name: w + 1 for name, w in read(run, Given(step=20)).weights.items()}
    save_file(changed, other / "snapshots" / "step_00000020.safetensors", {"step": "20"})
    with pytest.raises(ValueError, match="its weights are not those of step 20"):
        read(other / "snapshots" / "step_00000020.safetensors")


# --- published ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, layout, step",
    [
        ("low_precision_mod_addition.pth", "the paper's authors' .pth", 50_000),
        ("C113_T_seed2/model.pt", "TransformerLens state dict", None),
    ],
)
def test_published(name, layout, step):
    found = read(published(name))
    assert (found.layout, found.p, found.operation, found.step) == (layout, 113, "add", step)
    assert list(found.weights) == list(build.network(found.model, 113).shapes())


# --- square matrices ----------------------------------------------------------------------------------------------


def answering(sign: int) -> Weights:
    """A network that answers a + b, or a - b: a head reads each operand, ReLUs at all whole numbers make indicators.

    d_model = d_mlp = d_head = 2p + 2: every matrix of attention and MLP is square.
    """
    n = 2 * P + 2
    W_E, W_pos, W_in, W_out, W_U = (torch.zeros(shape) for shape in ((P + 1, n), (3, n), (n, n), (n, n), (n, P)))
    W_Q, W_K, W_V, W_O = torch.zeros(4, 2, n, n)
    W_E[:P, 0] = torch.arange(P).float()
    W_pos[range(3), range(n - 3, n)] = 1.0
    W_Q[:, n - 1, 0] = 1.0
    for head, factor in ((0, 1.0), (1, float(sign))):
        W_K[head, n - 3 + head, 0] = 1000.0
        W_V[head, 0, 1], W_O[head, 1, 2] = 1.0, factor
    W_in[2] = 1.0
    b_in = (P if sign < 0 else 0) - torch.arange(-1, 2 * P + 1).float()
    for s in range(2 * P):
        for knot, factor in ((s, 1.0), (s + 1, -2.0), (s + 2, 1.0)):
            W_out[knot, 3 + s % P] += factor
    W_U[3 : 3 + P] = torch.eye(P)
    attention = {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O": W_O}
    mlp = {"W_in": W_in, "b_in": b_in, "W_out": W_out, "b_out": torch.zeros(n)}
    return {"W_E": W_E, "W_pos": W_pos, **attention, **mlp, "W_U": W_U}


@pytest.mark.parametrize("sign, operation", [(1, "add"), (-1, "subtract")])
def test_the_operation_is_the_one_that_is_answered(tmp_path, sign, operation):
    found = read(saved(tmp_path, answering(sign)))
    assert found.operation == operation
    assert f"operation {operation}, as its answers show: 100.0% of the pairs are right" in found.notes


def test_square_embeddings(tmp_path):
    """p + 1 = d_model: torch's modules store an embedding as ours, and a linear layer turned."""
    _, weights = small_network(P, d_model=P + 1)
    names = {"W_E": "embed.weight", "W_U": "unembed.weight", "W_in": "mlp.fc1.weight", "W_out": "mlp.fc2.weight"}
    turned = ("W_U", "W_in", "W_out")
    state = {names.get(name, name): w.T.contiguous() if name in turned else w for name, w in weights.items()}
    assert_same(read(saved(tmp_path, state)), weights)
    assert_same(read(saved(tmp_path, as_transformer_lens(weights))), weights)
    assert_same(read(saved(tmp_path, as_the_papers(weights))), weights)


SQUARE = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")


@pytest.mark.parametrize("is_turned", [False, True])
def test_square_matrices_are_read_the_way_round_in_which_they_answer(tmp_path, is_turned):
    weights = answering(1)
    stored = {name: w.transpose(-1, -2) if is_turned and name in SQUARE else w for name, w in weights.items()}
    found = read(saved(tmp_path, stored))
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)
    how = "as its answers show" if is_turned else "as the others of the file"
    (note,) = [note for note in found.notes if "square" in note]
    assert note.startswith(
        f"W_Q, W_K, W_V, W_O, W_in, W_out: square, read {how} (100.0% right answers; the other way"
    )
    assert ("W_Q, W_K, W_V, W_O, W_in, W_out stored transposed" in found.notes) is is_turned


def test_square_matrices_of_an_untrained_network_follow_the_others_or_are_refused(tmp_path):
    _, weights = small_network(P, d_mlp=24)
    found = read(saved(tmp_path, weights))
    assert torch.equal(found.weights["W_in"], weights["W_in"])
    unlike = weights | {name: weights[name].transpose(1, 2) for name in ("W_Q", "W_K", "W_V")}
    file = saved(tmp_path, unlike)
    with pytest.raises(
        ValueError, match=r"W_in, W_out: square.*Say it by --name: W_in=W_in as it stands, W_in=W_in.T"
    ):
        read(file)
    found = read(file, Given(names={"W_in": "W_in", "W_out": "W_out"}))
    assert all(torch.equal(found.weights[name], weights[name]) for name in weights)


def test_a_transformer_lens_file_with_its_training_beside_it(tmp_path, monkeypatch):
    """As TransformerLens's demo writes it: a settings object, checkpoints, and the train pairs by their indices."""
    _, weights = small_network(P, equals_logit=False)
    pairs = shuffled(P * P, SplitBy.torch, 598)
    module = types.ModuleType("transformer_lens.HookedTransformerConfig")
    module.HookedTransformerConfig = type("HookedTransformerConfig", (), {"__module__": module.__name__})
    config = module.HookedTransformerConfig()
    config.__dict__ |= {"act_fn": "gelu", "n_heads": 3, "attn_scale": np.float64(2.5), "dtype": torch.float32}
    value = {"model": as_transformer_lens(weights), "config": config, "train_indices": torch.tensor(pairs[:50])}
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "transformer_lens", types.ModuleType("transformer_lens"))
        patched.setitem(sys.modules, module.__name__, module)
        file = saved(tmp_path, value)
    found, _ = find_split(read(file))
    assert found.model.activation is Activation.gelu
    assert found.data is not None
    assert (found.data.split_by, found.data.split_seed, make_task(found.data).n_train) == (SplitBy.torch, 598, 50)
