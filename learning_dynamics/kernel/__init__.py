"""One span loss, several levels of description: ambient, overlaps, limit and search."""
