"""Figures as files, without a browser, and what a page needs to hold one without a network. Writes nothing."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import altair as alt
import vl_convert as vlc

PNG_SCALE = 2
VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""Of Vega-Lite."""
# A page that may load nothing at all; Vega compiles its expressions, hence unsafe-eval.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
)

EMBED = {
    "mode": "vega-lite",
    "renderer": "svg",
    # The editor would send the figure to a server; the menu keeps what works offline.
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}
"""Options of vegaEmbed."""


def figure_files(spec: dict[str, Any]) -> dict[str, bytes]:
    """A Vega-Lite specification as .svg, .pdf and .png."""
    vega = vlc.vegalite_to_vega(spec, vl_version=VERSION)
    return {
        ".svg": vlc.vega_to_svg(vega).encode(),
        ".pdf": vlc.vega_to_pdf(vega),
        ".png": vlc.vega_to_png(vega, scale=PNG_SCALE),
    }


@cache
def library() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script."""
    return vlc.javascript_bundle(vl_version=VERSION)  # pyright: ignore[reportCallIssue] (the stub is wrong)


def inline_json(value: Any) -> str:
    """The value as JSON for a script element: every `<` is an escape, so that no text in it can end the script."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
