"""Faulty twins: gateways and devices with one known defect each, to prove that the conformance suite finds it."""
