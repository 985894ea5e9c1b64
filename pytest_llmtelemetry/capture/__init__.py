"""Sees the HTTP traffic of LLM SDKs, and emits events. Changes nothing about it."""
