"""What the tests of W&B share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from wandb_server import WandbServer, alone, forget, wandb_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A stub server, which this process's client asks and no other."""
    with wandb_server() as stub:
        alone(monkeypatch, tmp_path_factory.mktemp("home"), stub.url)
        yield stub
        forget()
        assert stub.unknown == []
