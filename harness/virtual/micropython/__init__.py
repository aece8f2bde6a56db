"""Modules that stand for those of MicroPython on an ESP32, for ``main.py`` on a virtual board.

They are not imported from here: a device program finds them on its own path, and may be run by MicroPython itself, so
they keep to what it and CPython have in common. What they lack, a virtual board does not have.
"""
