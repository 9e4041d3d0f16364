"""Protocols: schedules and steps of training, and the optimal ones."""
