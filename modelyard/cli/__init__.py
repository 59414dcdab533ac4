"""The command line `yard`: everything that the gateway can do, and `up` and `down` for a gateway on this machine."""

from modelyard.cli.main import main

__all__ = ["main"]
