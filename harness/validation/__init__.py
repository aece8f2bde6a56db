"""Whether a build is good: flashed, run, measured, compared, and judged (``wsdevice validate``)."""
