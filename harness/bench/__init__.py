"""A rig of boards: its file, who holds which board, how healthy each is, and how a sick one is brought back."""
