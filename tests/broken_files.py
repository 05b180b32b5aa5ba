"""Files that are no network of this family, or that want code to be run: written here, never to be executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import small_network
from torch import Tensor, nn

P = 13
NAMES = (
    "embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_Q", "blocks.0.attn.W_K", "blocks.0.attn.W_V",
    "blocks.0.attn.W_O", "blocks.0.mlp.W_in", "blocks.0.mlp.b_in", "blocks.0.mlp.W_out", "blocks.0.mlp.b_out",
    "unembed.W_U",
)  # fmt: skip


def state() -> dict[str, Tensor]:
    """A good state dict by TransformerLens's names, float32."""
    names = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_U": "unembed.W_U"}
    _, weights = small_network(P)
    mlp = ("W_in", "b_in", "W_out", "b_out")
    return {
        names.get(name, f"blocks.0.{'mlp' if name in mlp else 'attn'}.{name}"): w.float()
        for name, w in weights.items()
    }


class Hostile:
    """On being unpickled it makes a file."""

    def __init__(self, how: Callable[..., Any], *arguments: Any) -> None:
        self.call = how, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _saved(value: Any, path: Path, **settings: Any) -> None:
    torch.save(value, path, **settings)


def _replaced(path: Path, entry: str, content: Callable[[bytes], bytes], compress: int = zipfile.ZIP_STORED) -> None:
    """A file of torch.save with one entry changed, or compressed."""
    buffer = io.BytesIO()
    torch.save(state(), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", compress) as new:
        for name in old.namelist():
            old_content = old.read(name)
            new.writestr(name, content(old_content) if name.endswith(entry) else old_content)


def _enormous(path: Path) -> None:
    """A tensor of 10^12 numbers that are one number."""
    one = torch.zeros(1)
    _saved(state() | {"blocks.0.mlp.W_in": one.as_strided((24, 10**12), (0, 0))}, path)


def _many_lists(path: Path) -> None:
    """Lists in lists that unfold to 2^60."""
    value: Any = [torch.zeros(2)]
    for _ in range(60):
        value = [value, value]
    _saved(value, path)


def _deep(path: Path) -> None:
    """A list in a list, ten thousand deep."""
    value: Any = []
    for _ in range(10_000):
        value = [value]
    sys.setrecursionlimit(100_000)
    try:
        _saved(value, path)
    finally:
        sys.setrecursionlimit(1000)


def _safetensors(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)


def _changed(**changes: Tensor | None) -> dict[str, Tensor]:
    names = {name.rpartition(".")[2]: name for name in state()}
    changed = {names.get(short, short): w for short, w in changes.items()}
    return {name: w for name, w in (state() | changed).items() if w is not None}


def _whole_model(path: Path) -> None:
    _saved({"model": nn.Linear(3, 3)}, path)


def _plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps([1.0, 2.0, 3.0]))


def _script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is to be replaced
        torch.jit.save(torch.jit.trace(nn.Linear(3, 3), torch.zeros(1, 3)), str(path))


def _cut(path: Path, share: float, **settings: Any) -> None:
    buffer = io.BytesIO()
    torch.save(state(), buffer, **settings)
    content = buffer.getvalue()
    path.write_bytes(content[: int(share * len(content))])


def _nan() -> Tensor:
    W_E = state()["embed.W_E"].clone()
    W_E[3, 4] = float("nan")
    return W_E


