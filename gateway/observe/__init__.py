"""What happened, for whoever wants to know: event records, metrics, logs, and the wall clock."""
