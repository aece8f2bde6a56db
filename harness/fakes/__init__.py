"""Fake devices: firmware stand-ins that speak the real protocol over real sockets."""
