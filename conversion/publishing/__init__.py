"""Cards, and publishing on the hub."""
