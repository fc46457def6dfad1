"""The proof that a repo computes what its original computes, and who bears witness."""
