"""`python -m app.runtimes.local stop --home DIR`: stop all that runs there, so that it can go on later."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from app.core.errors import ConfigurationError, RuntimeUnavailable
from app.runtimes.local.runtime import LocalRuntime
from app.runtimes.local.settings import LocalSettings


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def stop(home: Path) -> None:
    runtime = LocalRuntime(LocalSettings(home))
    await runtime.start(halting=True)
    try:
        await runtime.stop_all(say)
    finally:
        await runtime.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m app.runtimes.local", description=__doc__)
    parser.add_argument("verb", choices=["stop"])
    parser.add_argument("--home", type=Path, required=True, help="the platform's folder on this machine")
    home: Path = parser.parse_args().home
    if not (home / "wishes.lock").exists():
        say(f"Nothing was ever started in {home}.")
        return 0
    try:
        asyncio.run(stop(home))
    except (ConfigurationError, RuntimeUnavailable) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
