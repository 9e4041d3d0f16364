"""The search phase: information exponents, and laws of the time to weak recovery."""
