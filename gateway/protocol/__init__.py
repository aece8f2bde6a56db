"""The wire, sans-I/O: what devices speak and what the gateway answers; no asyncio, no socket, no logging."""
