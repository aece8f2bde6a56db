"""A gateway's settings for the examples: free ports on loopback, state in a folder of the test's own."""

import pytest

from gateway.config import Config, ServerConfig


@pytest.fixture
def config(tmp_path):
    """Return settings that let a gateway start anywhere, any number of times."""
    return Config(server=ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path)))
