"""One connected device: its socket, its lanes, its heartbeat, its session."""
