"""Who is connected, who may connect, and what happens when a device connects twice."""
