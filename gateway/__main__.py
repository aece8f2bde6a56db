"""``python -m gateway``: the gateway's own commands, without anything that is only for tests and benches."""

from gateway.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
