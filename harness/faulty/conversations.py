"""Defects of what is said on one connection: hello, audio frames, pings, errors, refusals."""
