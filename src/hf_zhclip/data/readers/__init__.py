"""The readers, one file for each format; each file defines `FORMAT`."""
