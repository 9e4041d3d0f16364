"""Simulations at two levels: all N weights, or the overlap process that is exact at finite N."""
