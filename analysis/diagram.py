"""The map of a sweep as one Altair figure: phases beside times, over two settings. Pure: it writes nothing.

Every cell is drawn as paths in pixels about its centre (area, hatch, frame, words), so that the legend's swatches
are made by the same code as the cells, and the static and the interactive figure are one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from analysis import captions, looks
from analysis.looks import LOOKS
from analysis.marks import TIMED, Grid, Mark, grid, marks, time_domain

PIXEL = 4
"""Size of a point whose shape is given in pixels: Vega scales a shape by sqrt(size) / 2."""
WIDEST_PAIR = 420
"""Maps wider than this (pixels) stand one above the other."""
LEAST_WIDTH = 620
"""Of the figure, in pixels, so that title and legend have room."""
SWATCH = (30, 16)
ENTRY_HEIGHT = 22


def diagram(name: str, runs: pl.DataFrame, cells: pl.DataFrame, x: str, y: str | None) -> alt.VConcatChart:
    """Two maps, phase and t_test, with one legend.

    Args:
        name: the sweep's name, shown as text whatever it holds.
        runs, cells: as made by analysis.load and analysis.cells from the same runs.
        x, y: the settings on the axes; y is None for a map of one row.
    """
    places = grid(runs, cells, x, y)
    phase_marks, time_marks = marks(runs, cells, x, y, places)
    several = any(n > 1 for n in cells["n_runs"].to_list())
    phases = _panel(phase_marks, places, None, _phase_title(several))
    times = _panel(time_marks, places, time_domain(cells), _time_title(several))
    beside = places.width <= WIDEST_PAIR
    pair = alt.hconcat(phases, times, spacing=36) if beside else alt.vconcat(phases, times, spacing=30)
    # Else Vega-Lite would put the key of the times beside the phases, or above the whole.
    pair = pair.resolve_scale(color="independent").resolve_legend(color="independent")
    width = max(LEAST_WIDTH, places.width * (2 if beside else 1) + 170)
    seen = {mark["look"] for mark in [*phase_marks, *time_marks]}
    entries = captions.legend(
        [look for look in LOOKS if look in seen], runs, abbreviated=places.size.words == "short", several=several
    )
    figure = alt.vconcat(pair, _legend(entries, width), spacing=22)
    return _styled(figure, name, captions.subtitle(runs, [x, *([y] if y else [])]), width)


def _phase_title(several: bool) -> list[str]:
    return ["Phase", "the most frequent; n/m: n of m runs"] if several else ["Phase"]


def _time_title(several: bool) -> list[str]:
    return ["t_test (steps)", "median of the runs; n/m: n of m generalised"] if several else ["t_test (steps)"]


def _panel(cells: Sequence[Mark], places: Grid, domain: tuple[float, float] | None, title: list[str]) -> Any:
    """One map; `domain` (steps) is the range of the colours of cells that look TIMED."""
    base = alt.Chart(alt.Data(values=list(cells))).encode(**_positions(places))
    size = places.size
    layers = _areas(base, cells, size.width, size.height)
    if domain is not None:
        layers.insert(0, _timed(base, places, domain))
    if size.words != "none":
        layers += [_words(base, size, halo=True), _words(base, size, halo=False)]
    below: dict[str, Any] = {"subtitle": title[1:]} if title[1:] else {}
    head = alt.TitleParams(text=title[0], anchor="start", frame="group", offset=8, **below)
    return alt.layer(*layers).properties(title=head, width=places.width, height=places.height)


def _positions(places: Grid) -> dict[str, Any]:
    """Encodings of the two axes: ordinal, ascending to the right and upwards."""
    turned = max(map(len, places.across)) * 6.5 > places.size.step_x
    x_axis = alt.Axis(title=places.x_title, labelAngle=-90 if turned else 0)
    y_axis = None if places.y_title is None else alt.Axis(title=places.y_title)
    return {
        "x": alt.X(field="x", type="ordinal", scale=alt.Scale(domain=places.across), axis=x_axis),
        "y": alt.Y(field="y", type="ordinal", scale=alt.Scale(domain=places.up[::-1]), axis=y_axis),
    }


# --- layers: shared by cells and swatches -------------------------------------------------------------------


def _areas(base: alt.Chart, cells: Sequence[Mark], width: float, height: float) -> list[alt.Chart]:
    """Fill, texture and frame of every look that occurs, except the colours of times."""
    plain = base.transform_filter(f"datum.look !== '{TIMED}'")
    area = _shape(plain, looks.box(width, height), filled=True, aria=True).encode(
        fill=_literal(alt.Fill, "fill"), description=alt.Description(field="spoken", type="nominal")
    )
    layers = [area]
    for texture in sorted({mark["texture"] for mark in cells} - {""}):
        chosen = base.transform_filter(f"datum.texture === '{texture}'")
        path = looks.texture(texture, width, height)
        layers.append(_shape(chosen, path, strokeWidth=1.3).encode(stroke=_literal(alt.Stroke, "line")))
    for look in sorted({mark["look"] for mark in cells} & LOOKS.keys()):
        dash = LOOKS[look].dash
        if dash is not None:
            chosen = base.transform_filter(f"datum.look === '{look}'")
            frame = _shape(chosen, looks.box(width, height, inset=1), strokeWidth=1.6, strokeDash=list(dash))
            layers.append(frame.encode(stroke=_literal(alt.Stroke, "line")))
    return layers


def _timed(base: alt.Chart, places: Grid, domain: tuple[float, float]) -> alt.Chart:
    """The cells that have a time, on a log scale: early is bright, late is dark."""
    key = alt.Legend(
        title=["t_test", "(steps)"],
        values=looks.time_ticks(domain),
        format=",d" if domain[1] >= 10_000 else "d",
        gradientLength=max(90, min(240, places.height - 40)),
    )
    scale = alt.Scale(type="log", domain=list(domain), scheme="viridis", reverse=True, nice=False)
    chosen = base.transform_filter(f"datum.look === '{TIMED}'")
    area = _shape(chosen, looks.box(places.size.width, places.size.height), filled=True, aria=True)
    return area.encode(
        color=alt.Color(field="steps", type="quantitative", scale=scale, legend=key),
        description=alt.Description(field="spoken", type="nominal"),
    )


def _shape(base: alt.Chart, path: str, *, filled: bool = False, aria: bool = False, **style: Any) -> alt.Chart:
    """A path in pixels at each mark's place, with its tooltip."""
    return base.mark_point(
        shape=path, size=PIXEL, opacity=1, filled=filled, aria=aria, tooltip=alt.expr("datum.tip"), **style
    )


