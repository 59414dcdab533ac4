"""Protocols: each module turns requests of one protocol into a model's `data`, and outputs into its answers.

Pure codecs, bytes in and bytes out; `table.py` says which path is whose.
"""

from inference_server.protocols.predict import read_body, write_body

__all__ = ["read_body", "write_body"]
