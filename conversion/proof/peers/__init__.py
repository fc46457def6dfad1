"""The originals' own packages as witnesses: one module a source whose package can be installed, under its name.

A peer is built by its package's own class from the raw config and the source's tensors. A module here imports the
package and `reference`, and nothing of what the conversion concludes (`sources`, their tables, `towers`).

Each has `original(tensors, facts)`, which gives an `Offer`, or None where the package is not installed. One whose
image tower may come without a text has `original_image`, too.
"""
