"""One board by its parts: console, reset lines, power, flasher, provisioning, bring-up, crash reports."""
