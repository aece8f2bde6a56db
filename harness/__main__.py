"""``python -m harness``: the same as ``wsdevice``."""

from harness.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
