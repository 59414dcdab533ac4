"""The inference server: one program that finds a model in MLflow, checks it, loads it and answers predictions."""

__version__ = "0.1.0"
