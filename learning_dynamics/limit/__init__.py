"""The limit N -> infinity, its quadrature, and the fluctuations around it."""
