"""The end of the session in words. Pure functions of one summary."""
