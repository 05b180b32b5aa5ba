"""Whatever wandb's public API raises, as one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from grok_sweep.wandb_session import quiet_wandb, said

TIMEOUT_S = 20.0
"""For one answer of the server; WANDB_HTTP_TIMEOUT overrides it."""


class NoKey(ValueError):
    """There is no account to ask with."""


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise ValueError with one line, `doing` and the way out, for whatever is raised inside; NoKey without a key."""
    try:
        yield
    except Exception as error:
        kind = NoKey if is_no_key(said(error)) else ValueError
        raise kind(f"{doing}: {_way_out(said(error))}") from error


def server() -> str:
    """The address of the server that is asked."""
    wandb, _ = quiet_wandb(TIMEOUT_S)
    return str(wandb.setup().settings.base_url)


def is_no_key(text: str) -> bool:
    return "no api key" in text.lower() or "no authentication" in text.lower()


def _way_out(text: str) -> str:
    small = text.lower()
    if is_no_key(text):
        return "no key; set WANDB_API_KEY, or call `wandb login` once (your own server: WANDB_BASE_URL)"
    if any(word in small for word in ("respond in time", "timed out", "connection")):
        return f"no answer from {server()}; is there a network, and is WANDB_BASE_URL right?"
    if re.search(r"\b40[13]\b|permission|wandb_api_key", small):
        return f"the key is refused ({text}); set WANDB_API_KEY to one that may use the project"
    if re.search(r"\b404\b|could not find project|project .*not found", small):
        return "no such project, or the key may not use it; entity and project stand in its address at W&B"
    return f"{server()} says {text}"
