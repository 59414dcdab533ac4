"""What the local runtime may be told: where it keeps its files, and how patient it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from app.core.errors import ConfigurationError
from app.runtimes.local.machine import cores, total_memory

CHECKOUT = Path(__file__).resolve().parents[3]

# What a program may inherit from the gateway: enough to find programs, files, words and certificates, and no secret.
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES"),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds a process gets after each signal before the next, sterner one; SIGKILL is the last."""

    drain: float = 0.0  # before the first signal
    interrupt: float = 30.0  # after SIGINT; 0 leaves SIGINT out
    terminate: float = 10.0  # after SIGTERM

    @property
    def total(self) -> float:
        return self.drain + self.interrupt + self.terminate


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """All times are seconds. `gpus` None means: as many as this machine shows; `memory` is in bytes.

    `python` runs the programs (3.11 or newer), with `code` as the folder where the platform's own packages are found.
    Raises `ConfigurationError` if `home` cannot stand inside a letter.
    """

    home: Path
    python: Path = Path(sys.executable)
    code: Path = CHECKOUT
    gpus: int | None = None
    memory: int = field(default_factory=total_memory)
    starts_at_once: int = field(default_factory=lambda: max(2, cores()))  # of servers' replicas
    job_patience: Patience = Patience()
    server_patience: Patience = Patience(drain=1.5, interrupt=0.0, terminate=70.0)
    period: float = 0.5  # between two looks at the world when nothing calls
    backoff_first: float = 1.0
    backoff_last: float = 60.0
    stable_after: float = 30.0  # a replica that was ready for so long starts its back-off anew
    probe_period: float = 1.0  # of a replica that is ready
    probe_timeout: float = 5.0
    unready_after: int = 3  # unanswered probes before a replica counts as not ready
    restart_after: int = 10  # unanswered probes before it is restarted

    def __post_init__(self) -> None:
        object.__setattr__(self, "home", self.home.absolute())
        if any(ord(character) < 32 or ord(character) == 127 or character in "\"'\\" for character in str(self.home)):
            raise ConfigurationError(
                f"The folder {str(self.home)!r} has a quote, a backslash or a control character in its path, which "
                "cannot stand inside a letter to a program. Choose another folder."
            )
