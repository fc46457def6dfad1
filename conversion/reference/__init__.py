"""The independent witness: what each source's own code computes, written again in plain torch from its tensors.

A module here imports torch, Pillow and the standard library only. It shares no table, no config reader and no model
with the rest of the project, so that a wrong fact there (a head count, an activation, a pooling, a transpose) can not
be wrong here in the same way. `make parity` proves each module equal to the original.
"""
