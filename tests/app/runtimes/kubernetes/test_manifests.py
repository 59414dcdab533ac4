"""Manifests are what their golden files say, and valid for every cluster that we support."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from app.core.specs import JobSpec, Placeholders, Placement, Program, Resources, ServerSpec, Toleration
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.settings import KubernetesSettings

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "kubernetes"
SETTINGS = KubernetesSettings(registry="registry.example/modelyard")
PLACES = [Placeholders.WORK_DIR, Placeholders.TERMINATION_LOG, Placeholders.LISTEN, Placeholders.MODEL_CACHE]
LETTER = {"LETTER": json.dumps({"places": PLACES, "cost": "$(HOME)"})}
MINUTES = timedelta(minutes=10)
SMALL, LARGE = Resources(500, 1 << 30), Resources(8000, 32 << 30, gpus=2)

TRAINER = Program("trainer", LETTER, "modelyard-trainer:latest", secrets=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
SERVER = Program("inference_server", LETTER, "modelyard-inference:latest")
JOB = JobSpec("train-houses", "houses", "6e1f", TRAINER, SMALL, MINUTES, {"modelyard/profile": "tabular_regression"})
FROM_REQUEST = {"modelyard/image-from-request": "true", "modelyard/said": "no label: ä"}
GPU_JOB = replace(
    JOB, resources=LARGE, labels=FROM_REQUEST, program=replace(TRAINER, image="other.example/trainer:2", secrets=())
)
SSD = Placement({"disk": "ssd"}, (Toleration("dedicated", value="training", effect="NoExecute", seconds=60),), "nvidia")
BOUNDED = replace(JOB, placement=SSD, run_deadline=timedelta(hours=2))
DEPLOYED = ServerSpec("serve-houses", "houses", "77aa", SERVER, SMALL, MINUTES, replicas=2)
CLAIMED = replace(SETTINGS, work_claim="modelyard-work")

RENDERED = {
    "job": manifests.job(JOB, SETTINGS),
    "job-with-gpus": manifests.job(GPU_JOB, SETTINGS),
    "job-run-again-in-its-folder": manifests.job(JOB, CLAIMED, run=2),
    "job-in-its-place": manifests.job(BOUNDED, replace(SETTINGS, job_ttl=86400)),
    "job-in-a-queue": manifests.job(replace(JOB, queue="team-a"), SETTINGS),
    "server-in-its-place": manifests.deployment(replace(DEPLOYED, placement=SSD), SETTINGS),
    "server": manifests.deployment(DEPLOYED, SETTINGS),
    "server-with-a-cache-on-its-node": manifests.deployment(DEPLOYED, replace(SETTINGS, model_cache="/var/modelyard")),
    "server-with-a-claimed-cache": manifests.deployment(DEPLOYED, replace(SETTINGS, model_cache="models")),
    "server-with-gpus": manifests.deployment(replace(DEPLOYED, resources=LARGE), SETTINGS),
}
cases = pytest.mark.parametrize("name", RENDERED)


@cases
def test_a_manifest_is_what_was_reviewed(name: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{name}.yaml"
    if request.config.getoption("--update-golden"):
        golden.write_text(yaml.dump(json.loads(json.dumps(RENDERED[name])), sort_keys=False, width=120))
    assert RENDERED[name] == yaml.safe_load(golden.read_text())


@cases
@pytest.mark.parametrize("version", ["1.25", "1.32", "1.37"])
def test_a_manifest_is_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(RENDERED[name], version, strict=True)


def test_a_digest_follows_what_runs_and_not_how_many() -> None:
    def digest(spec: ServerSpec) -> str:
        return str(manifests.deployment(spec, SETTINGS)["metadata"]["annotations"][manifests.DIGEST])

    assert digest(DEPLOYED) == digest(replace(DEPLOYED, replicas=5))
    assert digest(DEPLOYED) != digest(replace(DEPLOYED, program=replace(SERVER, image="modelyard-inference:2")))


@pytest.mark.parametrize("said", ["$(HOME)", "$$(HOME)", "$$$(HOME)", "a$$b", "$", "price$.csv", "$(", "$$"])
def test_a_program_reads_what_the_caller_wrote(said: str) -> None:
    """However the caller writes it, the cluster expands nothing in it and swallows nothing of it."""
    program = Program("trainer", {"LETTER": said}, "modelyard-trainer:latest")
    container = manifests.job(replace(JOB, program=program), SETTINGS)["spec"]["template"]["spec"]["containers"][0]
    given = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert as_a_cluster_expands(given["LETTER"], given) == said


def as_a_cluster_expands(text: str, known: dict[str, str]) -> str:
    """As kubelet's third_party/forked/golang/expansion does."""
    found, rest = "", text
    while rest:
        character, rest = rest[0], rest[1:]
        name, closed, behind = rest[1:].partition(")")
        if character == "$" and rest.startswith("$"):
            rest = rest[1:]
        elif character == "$" and rest.startswith("(") and closed:
            character, rest = known.get(name, f"$({name})"), behind
        found += character
    return found
