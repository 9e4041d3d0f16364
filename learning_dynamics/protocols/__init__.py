"""Protocols: how one trains, and the best way to."""
