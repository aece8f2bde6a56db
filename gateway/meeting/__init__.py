"""Meetings, the task lists of groups, and snapshots of both."""
