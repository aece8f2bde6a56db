"""Messages from device to device: accepted, stored, delivered, redelivered, receipted."""
