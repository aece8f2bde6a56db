"""Defects of peer messages: what is kept, in which order it comes, what senders are told."""
