"""The ports of a virtual board: RFC 2217 with everything a serial port has, a pty, and bare TCP."""
