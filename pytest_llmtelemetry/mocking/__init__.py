"""Answers for the providers, in their own bytes. The other direction of the road."""
