"""The constants of the operating systems."""

from __future__ import annotations

from harness.simulation.profiles import ESP32, LINUX


def test_esp32_is_small():
    """An ESP32 has four segments of buffer each way, and sends anew later than Linux does."""
    assert ESP32.receive_buffer < 4 * ESP32.segment <= ESP32.receive_buffer + 16
    assert ESP32.send_buffer == ESP32.receive_buffer
    assert ESP32.retransmission > LINUX.retransmission
    assert ESP32.receive_buffer < LINUX.receive_buffer