def hostile(sentinel: Path) -> dict[str, Callable[[Path], None]]:
    """Files that make the file `sentinel` where they are executed, by what they are."""
    run = Hostile(os.system, f"touch {sentinel}")
    popen = Hostile(subprocess.check_output, ["touch", str(sentinel)])
    evaluated = Hostile(eval, f"open({str(sentinel)!r}, 'w').close()")
    loads = Hostile(pickle.loads, pickle.dumps(run))
    inner = Hostile(torch.load, io.BytesIO(b""), None)
    return {
        "os.system in a state dict": lambda path: _saved(state() | {"x": run}, path),
        "subprocess, legacy format": lambda path: _saved([popen], path, _use_new_zipfile_serialization=False),
        "eval as a plain pickle": lambda path: path.write_bytes(pickle.dumps(evaluated)) and None,
        "pickle in a pickle": lambda path: _saved({"model": state(), "config": loads}, path),
        "torch.load in a pickle": lambda path: _saved({"model": state(), "config": inner}, path),
        "os.system named .safetensors": lambda path: (
            path.with_suffix(".safetensors").write_bytes(pickle.dumps(run))
            and path.with_suffix(".safetensors").rename(path)
            and None
        ),
    }


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "cut zip": (lambda path: _cut(path, 0.6), "cut off or damaged"),
    "cut legacy file": (lambda path: _cut(path, 0.6, _use_new_zipfile_serialization=False), "cut off or damaged"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html>\n<html><head><title>model.pth"), "is a web page"),
    "pointer of Git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        "is a pointer of Git LFS",
    ),
    "JSON": (lambda path: path.write_text(json.dumps({"p": 113})), "looks like JSON"),
    "text": (lambda path: path.write_text("weights of my network"), "neither a file of torch.save nor safetensors"),
    "TorchScript": (_script, "is a TorchScript archive"),
    "numpy arrays": (lambda path: np.savez(path.open("wb"), W_E=np.zeros((3, 3))), "holds numpy arrays"),
    "another zip": (lambda path: zipfile.ZipFile(path, "w").writestr("notes.txt", "x"), "not torch.save's: it holds"),
    "compressed zip": (
        lambda path: _replaced(path, "data.pkl", bytes, zipfile.ZIP_DEFLATED), "is a compressed zip archive"
    ),
    "fewer numbers than declared": (
        lambda path: _replaced(path, "data/0", lambda old: old[:-4]), "cut off or damaged; .*record size"
    ),
    "damaged pickle": (lambda path: _replaced(path, "data.pkl", lambda old: old[:-40]), "cut off or damaged"),
    "plain pickle of numbers": (_plain_pickle, "is a pickle, but not torch.save's"),
    "list of numbers": (lambda path: _saved([1.0, 2.0, 3.0], path), "holds a list of 3, no named weights"),
    "one tensor": (lambda path: _saved(torch.zeros(4, 5), path), r"holds one tensor \[4, 5\]"),
    "whole model": (_whole_model, "asks for torch.nn.modules.linear.Linear .*none of it was run"),
    "optimizer alone": (
        lambda path: _saved(torch.optim.AdamW(nn.Linear(3, 3).parameters()).state_dict(), path),
        "holds an optimizer's state .* and no weights",
    ),
    "wrong shapes": (
        lambda path: _saved(_changed(W_in=torch.zeros(24, 18), b_out=torch.zeros(23)), path),
        r"(?s)blocks.0.mlp.b_in, read as b_in: expected \[18\], found \[17\].*b_out, read as b_out: expected \[24\]",
    ),
    "missing weights": (
        lambda path: _saved(_changed(W_V=None, W_U=None), path),
        "(?s)W_U is missing: expected .*, found none.*W_V is missing",
    ),
    "another weight": (
        lambda path: _saved(_changed(gate=torch.zeros(3, 4)), path), r"gate \[3, 4\]: by its name no weight"
    ),
    "not a number": (lambda path: _saved(_changed(W_E=_nan()), path), r"embed.W_E holds 1 numbers that are not"),
    "whole numbers": (lambda path: _saved(_changed(W_E=torch.ones(14, 24).long()), path), "embed.W_E holds int64"),
    "an enormous tensor": (_enormous, r"W_in declares shape \[24, 1000000000000\], more than the file holds"),
    "lists without end": (_many_lists, "holds a list of 2, no named weights"),
    "lists ten thousand deep": (_deep, "holds a list of 1, no named weights"),
    "weights of no device": (
        lambda path: _saved(_changed(W_E=torch.zeros(14, 24, device="meta")), path), "embed.W_E holds no numbers"
    ),
    "safetensors, wrong header": (lambda path: _safetensors(path, b'{"W_E": {"dtype"'), "no whole safetensors"),
    "safetensors, header too long": (lambda path: _safetensors(path, b"{}", length=10**15), "no whole safetensors"),
    "safetensors, enormous": (
        lambda path: _safetensors(
            path, b'{"W_E":{"dtype":"F32","shape":[1000000000,1000000],"data_offsets":[0,4000000000000000]}}'
        ),
        "no whole safetensors",
    ),
    "safetensors, cut": (
        lambda path: _safetensors(path, b'{"W_E":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}', b"\0" * 8),
        "no whole safetensors",
    ),
}  # fmt: skip
"""By what they are: how each is written, and what its reader is told."""
