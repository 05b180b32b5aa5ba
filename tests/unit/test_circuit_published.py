"""The circuit of both published networks, as the command reads and reports it: every check value of the reference."""

import json
from pathlib import Path

import pytest
from published import published

from analysis.checkpoints.read import read
from analysis.checkpoints.splits import find_split
from analysis.circuit.of_checkpoint import circuit_of, source_of
from analysis.circuit.values import values

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "circuit.json").read_text())
CASES = {f"{case['file']} {case['K']}": case for case in GOLDEN["cases"]}
DEFAULT, BY_DIGITS = GOLDEN["tolerance"]["relative"], GOLDEN["tolerance_by_digits"]


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """What is expected, what was found, and the split under which."""
    golden = CASES[request.param]
    checkpoint, _ = find_split(read(published(golden["file"])), range(4))
    found = values(circuit_of(checkpoint, golden["key_freqs"], n_relabellings=3))
    return golden, found, dict(source_of(checkpoint))["split"]


def test_check_values(case):
    golden, found, split = case
    assert split == golden["split"]
    assert found["n_classes"] == GOLDEN["classes"]
    for name, expected in golden["values"].items():
        rel = BY_DIGITS.get(name) or BY_DIGITS.get(name.rstrip("0123456789") + "*") or DEFAULT
        assert found[name] == pytest.approx(expected, rel=rel), name
    for name, expected in golden.get("authors", {}).items():
        assert found[name] == pytest.approx(expected, rel=GOLDEN["tolerance_authors"]["relative"]), name


def test_key_frequencies_neurons_and_verdict(case):
    golden, found, _ = case
    assert found["key_freqs"] == golden["K"]
    assert found["verdict"] == golden["verdict"]
    for name, expected in golden["counts"].items():
        assert found[name] == expected, name
    for name, (low, high) in golden.get("ranges", {}).items():
        assert low <= found[name] <= high, name
