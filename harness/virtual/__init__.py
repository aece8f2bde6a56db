"""A virtual ESP32: genuine ROM loader protocol, flash, images and network; no CPU, no radio, no silicon's timing."""
