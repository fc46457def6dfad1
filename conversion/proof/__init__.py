"""The proof that a repo computes what its original computes, and the witnesses for it."""
