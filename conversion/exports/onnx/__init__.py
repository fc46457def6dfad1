"""A repo -> ONNX: a graph for each tower, which onnxruntime has run against the repo before it is written."""

NEEDED_BY = "An export to ONNX"
"""What needs the packages of the extra, for `hf_zhclip.extras.extra`."""
