"""Downloads that fail are one message; the hub's reachability is asked once and cheaply."""

from __future__ import annotations

import logging
import socket

import pytest

from edgefw.errors import RecipeError
from edgefw.training.hub import fetching, hub_is_reachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_any_failure_becomes_one_message_with_its_cause() -> None:
    with pytest.raises(RecipeError) as caught, fetching("weights 'x'", "Name a file."):
        raise KeyError("first line\nsecond line")
    assert str(caught.value) == "weights 'x' cannot be loaded (KeyError: 'first line\\nsecond line'). Name a file."
    assert isinstance(caught.value.__cause__, KeyError)


def test_our_own_message_passes_unchanged_and_log_levels_come_back() -> None:
    before = logging.getLogger("httpx").level
    with pytest.raises(RecipeError, match="^ours$"), fetching("weights", "..."):
        assert logging.getLogger("httpx").level == logging.CRITICAL
        raise RecipeError("ours")
    assert logging.getLogger("httpx").level == before


def test_the_endpoint_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert hub_is_reachable()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not hub_is_reachable()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert not hub_is_reachable()


def test_behind_a_proxy_the_client_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert hub_is_reachable()
