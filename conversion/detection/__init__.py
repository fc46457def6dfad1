"""Which source claims these keys, and the parts that make one model."""
