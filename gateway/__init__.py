"""The production WebSocket gateway for ESP32 devices."""

__version__ = "0.1.0"
