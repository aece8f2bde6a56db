"""Defects of snapshots: when they come, what is in them, whose they are."""
