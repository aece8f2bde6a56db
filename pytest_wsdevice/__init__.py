"""The pytest plugin of wsdevice; its fixtures are not there yet."""
