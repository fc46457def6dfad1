"""The independent witness: each source's own computation, written again in plain torch from its tensors.

A module here imports only torch, Pillow and the standard library. It shares no table, no config reader and no model
with the rest of the project. It gets no conclusion of the conversion, only the source's tensors, the unchanged JSON
files, the user's JSON, and the vocabulary's path. From these it finds heads, activation, eps, pooling, masks, context
length and image size with its own code (`config`, `context_length`, `image_size`, `vocabulary`), and the fields of
config.json that change no number (`text_training`, `image_training`). A wrong fact elsewhere is therefore not wrong
here in the same way. Facts that no file states, such as published head counts, have their own copy here. `make parity`
proves each module equal to the original.
"""
