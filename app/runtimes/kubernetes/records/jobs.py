"""Jobs, and what was asked of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from app.runtimes.kubernetes.manifests import QUEUE, RUN, RUN_DEADLINE, START_DEADLINE, STOP, UID, Manifest
from app.runtimes.kubernetes.records.fields import head, is_deleting, moment, notes_of


@dataclass(frozen=True, slots=True)
class Stop:
    """That a job was told to stop, and why; kept as an annotation of its Job."""

    reason: str
    message: str
    at: datetime

    def text(self) -> str:
        return json.dumps({"reason": self.reason, "message": self.message, "at": self.at.isoformat()})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """`uid` is the task's life, `object_uid` the object's. `since` is when the cluster last began to work on it: for
    one that waited in a queue, when it was admitted."""

    name: str
    version: int
    object_uid: str
    uid: str
    run: int
    created: datetime
    since: datetime
    deleting: bool
    start_deadline: float
    run_deadline: float
    queue: str  # that it waits in; empty once it was admitted
    stop: Stop | None
    over: bool
    failed: str
    held: bool  # by parallelism 0: no pod will be made


def job_record(found: Manifest, old: JobRecord | None) -> JobRecord:
    notes, conditions = notes_of(found), found.get("status", {}).get("conditions") or []
    ends = {one["type"]: one.get("message", "") for one in conditions if one["status"] == "True"}
    return JobRecord(
        *head(found),
        uid=notes.get(UID, ""),
        run=int(notes.get(RUN, "1")),
        created=moment(found["metadata"]["creationTimestamp"]),
        since=moment(found.get("status", {}).get("startTime") or found["metadata"]["creationTimestamp"]),
        deleting=is_deleting(found),
        start_deadline=float(notes.get(START_DEADLINE, "inf")),
        run_deadline=float(notes.get(RUN_DEADLINE, "inf")),
        queue=found["metadata"].get("labels", {}).get(QUEUE, "?") if found["spec"].get("suspend") else "",
        stop=_stop(notes[STOP]) if STOP in notes else None,
        over="Failed" in ends or "Complete" in ends,
        failed=ends.get("Failed", ""),
        held=found["spec"].get("parallelism") == 0,
    )


def _stop(text: str) -> Stop | None:
    """None for an annotation that somebody else wrote."""
    try:
        found = json.loads(text)
        return Stop(str(found["reason"]), str(found["message"]), datetime.fromisoformat(found["at"]))
    except (ValueError, TypeError, KeyError):
        return None
