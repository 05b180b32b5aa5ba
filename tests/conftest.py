"""One torch thread for every test: the same bits on every machine, and no fight for cores."""

import os

import hypothesis
import jaxtyping
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import torch

torch.set_num_threads(1)

# A pause of a shared machine is no failure of the code.
hypothesis.settings.register_profile("without a deadline", deadline=None)
hypothesis.settings.load_profile("without a deadline")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto`: one more than cores, for the tests of W&B mostly wait for its client."""
    asked = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return None if asked else (os.cpu_count() or 1) + 1


LONGEST = "test_kill.py"
"""Two minutes on one core: begun last, the other cores would wait for it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Shapes and types are checked call by call in unit tests; where whole runs are trained, that would take a third
    of the time."""
    jaxtyping.config.update("jaxtyping_disable", "unit" not in item.path.parts)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)
