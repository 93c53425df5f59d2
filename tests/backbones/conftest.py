"""Every test of this folder has caches of its own, and no way to the hub."""

import socket

import pytest

from fcilib import backbones


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FCI_BACKBONES", str(tmp_path / "backbones"))
    backbones.load.cache_clear()
    yield
    backbones.load.cache_clear()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A hub that refuses every connection, and nothing fetched from it before."""
    constants = pytest.importorskip(
        "huggingface_hub", reason="needs huggingface_hub, which comes with transformers"
    ).constants
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
