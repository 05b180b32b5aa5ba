"""Tables of numbers as PNG images: thousands of cells in kilobytes, where a rectangle each would be megabytes."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import altair as alt
import torch
from jaxtyping import UInt8
from torch import Tensor

from analysis.report import style

MOST_PIXELS = 1100
"""Of a side, about: cells are drawn so large that browsers and printers need not blur them."""
RAMP = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
"""viridis: even in lightness, told apart by colour-blind readers and in grey."""
GREYS = ("#767676", "#ffffff")
"""The second ramp; its darkest is far from the first one's, so that the two are told apart where both are low."""
KEY_WIDTH = 14
"""Of the bar that explains the colours, in pixels."""
LEVELS = 128
"""Of each of the two ramps; PNG's palette holds 256."""


def levels(values: Tensor, low: float, high: float) -> UInt8[Tensor, ...]:
    """0..LEVELS-1 from low to high; beyond them the ends."""
    scaled = (values.double() - low) / (high - low) if high > low else torch.zeros_like(values, dtype=torch.float64)
    return (scaled.clamp(0, 1) * (LEVELS - 1)).round().to(torch.uint8)


def image(cells: UInt8[Tensor, "height width"]) -> str:
    """A data URI of a PNG; cells below LEVELS are coloured by RAMP, others by GREYS. Row 0 is drawn at the bottom."""
    size = max(1, MOST_PIXELS // max(cells.shape))
    pixels = cells.flip(0).repeat_interleave(size, 0).repeat_interleave(size, 1).contiguous()
    palette = b"".join(map(bytes, [*_ramp(RAMP), *_ramp(GREYS)]))
    return "data:image/png;base64," + base64.b64encode(_png(pixels, palette)).decode()


def _ramp(colours: Sequence[str]) -> list[tuple[int, int, int]]:
    """LEVELS colours, between the given ones in even steps."""
    anchors = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in colours]
    found = []
    for level in range(LEVELS):
        at = level / (LEVELS - 1) * (len(anchors) - 1)
        i = min(int(at), len(anchors) - 2)
        red, green, blue = (round(x + (y - x) * (at - i)) for x, y in zip(anchors[i], anchors[i + 1], strict=True))
        found.append((red, green, blue))
    return found


def _png(pixels: UInt8[Tensor, "height width"], palette: bytes) -> bytes:
    """An image of palette indices (PNG specification, section 11)."""
    height, width = pixels.shape
    rows = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), pixels], 1)  # each row begins with its filter: none
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", zlib.compress(rows.numpy().tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


# --- as a figure --------------------------------------------------------------------------------------------


def picture(
    cells: UInt8[Tensor, "height width"],
    side: int,
    titles: tuple[str, str],
    first: tuple[int, int] = (0, 0),
    ticks: Sequence[int] | None = None,
) -> Any:
    """The image with axes: columns to the right, rows upwards.

    Args:
        side: width and height in pixels.
        titles: of the axis to the right and of that upwards.
        first: what the first column and the first row stand for.
        ticks: on both axes; None: a few round numbers.
    """
    spans = [[start - 0.5, start + n - 0.5] for start, n in zip(first, reversed(cells.shape), strict=True)]
    drawn = (
        alt.Chart(alt.Data(values=[{"url": image(cells)}]))
        .mark_image(width=side, height=side, aspect=False)
        .encode(url=alt.Url(field="url", type="nominal"), x=alt.value(side / 2), y=alt.value(side / 2))
    )
    # The image knows no scale: points that cannot be seen bring the axes.
    frame = alt.Chart(alt.Data(values=[{"x": spans[0][0], "y": spans[1][0]}])).mark_point(opacity=0)
    channels = [(alt.X, "x", spans[0], titles[0]), (alt.Y, "y", spans[1], titles[1])]
    axes = {name: _axis(channel, name, span, title, ticks) for channel, name, span, title in channels}
    return alt.layer(drawn, frame.encode(**axes)).properties(width=side, height=side)


def _axis(channel: Any, name: str, span: Sequence[float], title: str, ticks: Sequence[int] | None) -> Any:
    given: dict[str, Any] = (
        {"tickCount": 6, "tickMinStep": 1} if ticks is None else {"values": list(ticks), "labelOverlap": True}
    )
    axis = alt.Axis(title=title, grid=False, format="d", **given)
    return channel(
        field=name, type="quantitative", axis=axis, scale=alt.Scale(domain=list(span), nice=False, zero=False)
    )


def key(title: str, low: float, high: float, log: bool = True, is_grey: bool = False, length: int = 150) -> Any:
    """The colours from low to high as a bar with an axis: what explains an image, made as it is."""
    column = torch.arange(LEVELS, dtype=torch.uint8)[:, None] + (LEVELS if is_grey else 0)
    bar = (
        alt.Chart(alt.Data(values=[{"url": image(column)}]))
        .mark_image(width=KEY_WIDTH, height=length, aspect=False)
        .encode(url=alt.Url(field="url", type="nominal"), x=alt.value(KEY_WIDTH / 2), y=alt.value(length / 2))
    )
    ticks: dict[str, Any] = style.powers(low, high) if log else {"tickCount": 5}
    axis = alt.Axis(orient="right", title=None, grid=False, **ticks)
    scale = alt.Scale(type="log" if log else "linear", domain=[low, high], nice=False)
    ends = alt.Chart(alt.Data(values=[{"value": low}])).mark_point(opacity=0)
    ends = ends.encode(y=alt.Y(field="value", type="quantitative", axis=axis, scale=scale))
    head = alt.TitleParams(text=title, fontSize=11, fontWeight="normal")
    return alt.layer(bar, ends).properties(width=KEY_WIDTH, height=length, title=head)
