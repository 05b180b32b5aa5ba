"""What is no network of this family is refused by name and shape, and nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import random
import re
import tracemalloc
from pathlib import Path

import broken_files
import pytest
import torch
from broken_files import BROKEN, hostile
from safetensors.torch import save_file

from analysis.checkpoints.checkpoint import Given
from analysis.checkpoints.read import read


def refused(path: Path, given: Given | None = None) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        read(path, given)
    return str(error.value)


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_say_what_they_are(tmp_path, what):
    write, said = BROKEN[what]
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(ValueError, match=said) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "Traceback" not in message
    assert len(message) < 1500


@pytest.mark.parametrize("what", hostile(Path("/")))
def test_hostile_files_are_not_executed(tmp_path, what):
    sentinel = tmp_path / "executed"
    path = tmp_path / "model.pth"
    hostile(sentinel)[what](path)
    message = refused(path)
    assert not sentinel.exists()
    assert "nothing of it was read" in message or "none of it was run" in message
    assert message.startswith(f"{path}: ")


def test_the_hostile_files_do_harm_where_they_are_executed(tmp_path):
    """Or the test above would show nothing."""
    sentinel = tmp_path / "executed"
    for what in ("os.system in a state dict", "eval as a plain pickle", "pickle in a pickle"):
        hostile(sentinel)[what](tmp_path / "model.pth")
        if what.startswith("eval"):
            pickle.loads((tmp_path / "model.pth").read_bytes())
        else:
            torch.load(tmp_path / "model.pth", weights_only=False)
        assert sentinel.exists(), what
        sentinel.unlink()


def test_a_huge_declared_size_takes_no_memory(tmp_path):
    BROKEN["an enormous tensor"][0](tmp_path / "model.pth")
    tracemalloc.start()
    refused(tmp_path / "model.pth")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_places_that_are_no_files(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "nothing.pth")
    assert "is a folder without weights" in refused(tmp_path)
    for name in ("one.pth", "two.pt"):
        torch.save(broken_files.state(), tmp_path / name)
    assert "holds 2 files of weights: name one of them (one.pth, two.pt)" in refused(tmp_path)


def test_everything_wrong_is_told_at_once(tmp_path):
    state = broken_files.state()
    state["blocks.0.mlp.W_out"] = torch.zeros(17, 25)
    state["blocks.0.attn.W_K"] = state["blocks.0.attn.W_K"][:2]
    state["rotary"] = torch.zeros(4)
    del state["blocks.0.attn.W_O"]
    torch.save(state, tmp_path / "model.pt")
    message = refused(tmp_path / "model.pt")
    for part in ("rotary [4]", "W_O is missing", "blocks.0.mlp.W_out, read as W_out: expected [d_mlp, d_model]"):
        assert part in message


@pytest.mark.parametrize(
    "given, said",
    [
        (Given(p=11), 'p = 11: a network of this family has a row of W_E for each number and one for "="'),
        (Given(n_heads=4), "n_heads=4, but blocks.0.attn.W_Q [3, 24, 5] has 3 heads"),
        (Given(p=2), "p must be at least 3, got 2"),
        (Given(operation="plus"), "unknown operation 'plus'. Known: add"),
        (Given(step=5), "holds one checkpoint: give no step"),
        (Given(names={"W_E": "nothing"}), "the file holds no nothing"),
    ],
)
def test_what_does_not_go_with_a_file(tmp_path, given, said):
    torch.save(broken_files.state(), tmp_path / "model.pt")
    assert said in refused(tmp_path / "model.pt", given)


def test_heads_side_by_side_must_be_given(tmp_path):
    state = broken_files.state()
    for name in "QKV":
        state[f"blocks.0.attn.W_{name}"] = state[f"blocks.0.attn.W_{name}"].transpose(0, 1).flatten(1, 2)
    torch.save(state, tmp_path / "model.pt")
    assert "n_heads is not known: blocks.0.attn.W_Q [24, 15] holds the heads side by side" in refused(
        tmp_path / "model.pt"
    )
    assert read(tmp_path / "model.pt", Given(n_heads=3)).model.d_head == 5
    assert read(tmp_path / "model.pt", Given(d_head=5)).model.n_heads == 3
    assert "n_heads=4 do not make the width 15" in refused(tmp_path / "model.pt", Given(n_heads=4))


def test_layer_norm_of_unknown_place_is_refused(tmp_path):
    norm = {"blocks.0.norm1.weight": torch.ones(24), "blocks.0.norm1.bias": torch.zeros(24)}
    torch.save(broken_files.state() | norm, tmp_path / "model.pt")
    assert "LayerNorm (blocks.0.norm1.weight, blocks.0.norm1.bias): whether it stands" in refused(
        tmp_path / "model.pt"
    )


SHAPES = [(), (0,), (3,), (24,), (0, 24), (3, 24), (14, 24), (24, 24), (3, 0), (3, 24, 5), (3, 24, 0), (2, 2, 2, 2)]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_shapes_nothing_but_a_message_comes_out(tmp_path, seed):
    """Weights of random shapes, or left out: read, or refused, but never a crash of the reader."""
    draw = random.Random(seed)
    for _ in range(15):
        state = broken_files.state()
        for name in draw.sample(list(state), draw.randint(1, 4)):
            state[name] = torch.zeros(draw.choice(SHAPES))
            if draw.random() < 0.2:
                del state[name]
        torch.save(state, tmp_path / "model.pt")
        given = Given(n_heads=draw.choice([None, 1, 3, 7]), p=draw.choice([None, 13, 23]))
        said = ""
        try:
            read(tmp_path / "model.pt", given)
        except ValueError as error:
            said = str(error)
        assert not said or said.startswith(f"{tmp_path / 'model.pt'}: ")


@pytest.mark.parametrize("ending", ["pt", "old.pt", "safetensors"])
def test_changed_bytes_bring_a_message_or_a_network(tmp_path, ending):
    """Ten bytes changed anywhere, mostly where names and sizes stand."""
    path = tmp_path / f"model.{ending}"
    if ending == "safetensors":
        save_file(broken_files.state(), path)
    else:
        torch.save(broken_files.state(), path, _use_new_zipfile_serialization=ending == "pt")
    whole, draw = path.read_bytes(), random.Random(ending)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(10):
            content[draw.randrange(len(whole) if draw.random() < 0.5 else 3000)] = draw.randrange(256)
        path.write_bytes(content)
        said = ""
        try:
            read(path)
        except ValueError as error:
            said = str(error)
        assert not said or said.startswith(f"{path}: ")
