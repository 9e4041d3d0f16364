"""What the theories predict for data of the user's own: sections of one page, by entry points."""
