"""Addresses of data, models and servers, as they may be shown: without what may be secret in them."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown(address: str) -> str:
    """The address without user, password, query and fragment; a path as it is."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.netloc else address
