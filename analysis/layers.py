"""The layers of a map: every cell and every swatch as paths in pixels about its centre. Pure."""

from __future__ import annotations

from typing import Any

import altair as alt

from analysis import looks
from analysis.looks import DARK, LIGHT, LOOKS

PIXEL = 4
"""Size of a point whose shape is given in pixels: Vega scales a shape by sqrt(size) / 2."""
TEXTURES = ("hatch", "cross")
DASHED = {look: style.dash for look, style in LOOKS.items() if style.dash is not None}


def areas(base: alt.Chart, width: float, height: float) -> list[alt.Chart]:
    """Fill, texture and frame of every look, except the colours of numbers."""
    area = _shape(base, looks.box(width, height), filled=True, aria=True)
    layers = [area.encode(fill=_literal(alt.Fill, "fill"), description=_spoken())]
    for texture in TEXTURES:
        chosen = base.transform_filter(f"datum.texture === '{texture}'")
        path = looks.texture(texture, width, height)
        layers.append(_shape(chosen, path, strokeWidth=1.3).encode(stroke=_literal(alt.Stroke, "line")))
    for look, dash in DASHED.items():
        chosen = base.transform_filter(f"datum.look === '{look}'")
        frame = _shape(chosen, looks.box(width, height, inset=1), strokeWidth=1.6, strokeDash=list(dash))
        layers.append(frame.encode(stroke=_literal(alt.Stroke, "line")))
    return layers


def coloured(base: alt.Chart, size: looks.Size) -> alt.Chart:
    """The cells that have a number; `fill` gives the scale."""
    with_value = base.transform_filter("datum.value !== null")
    area = _shape(with_value, looks.box(size.width, size.height), filled=True, aria=True)
    return area.encode(description=_spoken()).properties(name="coloured")


def _spoken() -> alt.Description:
    return alt.Description(field="spoken", type="nominal")


def _shape(base: alt.Chart, path: str, *, filled: bool = False, aria: bool = False, **style: Any) -> alt.Chart:
    """A path in pixels at each mark's place, with its tooltip."""
    return base.mark_point(
        shape=path, size=PIXEL, opacity=1, filled=filled, aria=aria, tooltip=alt.expr("datum.tip"), **style
    )


def _literal(channel: Any, field: str) -> Any:
    """A channel whose field holds colours themselves."""
    return channel(field=field, type="nominal", scale=None, legend=None)


def words(base: alt.Chart, size: looks.Size) -> alt.Chart:
    """The lines in a cell."""
    return base.mark_text(**_letters(size)).encode(text=_LINES, fill=_literal(alt.Fill, "ink"))


def halos(base: alt.Chart, size: looks.Size) -> list[alt.Chart]:
    """The cell's colour about its words, so wide that a texture or a line stops short of them."""
    wide = _letters(size) | {"strokeWidth": 11, "strokeJoin": "round"}
    colour = {"stroke": _literal(alt.Stroke, "fill"), "fill": _literal(alt.Fill, "fill")}
    plain = base.transform_filter("datum.value === null").mark_text(**wide).encode(text=_LINES, **colour)
    coloured = base.transform_filter("datum.value !== null").mark_text(**wide).encode(text=_LINES)
    return [plain, coloured.properties(name="coloured_halo")]


_LINES = alt.Text(field="lines", type="nominal")


def _letters(size: looks.Size) -> dict[str, Any]:
    style: dict[str, Any] = {"fontSize": size.font, "lineHeight": size.line_height, "baseline": "middle"}
    return style | {"dy": alt.expr("datum.rise"), "aria": False, "tooltip": alt.expr("datum.tip")}


def chosen(size: looks.Size) -> list[alt.Chart]:
    """A frame about the cell that was chosen; none in a static figure."""
    cell = alt.Chart(alt.NamedData("chosen"))
    path = looks.box(size.step_x, size.step_y)
    wide = _shape(cell, path, strokeWidth=5).encode(stroke=alt.value(LIGHT))
    return [wide, _shape(cell, path, strokeWidth=2.5).encode(stroke=alt.value(DARK))]


ALONG: dict[str, Any] = {"order": "n:Q", "detail": "shape:N"}


def lines() -> list[alt.Chart]:
    """A boundary's lines and their names, of rows as analysis.contours makes them; none without rows."""
    rows = alt.Chart(alt.NamedData("boundary"))
    dash = alt.StrokeDash("beyond:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [7, 5]]), legend=None)
    of_lines, of_tags = (rows.transform_filter(f"datum.kind === '{kind}'") for kind in ("line", "tag"))
    pointer = of_tags.mark_line(stroke=DARK, strokeWidth=0.8, strokeDash=[1, 3], clip=True).encode(**ALONG)
    casing = of_lines.mark_line(stroke=LIGHT, strokeWidth=5, opacity=0.75, clip=True).encode(**ALONG)
    drawn = of_lines.mark_line(stroke=DARK, strokeWidth=2, clip=True).encode(**ALONG, strokeDash=dash)
    tags = of_tags.transform_filter("datum.n === 0").mark_text(
        fontSize=11,
        align=alt.expr("datum.side === 'right' ? 'left' : 'center'"),
        baseline=alt.expr("datum.side === 'right' ? 'middle' : 'bottom'"),
        dx=alt.expr("datum.side === 'right' ? 6 : 0"),
        dy=alt.expr("datum.side === 'right' ? 0 : -4"),
        aria=False,
    )
    layers = {"pointer": pointer, "casing": casing, "line": drawn, "tag": tags.encode(text="label:N")}
    return [layer.properties(name=f"boundary_{name}") for name, layer in layers.items()]


def bands() -> list[alt.Chart]:
    """A boundary's bands, which shade what lies under them and hide none of it."""
    rows = alt.Chart(alt.NamedData("boundary"))
    return [
        rows.transform_filter(f"datum.kind === '{kind}'")
        .mark_line(fill=DARK, fillOpacity=opacity, strokeWidth=0, clip=True)
        .encode(**ALONG)
        .properties(name=f"boundary_{kind}")
        for kind, opacity in (("90", 0.16), ("50", 0.2))
    ]
