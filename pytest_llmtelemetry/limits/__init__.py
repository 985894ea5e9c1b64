"""Sums of what was spent, and whether they are within bounds."""
