"""What must hold of gateway and devices whatever happens: pure checkers, each over a stream of facts."""
