"""Devices to test with: fake ones, and the command line that joins everything."""
