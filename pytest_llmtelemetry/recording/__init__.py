"""What was emitted, by whom, kept for assertions and sums."""
