"""Optional packages are loaded when they are needed, and esptool never."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import harness.firmware
for module in pkgutil.iter_modules(harness.firmware.__path__, "harness.firmware."):
    importlib.import_module(module.name)
loaded = {name.split(".")[0] for name in sys.modules}
print(*loaded & {"littlefs", "esp_idf_nvs_partition_gen", "esptool", "serial", "cryptography", "asyncio"})
"""


def test_nothing_optional():
    """Importing each module of the package loads none of them."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=20, check=True)

    assert done.stdout.strip() == ""
