"""`python -m trainer`: see `trainer/main.py`."""

import os
import sys

from trainer.main import main

code = main(sys.argv[1:], os.environ)
sys.stdout.flush()
os._exit(code)  # threads that wait for an MLflow which is away must not hold up the exit
