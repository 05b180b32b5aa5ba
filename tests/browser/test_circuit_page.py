"""A circuit's page in a real browser: every figure drawn, nothing said, nothing asked for."""

from pathlib import Path

import planted_circuits
import pytest
from evaluations import task_of

from analysis.circuit.circuit import take_apart
from analysis.circuit.page import page, source
from analysis.circuit.subject import subject
from analysis.report.write import write

HOSTILE = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'&"""


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    network, weights = planted_circuits.relu(31, 3, 16)
    found = take_apart(subject(weights, task_of("add", 31), network), 10)
    rows = [("file", HOSTILE)]
    report = page(found, f"The circuit of {HOSTILE}", HOSTILE, "in this file", source([HOSTILE], rows, HOSTILE))
    return write(report, tmp_path_factory.mktemp("page") / "circuit.html", None)[0]


def test_every_figure_is_drawn_and_names_stay_text(written, open_page):
    opened = open_page(written)
    names = ["verdict", "pair_losses", "excluded_by_frequency", "fourier_norms", "circles", "neurons",
             "logit_spectrum", "attention", "ablations"]  # fmt: skip
    for name in names:
        assert opened.locator(f"#{name} svg.marks").count() == 1, name
    assert HOSTILE in opened.locator("h1").inner_text()
    assert not opened.locator("select#steps").is_visible()  # no figure is over time
    assert "alert(1)" in opened.locator("#part-source").inner_text()


def test_ablations_can_be_read(written, open_page):
    """A mark says its name, what is changed, and the loss."""
    opened = open_page(written)
    opened.locator("#ablations svg .mark-symbol path").first.hover()
    said = opened.locator("#vg-tooltip-element").inner_text()
    assert "restricted" in said
    assert "all pairs" in said
