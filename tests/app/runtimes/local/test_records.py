"""Whatever a spec says, the note that the local runtime keeps of it says too."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.core.specs import JobSpec, Placement, Program, ServerSpec
from app.runtimes.local.records import job_spec, server_spec, spec_record
from inference_server.contract import Facts

names = st.dictionaries(st.text(), st.text(), max_size=3)
moments = st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds))
seconds = st.floats(0, 1e6)
measured = {name: seconds for name, kind in Facts.__annotations__.items() if kind == "float"}
common = {
    "program": st.builds(Program, environment=names),
    "start_deadline": moments,
    "labels": names,
    "placement": st.builds(Placement, node_selector=names),
}


@given(st.builds(ServerSpec, **common, facts=st.none() | st.builds(Facts, **measured)))
def test_the_spec_of_a_server_comes_back(spec: ServerSpec) -> None:
    assert server_spec(json.loads(json.dumps(spec_record(spec)))) == spec


@given(st.builds(JobSpec, **common, run_deadline=st.none() | moments))
def test_the_spec_of_a_job_comes_back(spec: JobSpec) -> None:
    assert job_spec(json.loads(json.dumps(spec_record(spec)))) == spec
