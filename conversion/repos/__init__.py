"""A repo on disk: its files, its staging, the doors for other readers, and the report that travels with it."""
