"""Specs and observations as plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import Any

from app.core.addresses import Address
from app.core.conditions import Termination
from app.core.scaling import StartPhase, told_seconds
from app.core.specs import JobSpec, Placement, Program, Resources, ServerSpec, Toleration
from app.runtimes.base import JobObservation, ProcessState, ReplicaObservation, ServerObservation
from inference_server.contract import Facts

Record = dict[str, Any]


def spec_record(spec: JobSpec | ServerSpec) -> Record:
    plain = {field.name: getattr(spec, field.name) for field in fields(spec)}
    program = {field.name: getattr(spec.program, field.name) for field in fields(spec.program)}
    own = _job_record(spec) if isinstance(spec, JobSpec) else _server_record(spec)
    return {
        **plain,
        **own,
        "placement": asdict(spec.placement),
        "program": {**program, "environment": dict(spec.program.environment)},
        "resources": asdict(spec.resources),
        "start_deadline": spec.start_deadline.total_seconds(),
        "labels": dict(spec.labels),
    }


def _job_record(spec: JobSpec) -> Record:
    return {"run_deadline": spec.run_deadline.total_seconds() if spec.run_deadline else None}


def _server_record(spec: ServerSpec) -> Record:
    return {"facts": asdict(spec.facts) if spec.facts else None}


def job_spec(record: Record) -> JobSpec:
    limit = record.get("run_deadline")
    return JobSpec(**{**_spec_fields(record), "run_deadline": timedelta(seconds=limit) if limit else None})


def server_spec(record: Record) -> ServerSpec:
    facts = record.get("facts")
    return ServerSpec(**{**_spec_fields(record), "facts": Facts(**facts) if facts else None})


def _spec_fields(record: Record) -> Record:
    program = record["program"]
    lists = {"requires": tuple(program["requires"]), "secrets": tuple(program["secrets"])}
    return {
        **record,
        "program": Program(**{**program, **lists}),
        "resources": Resources(**record["resources"]),
        "start_deadline": timedelta(seconds=record["start_deadline"]),
        "placement": _placement(record.get("placement", {})),
    }


def _placement(record: Record) -> Placement:
    """A wish of a version that knew nothing of places has none."""
    tolerations = tuple(Toleration(**one) for one in record.get("tolerations", ()))
    return Placement(**{**record, "tolerations": tolerations})


def observation_record(observation: JobObservation | ServerObservation) -> Record:
    return {name: _plain(value) for name, value in asdict(observation).items()}


def job_observation(record: Record) -> JobObservation:
    return JobObservation(
        **{
            **record,
            "state": ProcessState(record["state"]),
            "started_at": _time(record["started_at"]),
            "termination": _termination(record["termination"]),
            "notes": tuple(record["notes"]),
        }
    )


def server_observation(record: Record) -> ServerObservation:
    replicas = tuple(_replica(replica) for replica in record["replicas"])
    return ServerObservation(**{**record, "replicas": replicas, "notes": tuple(record["notes"])})


def _replica(record: Record) -> ReplicaObservation:
    address = record["address"]
    return ReplicaObservation(
        **{
            **record,
            "state": ProcessState(record["state"]),
            "address": Address(address[0], address[1]) if address else None,
            "phase": StartPhase(record["phase"]) if record.get("phase") else None,
            "seconds": told_seconds(record.get("seconds")),
            "last_termination": _termination(record["last_termination"]),
        }
    )


def _termination(record: Record | None) -> Termination | None:
    if record is None:
        return None
    return replace(Termination(**record), finished_at=datetime.fromisoformat(record["finished_at"]))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
