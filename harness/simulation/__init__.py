"""An event loop with virtual time and a network in memory, in which gateway and devices run unchanged."""
