"""A file's content, without running any of it: torch.save's files (weights only) and safetensors.

A pickle can name any function of Python to be called on being read. Here torch.load(weights_only=True) builds
tensors, numbers, strings and containers alone, with the few names of `ALLOWED` besides, and refuses the rest before
calling it.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.checkpoints.refusal import refusal
from grok_sweep.store import load_tensors


@dataclass(frozen=True)
class Contents:
    """What a file holds: nested containers with tensors on the CPU; metadata of a safetensors file."""

    value: Any
    is_safetensors: bool = False
    metadata: dict[str, str] | None = None


OLD_FORMAT = bytes.fromhex("6cfc9c46f9206aa85019")
"""Stands at the beginning of what torch.save wrote before its files were zip archives."""

MOST_BYTES = 8 * 2**30
"""Larger files are not opened: a network of this family takes a megabyte, its checkpoints one each."""

SAVE_WEIGHTS = "Save the weights alone: torch.save(model.state_dict(), …)"


class SavedConfig:
    """Stands for a settings object of TransformerLens: holds what was saved of it, and does nothing."""


_SCALARS = (np.bool_, np.int32, np.int64, np.float16, np.float32, np.float64)
_NUMPY = [
    (function, f"{package}.multiarray.{function.__name__}")
    for function in (np._core.multiarray.scalar, np._core.multiarray._reconstruct)  # pyright: ignore[reportAttributeAccessIssue]
    for package in ("numpy.core", "numpy._core")
]
_TL = "transformer_lens"
_CONFIGS = (
    f"{_TL}.HookedTransformerConfig.HookedTransformerConfig",
    f"{_TL}.config.HookedTransformerConfig.HookedTransformerConfig",
    f"{_TL}.config.hooked_transformer_config.HookedTransformerConfig",
    "easy_transformer.EasyTransformerConfig.EasyTransformerConfig",
)

ALLOWED: list[Any] = [
    *_NUMPY,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(scalar)) for scalar in _SCALARS),
    Namespace,
    *((SavedConfig, name) for name in _CONFIGS),
]
"""Beside torch's own list: numpy's numbers and arrays (losses are often saved so), argparse's bag of settings, and a
stand-in for the settings of TransformerLens. None of them opens a file or calls anything."""


def contents(path: Path) -> Contents:
    """Read a file of weights.

    Raises ValueError, in the user's words, for whatever is none; OSError where it cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if found := _no_weights(path, start):
        raise refusal(path, [found])
    if start.startswith(b"PK"):
        if found := _wrong_archive(path):
            raise refusal(path, [found])
        return Contents(_loaded(path))
    if _looks_like_safetensors(path, start):
        return _safetensors(path)
    if start.startswith(b"\x80") and OLD_FORMAT in start:
        return Contents(_loaded(path))
    if start.startswith((b"\x80", b"(", b"]", b"}")):
        raise refusal(path, [f"is a pickle, but not torch.save's: nothing of it was read. {SAVE_WEIGHTS}"])
    raise refusal(path, [f"begins with {start[:8]!r}: neither a file of torch.save nor safetensors"])


# --- what it is ---------------------------------------------------------------------------------------------


def _no_weights(path: Path, start: bytes) -> str | None:
    """Why this cannot be weights, from its first bytes; None where it may be."""
    if (size := path.stat().st_size) > MOST_BYTES:
        return f"has {size / 2**30:.0f} GB, where a network of this family takes a megabyte"
    if not start:
        return "is empty (0 bytes); was it copied or downloaded to its end?"
    text = start.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself: `git lfs pull` in its repository fetches it"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")) or b"<head" in text:
        return "is a web page, not weights: download the file itself (on GitHub the link `Download raw file`)"
    if b"/annex/objects/" in start and len(start) < 512:
        return "is a pointer of git-annex, not the file itself: `git annex get` in its repository fetches it"
    if text.startswith((b"{", b"[")):
        return f"is text that looks like JSON ({_excerpt(start)}), not weights"
    if path.suffix == ".safetensors" and len(start) < 8:
        return f"is no safetensors file: it has {len(start)} bytes, and the length of its header alone takes 8"
    return None


def _wrong_archive(path: Path) -> str | None:
    """What is wrong with a zip: torch.save's holds data.pkl, uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        return f"is a zip archive that is cut off or damaged ({error}); torch.save's files are such. Copy it again"
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") for name in names):
        return (
            "is a TorchScript archive (torch.jit.save): it holds code beside the weights, which is not run. Where "
            "you trust it, save its weights: torch.save(torch.jit.load(FILE).state_dict(), …)"
        )
    if names and all(name.endswith(".npy") for name in names):
        return (
            "holds numpy arrays (.npz); save them as safetensors: safetensors.numpy.save_file(dict(np.load(FILE)), …)"
        )
    if not any(name.endswith("data.pkl") for name in names):
        return f"is a zip archive, but not torch.save's: it holds {_listed(names)}"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "is a compressed zip archive; torch.save compresses nothing. Unpack it, or save the weights again"
    return None


def _looks_like_safetensors(path: Path, start: bytes) -> bool:
    """By its name, or by a header of JSON after eight bytes of length."""
    return path.suffix == ".safetensors" or start[8:9] == b"{"


# --- reading ------------------------------------------------------------------------------------------------


def _safetensors(path: Path) -> Contents:
    try:
        tensors, metadata = load_tensors(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path} cannot be read ").strip("()")
        raise refusal(path, [f"is no whole safetensors file: {reason}"]) from error
    return Contents(tensors, is_safetensors=True, metadata=metadata)


def _loaded(path: Path) -> Any:
    """torch.load, weights only, on the CPU. Not mapped into memory: then it would not see that a tensor's numbers are
    fewer than it declares, and take those of the next one."""
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refusal(path, [_refused_pickle(path, str(error))]) from error
    except MemoryError as error:
        raise refusal(path, ["declares more numbers than this machine has memory for"]) from error
    except Exception as error:  # whatever a broken file makes the reader stumble over
        said = _first_line(error) or f"no more than {type(error).__name__}"
        raise refusal(path, [f"is cut off or damaged; torch.load says: {said}"]) from error


def _refused_pickle(path: Path, said: str) -> str:
    """Which names of Python the file asks for; or, where it asks for none, what the reader says."""
    if names := _asked_for(path, said):
        return (
            f"asks for {_listed(names)} of Python to be called on reading. That is refused: none of it was run. "
            f"{SAVE_WEIGHTS}"
        )
    reason = _first_line(said.rpartition("WeightsUnpickler error:")[2])
    return f"is a damaged pickle, or one that is more than weights ({reason}): none of it was run. {SAVE_WEIGHTS}"


def _asked_for(path: Path, said: str) -> list[str]:
    """Names that are not on the list; all of them for a zip archive, else the first."""
    try:
        with torch.serialization.safe_globals(ALLOWED):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the list is a courtesy: the file is refused whether or not it can be had
        found = []
    for mark in ("Unsupported global: GLOBAL ", "load unsupported GLOBAL "):
        if not found and mark in said:
            found = [said.split(mark)[1].split()[0]]
    return sorted(found)


def _first_line(said: object) -> str:
    return str(said).strip().split("\n")[0][:160]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"


def _excerpt(content: bytes) -> str:
    return repr(content[:40].decode(errors="replace"))
