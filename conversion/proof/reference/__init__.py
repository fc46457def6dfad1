"""The independent witness: what each source's own code computes, written again in plain torch from its tensors.

A module here imports torch, Pillow and the standard library only. It shares no table, no config reader and no model
with the rest of the project, and it is told nothing that the conversion has concluded: it is given the source's
tensors, the JSON files as they lie there, the JSON that the user stated, and the path of the vocabulary. From these it
finds heads, activation, eps, pooling, masks, context length and image size by its own code (`config`,
`context_length`, `image_size`, `vocabulary`), and those fields of config.json that no number shows (`text_training`,
`image_training`). A fact that is wrong elsewhere is therefore not wrong here in the same way. What no file states, a
published head count for one, stands here in a copy of its own. `make parity` proves each module equal to the original.
"""
