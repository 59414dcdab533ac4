"""The gateway: REST requests become training jobs and model servers; predictions are carried to them."""

__version__ = "0.1.0"
