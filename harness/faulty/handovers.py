"""Defects of duplicate connections: who owns the route, who is told, who is closed, and when."""
