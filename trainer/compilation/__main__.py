"""`python -m trainer.compilation FOLDER HELD_OUT RESULT`: compile the model in a folder, in a process of its own.

Converters execute much code of others, and need memory: whatever becomes of this process, the model stays as it was.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from trainer.compilation.compiling import compile_model

logging.basicConfig(level=logging.ERROR)
folder, held_out, result = (Path(argument) for argument in sys.argv[1:])
compiled = compile_model(folder, json.loads(held_out.read_text(encoding="utf-8")))
result.write_text(json.dumps(compiled), encoding="utf-8")