def _literal(channel: Any, field: str) -> Any:
    """A channel whose field holds colours themselves."""
    return channel(field=field, type="nominal", scale=None, legend=None)


def _words(base: alt.Chart, size: looks.Size, *, halo: bool) -> alt.Chart:
    """The lines in a cell; their halo keeps them legible on a texture."""
    style: dict[str, Any] = {"strokeWidth": 5, "strokeJoin": "round"} if halo else {}
    text = base.mark_text(
        fontSize=size.font,
        lineHeight=size.line_height,
        dy=alt.expr("datum.rise"),
        baseline="middle",
        aria=False,
        tooltip=alt.expr("datum.tip"),
        **style,
    ).encode(text=alt.Text(field="lines", type="nominal"), fill=_literal(alt.Fill, "ink"))
    if not halo:
        return text
    return text.encode(stroke=_literal(alt.Stroke, "fill"), fill=_literal(alt.Fill, "fill")).transform_filter(
        "datum.texture !== ''"
    )


# --- legend and title ---------------------------------------------------------------------------------------


def _legend(entries: Mapping[str, str], width: float) -> Any:
    """A row a look: swatch and meaning."""
    rows: list[Mark] = []
    for i, (look, meaning) in enumerate(entries.items()):
        style = LOOKS[look]
        rows.append({"look": look, "fill": style.fill, "line": style.line, "texture": style.texture})
        rows[-1] |= {
            "px": SWATCH[0] / 2,
            "py": (i + 0.5) * ENTRY_HEIGHT,
            "meaning": meaning,
            "spoken": meaning,
        }
    height = len(rows) * ENTRY_HEIGHT
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=_pixels(alt.X, "px", [0, width]), y=_pixels(alt.Y, "py", [height, 0])
    )
    text = base.mark_text(align="left", baseline="middle", dx=SWATCH[0] / 2 + 10, fontSize=11, aria=False)
    layers = [*_areas(base, rows, *SWATCH), text.encode(text=alt.Text(field="meaning", type="nominal"))]
    return alt.layer(*layers).properties(width=width, height=height)


def _pixels(channel: Any, field: str, domain: Sequence[float]) -> Any:
    return channel(field=field, type="quantitative", axis=None, scale=alt.Scale(domain=list(domain), nice=False))


def _styled(figure: alt.VConcatChart, name: str, sentences: Sequence[str], width: float) -> alt.VConcatChart:
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, int(width / 5.6))]
    head = f"{captions.printable(name)}: phases and times of generalisation"
    title = alt.TitleParams(text=head, subtitle=lines, anchor="start", fontSize=16, subtitleFontSize=11, offset=16)
    return (
        figure.properties(title=title, background="white", padding=14)
        .resolve_scale(color="independent", fill="independent", stroke="independent")
        .configure_view(stroke=None)
        .configure_axis(
            grid=False,
            ticks=False,
            domain=False,
            labelFontSize=11,
            titleFontSize=12,
            labelLimit=160,
            titlePadding=8,
        )
        .configure_title(fontSize=13, subtitleColor="#444444", limit=int(width))
        .configure_legend(labelFontSize=11, titleFontSize=11)
    )
