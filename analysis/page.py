"""Figures as files: one page that needs no network, and SVG, PDF and PNG, without a browser."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert as vlc

from grok_sweep.store import write_atomic

PNG_SCALE = 2
# A page that may load nothing at all; Vega compiles its expressions, hence unsafe-eval.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
)
# The editor would send the figure to a server; the menu keeps what works offline.
EMBED = {
    "downloadFileName": "phase_diagram",
    "mode": "vega-lite",
    "renderer": "svg",
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%(policy)s">
<meta name="viewport" content="width=device-width">
<title>%(title)s</title>
<style>
body { margin: 16px; background: white; font-family: sans-serif; }
#vg-tooltip-element td.value { white-space: pre-line; max-width: 560px; }
@media print { details { display: none; } }
</style>
<script>%(library)s</script>
</head>
<body>
<div id="figure"></div>
<script>
const spec = %(spec)s;
vegaEmbed("#figure", spec, %(embed)s).catch(console.error);
</script>
</body>
</html>
"""


def write_figure(chart: alt.TopLevelMixin, stem: Path, title: str) -> list[Path]:
    """Write <stem>.html, .svg, .pdf and .png, each by atomic replace; the HTML's path comes first."""
    spec: dict[str, Any] = chart.to_dict()
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    vega = vlc.vegalite_to_vega(spec, vl_version=version)
    contents = {
        ".html": page(spec, title, version).encode(),
        ".svg": vlc.vega_to_svg(vega).encode(),
        ".pdf": vlc.vega_to_pdf(vega),
        ".png": vlc.vega_to_png(vega, scale=PNG_SCALE),
    }
    paths = [stem.with_name(stem.name + suffix) for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomic(path, content)
    return paths


def page(spec: dict[str, Any], title: str, version: str) -> str:
    """The figure as one page that holds its library.

    Every `<` of the specification stands as an escape, so that no name in it can end the script.
    """
    return PAGE % {
        "policy": POLICY,
        "title": html.escape(title),
        "library": vlc.javascript_bundle(vl_version=version),  # pyright: ignore[reportCallIssue] (the stub is wrong)
        "spec": json.dumps(spec).replace("<", "\\u003c"),
        "embed": json.dumps(EMBED),
    }
