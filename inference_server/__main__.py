"""`python -m inference_server`."""

from __future__ import annotations

import os
import sys

from inference_server.main import main

code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # without waiting for a model that is still computing: its requests were given their time to drain
