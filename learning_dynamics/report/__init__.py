"""Claims, what is kept of them, and the page."""
