"""Compilation: a trained or uploaded model becomes a graph for onnxruntime, and is served as one if it is equal."""
