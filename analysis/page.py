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

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%(policy)s">
<meta name="viewport" content="width=device-width">
<title>%(title)s</title>
<style>%(style)s</style>
<script>%(library)s</script>
</head>"""
EMBED = {
    "mode": "vega-lite",
    "renderer": "svg",
    # The editor would send the figure to a server; the menu keeps what works offline.
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}
"""Options of vegaEmbed."""


def figure_files(spec: dict[str, Any]) -> dict[str, bytes]:
    """A Vega-Lite specification as .svg, and .pdf and .png made of that: the figure is computed once."""
    svg = vlc.vegalite_to_svg(spec, vl_version=VERSION)
    return {".svg": svg.encode(), ".pdf": vlc.svg_to_pdf(svg), ".png": vlc.svg_to_png(svg, scale=PNG_SCALE)}


def head(title: str, style: str, library: str) -> str:
    """A page's beginning, up to its body.

    Args:
        title: escaped.
        library: of `library`.
    """
    return HEAD % {"policy": POLICY, "title": title, "style": style, "library": library}


@cache
def library() -> str:
    """Vega, Vega-Lite and vegaEmbed as one script."""
    return vlc.javascript_bundle(vl_version=VERSION)  # pyright: ignore[reportCallIssue] (the stub is wrong)


def inline_json(value: Any) -> str:
    """The value as JSON for a script element: every `<` is an escape, so that no text in it can end the script."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
