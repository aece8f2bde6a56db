"""Speech: one utterance per device, the engine that hears it, the voice that answers."""
