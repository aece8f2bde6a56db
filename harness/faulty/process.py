"""Defects of the process: its start, its threads, its drain, its restart."""
