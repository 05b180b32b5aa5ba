"""A report as one HTML page that holds its library and loads nothing. Pure: text from blocks."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from analysis.captions import printable, printable_lines
from analysis.page import EMBED, head, inline_json
from analysis.report.blocks import Block, Figure, Listing, Report, Section, Table, Text

PAGE = """%(head)s
<body>
%(body)s
<script>
const figures = %(figures)s;
const embed = %(embed)s;
%(script)s
</script>
</body>
</html>
"""
STYLE = """
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 860px; background: white; color: #1a1a1a;
  font: 15px/1.5 system-ui, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 10px; padding-top: 10px; border-top: 1px solid #cccccc; }
p { margin: 8px 0 12px; }
p.quiet, p.under { color: #555555; }
p.under { margin: 0 0 16px; overflow-wrap: anywhere; }
nav { margin: 20px 0 0; font-size: 14px; }
nav a { margin-right: 14px; white-space: nowrap; }
a { color: #0059a3; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 10px; margin: 18px 0; }
dl.facts div { border: 1px solid #dddddd; border-radius: 4px; padding: 8px 12px; }
dl.facts dt { color: #555555; font-size: 13px; }
dl.facts dd { margin: 0; font-size: 17px; overflow-wrap: anywhere; }
figure { margin: 18px 0 26px; }
figure > div { overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
figcaption, caption { font-size: 13.5px; color: #333333; text-align: left; }
figcaption { max-width: 760px; margin-top: 2px; }
caption { caption-side: bottom; padding-top: 6px; min-width: 30em; }
table { border-collapse: collapse; font-size: 13.5px; margin: 12px 0 20px; }
th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid #e4e4e4; vertical-align: top;
  overflow-wrap: break-word; }
td:last-child { overflow-wrap: anywhere; }
th { border-bottom: 1px solid #999999; font-weight: 600; }
.whole { white-space: nowrap; }
td:first-child { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
pre { background: #f4f4f4; border: 1px solid #dddddd; border-radius: 4px; padding: 10px 12px; font-size: 12.5px;
  line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
#vg-tooltip-element td.value { white-space: pre-line; max-width: 560px; }
.steps { font-size: 14px; margin: 10px 0; }
@media print {
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  nav, details, .steps { display: none; }
  figure, dl.facts div, tr, pre { break-inside: avoid; }
  figure > div { overflow: visible; }
  .vega-embed { padding: 0 !important; }
  h2 { break-after: avoid; margin-top: 26px; }
  table { font-size: 8.5pt; }
  th, td { padding-right: 8px; }
}
"""
# Axes of steps are logarithmic where the figure is made; the choice draws the same figure with linear ones.
SCRIPT = """
function linear(part) {
  if (Array.isArray(part)) return part.map(linear);
  if (part === null || typeof part !== "object") return part;
  const made = {};
  for (const [name, value] of Object.entries(part)) made[name] = name === "values" ? value : linear(value);
  if (made.x && made.x.field === "step" && made.x.scale && made.x.scale.type === "log") {
    made.x.scale = {...made.x.scale, type: "linear", domain: [0, made.x.scale.domain[1]]};
    if (made.x.axis) { made.x.axis = {...made.x.axis, tickCount: 8}; delete made.x.axis.values; }
  }
  return made;
}
const shown = {};
async function draw(id, steps) {
  if (shown[id]) shown[id].finalize();
  const spec = steps === "linear" ? linear(figures[id]) : figures[id];
  shown[id] = await vegaEmbed("#" + id, spec, {...embed, downloadFileName: id});
}
async function drawAll(ids, steps) {
  for (const id of ids) await draw(id, steps).catch(console.error);
  document.body.dataset.drawn = steps;
}
const overTime = Object.keys(figures).filter((id) => linear(figures[id]) && JSON.stringify(linear(figures[id])) !==
  JSON.stringify(figures[id]));
const chooser = document.getElementById("steps");
if (chooser) {
  chooser.closest("p").hidden = overTime.length === 0;
  chooser.addEventListener("change", () => drawAll(overTime, chooser.value));
}
drawAll(Object.keys(figures), "log");
"""
CHOOSER = (
    '<p class="steps"><label>Steps in every figure over time: <select id="steps"><option value="log">logarithmic'
    '</option><option value="linear">linear</option></select></label></p>'
)


def page(report: Report, specs: dict[str, dict[str, Any]], library: str) -> str:
    """The whole page.

    Every `<` of the specifications stands as an escape, and all text goes through html.escape: no name can end the
    script or become markup.

    Args:
        specs: Vega-Lite specification of each figure, by its name.
        library: Vega, Vega-Lite and vega-embed as one script.
    """
    return PAGE % {
        "head": head(_text(report.title), STYLE, library),
        "body": _body(report),
        "figures": inline_json(specs),
        "embed": inline_json(EMBED),
        "script": SCRIPT,
    }


def _text(text: str) -> str:
    return html.escape(printable(text))


def _prose(text: str) -> str:
    """Text whose numbers are not broken at the minus of their exponent."""
    return re.sub(r"[0-9.]+e-[0-9]+", r'<span class="whole">\g<0></span>', _text(text))


# --- the body -----------------------------------------------------------------------------------------------


def _body(report: Report) -> str:
    facts = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in report.facts)
    links = "\n".join(f'<a href="#{section.anchor}">{_text(section.title)}</a>' for section in report.sections)
    return "\n".join(
        [
            f"<h1>{_text(report.title)}</h1>",
            f'<p class="under">{_text(report.subtitle)}</p>',
            f'<dl class="facts">{facts}</dl>' if facts else "",
            f"<nav>{links}</nav>",
            CHOOSER if report.figures else "",
            *map(_section, report.sections),
        ]
    )


def _section(section: Section) -> str:
    blocks = "\n".join(map(_block, section.blocks))
    return f'<section id="{section.anchor}">\n<h2>{_text(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p{' class=quiet' if block.quiet else ''}>{_prose(block.text)}</p>"
    if isinstance(block, Listing):
        return f"<pre>{html.escape(printable_lines(block.text))}</pre>"
    if isinstance(block, Table):
        return _table(block)
    return _figure(block)


def _figure(figure: Figure) -> str:
    return (
        f'<figure><div id="{figure.name}" role="img" aria-label="{_text(figure.spoken)}"></div>'
        f"<figcaption>{_prose(figure.caption)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        kinds = [' class="number"' if i in table.numbers else "" for i in range(len(row))]
        return "".join(f"<{tag}{kind}>{_prose(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    rows = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    caption = f"<caption>{_prose(table.caption)}</caption>" if table.caption else ""
    return f"<table>{caption}<thead><tr>{cells(table.head, 'th')}</tr></thead><tbody>{rows}</tbody></table>"
