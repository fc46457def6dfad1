"""Cards, and the way to the hub."""
