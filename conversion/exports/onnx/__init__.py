"""A repo -> ONNX: a graph for each tower, which onnxruntime has run against the repo before it is written."""
