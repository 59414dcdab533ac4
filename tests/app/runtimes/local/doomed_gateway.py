"""A gateway to be killed: starts a runtime, says so, and applies the job of a wish file when told to go."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from app.core.specs import JobSpec
from app.runtimes.local.records import job_spec
from app.runtimes.local.runtime import LocalRuntime
from app.runtimes.local.settings import LocalSettings


async def main(home: str, spec: JobSpec) -> None:
    runtime = LocalRuntime(LocalSettings(Path(home), period=0.1))
    await runtime.start()
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    await runtime.apply(spec)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], job_spec(json.loads(Path(sys.argv[2]).read_text()))))
