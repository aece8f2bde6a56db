"""The gateway as shipped, its budgets raised so that the load is not taken for a storm; nothing else is changed."""

import os
import signal
import sys
import tempfile
import threading

from gateway.app import Gateway
from gateway.config_file import load
from gateway.serve import serve

RAISED = {
    "HEARTBEAT_PONGS_PER_SECOND": "1e9",
    "HEARTBEAT_PONG_BURST": "1000000000",
    "LIMITS_FRAMES_PER_SECOND": "1e9",
    "LIMITS_FRAME_BURST": "1000000000",
    "PEER_PER_SECOND": "1e9",
    "PEER_BURST": "1000000000",
    "HANDSHAKE_PER_ADDRESS_PER_MINUTE": "1000000000",
}


def ready(gateway: Gateway) -> None:
    """Say the port, and stop when the benchmark closes standard input."""
    print(gateway.network.port("websocket"), flush=True)

    def wait_for_the_end() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the second one: no drain

    threading.Thread(target=wait_for_the_end, daemon=True).start()


with tempfile.TemporaryDirectory() as directory:
    environment = {f"WSDEVICE_{name}": value for name, value in RAISED.items()}
    environment |= {
        "WSDEVICE_SERVER_HOST": "127.0.0.1",
        "WSDEVICE_SERVER_WS_PORT": "0",
        "WSDEVICE_SERVER_HTTP_PORT": "0",
        "WSDEVICE_SERVER_STATE_DIR": directory,
        "WSDEVICE_LOGGING_LEVEL": "ERROR",
    }
    serve(load(None, environment), ready)
