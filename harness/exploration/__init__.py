"""Looking for what breaks an invariant: a model of gateway and devices in virtual time, scenarios, and many seeds."""
