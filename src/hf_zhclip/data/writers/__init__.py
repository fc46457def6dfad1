"""The writers, one file for each format; each file defines `WRITER`."""
