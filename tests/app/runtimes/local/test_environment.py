"""What a program is told, and what it must never see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from app.core.specs import JobSpec, Placeholders
from app.runtimes.local.runtime import LocalRuntime
from tests.app.runtimes.local.workshop import Workshop, ended

BE_THERE = "import os\nfor name in ('WORK_DIR', 'MODEL_CACHE'): assert os.path.isdir(os.environ[name])\n"
TELL = "import json, os\nprint(json.dumps(dict(os.environ)))"
GATEWAY = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HTTP_PROXY": "http://proxy",
    "SECRET_KEY": "gateway-only",
    "AWS_SECRET_ACCESS_KEY": "for-trainers",
    "MLOPS_STORE__URL": "postgresql://user:password@host/db",
    "PYTHONSTARTUP": "/tmp/evil.py",
}


async def told(runtime: LocalRuntime, spec: JobSpec) -> dict[str, str]:
    await runtime.apply(spec)
    assert (await ended(runtime, spec.name)).exit_code == 0
    found: dict[str, str] = json.loads((await runtime.read_log(spec.name)).content)
    return found


async def test_of_the_gateways_environment_only_what_is_allowed_arrives(workshop: Workshop) -> None:
    async with workshop.runtime(environment=GATEWAY) as runtime:
        found = await told(runtime, workshop.job("curious", TELL, LETTER="hello"))
    assert (found["PATH"], found["LANG"], found["LETTER"]) == ("/usr/bin:/bin", "C.UTF-8", "hello")
    assert not {"HTTP_PROXY", "SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "MLOPS_STORE__URL", "PYTHONSTARTUP"} & set(found)


async def test_a_secret_arrives_only_where_it_is_named_and_stands_nowhere_on_disk(workshop: Workshop) -> None:
    spec = workshop.job("trusted", "import os\nassert os.environ['AWS_SECRET_ACCESS_KEY'] == 'for-trainers'")
    spec = replace(spec, program=replace(spec.program, secrets=("AWS_SECRET_ACCESS_KEY", "NOT_SET")))
    async with workshop.runtime(environment=GATEWAY) as runtime:
        assert "for-trainers" not in json.dumps(runtime.render(spec))
        await runtime.apply(spec)
        assert (await ended(runtime, "trusted")).exit_code == 0
    files = [path for path in workshop.home.rglob("*") if path.is_file()]
    assert files and not any(b"for-trainers" in path.read_bytes() for path in files)


async def test_threads_follow_the_cpu_limit_and_gpus_are_hidden(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        found = await told(runtime, workshop.job("modest", TELL))
        own = await told(runtime, workshop.job("wilful", TELL, OMP_NUM_THREADS="7"))
    assert (found["OMP_NUM_THREADS"], found["CUDA_VISIBLE_DEVICES"], found["PYTHONUNBUFFERED"]) == ("2", "", "1")
    assert own["OMP_NUM_THREADS"] == "7"


async def test_placeholders_are_filled_with_places_of_its_own(workshop: Workshop) -> None:
    names = ("WORK_DIR", "TERMINATION_LOG", "LISTEN", "MODEL_CACHE", "ADDRESS_FILE")
    letter = {name: json.dumps({"x": getattr(Placeholders, name)}) for name in names}
    async with workshop.runtime() as runtime:
        found = await told(runtime, workshop.job("placed", TELL, **letter))
        places = {"WORK_DIR": "{{work_dir}}", "MODEL_CACHE": "{{model_cache}}"}
        await told(runtime, workshop.job("there", f"{BE_THERE}{TELL}", **places))
    filled = {name: json.loads(found[name])["x"] for name in names}
    assert filled["LISTEN"] == "127.0.0.1:0"
    assert filled["WORK_DIR"] == str(workshop.slot("placed") / "work")
    assert Path(filled["TERMINATION_LOG"]).parent == Path(filled["ADDRESS_FILE"]).parent
    assert not any("{{" in value for value in filled.values())


async def test_what_is_rendered_is_what_is_launched(workshop: Workshop) -> None:
    spec = workshop.job("shown", TELL, LETTER='{"dir": "{{work_dir}}"}')
    async with workshop.runtime() as runtime:
        shown = runtime.render(spec)["environment"]
        found = await told(runtime, spec)
    assert isinstance(shown, dict)
    assert {name: found[name] for name in shown} == shown
