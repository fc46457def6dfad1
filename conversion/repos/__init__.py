"""A repo on disk: its files, its staging, the files for other readers, and the report in the repo."""
