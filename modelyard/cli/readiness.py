"""Readiness: what a starting gateway's /readyz says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import httpx2

from modelyard.cli.home import Gateway

PROBE_TIMEOUT = 15.0  # seconds; the gateway itself waits up to 10 for MLflow
PORT_TAKEN = "port-taken"


@dataclass(frozen=True)
class Check:
    """One component; `message` says what it lacks, and `code`, a stable word, which kind of lack that is."""

    ok: bool
    message: str = ""
    code: str = ""


@dataclass(frozen=True)
class Readiness:
    """Each component by name, and whether the gateway is content with all of them."""

    gateway: Gateway
    ok: bool = False
    checks: Mapping[str, Check] = field(default_factory=dict)

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """What the gateway says now; one that does not answer yet says nothing."""
        try:
            answer = httpx2.get(f"{gateway.url}/readyz", timeout=PROBE_TIMEOUT, trust_env=False)
            checks = {name: _check(body) for name, body in answer.json()["checks"].items()}
        except (httpx2.TransportError, ValueError, KeyError, TypeError, AttributeError):
            return cls(gateway)
        return cls(gateway, answer.is_success, checks)

    @property
    def hopeless(self) -> str:
        """The message of a component that waiting does not mend; empty if there is none."""
        return next((check.message for check in self.checks.values() if check.code == PORT_TAKEN and not check.ok), "")

    def __str__(self) -> str:
        return ", ".join(_in_words(name, check) for name, check in self.checks.items()) or "gateway ..."


def _check(body: Mapping[str, object]) -> Check:
    return Check(bool(body["ok"]), str(body.get("message") or ""), str(body.get("code") or ""))


def _in_words(name: str, check: Check) -> str:
    if check.ok:
        return f"{name} ready"
    return f"{name} ... ({check.message})" if check.message else f"{name} ..."
