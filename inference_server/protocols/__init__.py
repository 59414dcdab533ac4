"""Protocols: how requests of each become a model's `data`, and outputs its answers.

Of each there is a pure codec, bytes in and bytes out; `table.py` says which path is whose, `streams.py` runs what is
answered while it is written.
"""
