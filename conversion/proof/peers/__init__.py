"""The originals' own packages as witnesses: one module, with the source's name, for each installable package.

A package's own class builds a peer from the raw config and the source's tensors. A module here imports the package and
`reference`, and no conclusion of the conversion (`sources`, their tables, `towers`).

Each module has `original(tensors, facts)`, which gives an `Offer`, or None if the package is not installed. If the
image tower may come without a text tower, the module also has `original_image`.
"""
