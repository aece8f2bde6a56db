"""The scenarios that every gateway of this protocol has to pass: ``pytest --pyargs pytest_wsdevice.conformance``."""
