"""`yard` as a person or a script uses it: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from modelyard.cli.main import app
from tests.fakes.gateway import FakeGateway, Fault

Yard = Callable[..., Result]


@pytest.fixture
def yard(gateway: FakeGateway) -> Yard:
    def run(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, ["--url", gateway.url, *words], input=stdin)

    return run


def shape(text: str) -> str:
    return re.sub(r"[ \n]+", " ", text)


TRAIN = ("train", "--profile", "p", "--task-id", "t")


def test_train_sends_what_its_options_say(yard: Yard, gateway: FakeGateway, tmp_path: Path) -> None:
    data = tmp_path / "houses.csv"
    data.touch()
    words = ["--data", str(data), "--experiment", "Houses", "--model-name", "house", "--init-model", "runs:/r/model"]
    params = ["-p", "numEpoch=3", "-p", "learningRate=1e-3", "-p", "shuffle=true", "-p", "targetColumn=a=b"]
    result = yard(*TRAIN, *words, "--gpu", *params)
    assert result.exit_code == 0
    assert gateway.requests("POST")[0].body == {
        "taskId": "t",
        "modelProfile": "p",
        "datasetPath": str(data),
        "experimentName": "Houses",
        "customModelName": "house",
        "initialModelFilePath": "runs:/r/model",
        "useGpu": True,
        "hyperparameters": {"numEpoch": 3, "learningRate": 0.001, "shuffle": True, "targetColumn": "a=b"},
    }
    assert "t Queued p Houses" in shape(result.stdout)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("7", 7),
        ("-0.5", -0.5),
        ("false", False),
        *((text, text) for text in ("null", "[1]", '"7"', "NaN", "", "1e999", "007", "True")),
    ],
)
def test_only_numbers_and_booleans_are_read_as_json(yard: Yard, gateway: FakeGateway, value: str, sent: object) -> None:
    assert yard(*TRAIN, "--data", "/d", "-p", f"key={value}").exit_code == 0
    received = gateway.requests("POST")[0].body["hyperparameters"]["key"]
    assert (received, type(received)) == (sent, type(sent))


def test_a_dataset_that_lies_here_is_sent_as_an_absolute_path(
    yard: Yard, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.csv").touch()
    monkeypatch.chdir(tmp_path)
    for number, data in enumerate(["here.csv", "s3://bucket/there.csv", "/over/there.csv"]):
        yard("train", "--profile", "p", "--task-id", f"t{number}", "--data", data)
    sent = [seen.body["datasetPath"] for seen in gateway.requests("POST")]
    assert sent == [str(tmp_path / "here.csv"), "s3://bucket/there.csv", "/over/there.csv"]


def test_train_waits_and_tells_how_it_goes_on_stderr(yard: Yard, gateway: FakeGateway) -> None:
    running = {"status": "Running", "progress": {"percent": 40.0, "metrics": {"loss": 0.25}}}
    gateway.script("t", {}, running, {"status": "Succeeded"})
    result = yard("-o", "json", *TRAIN, "--data", "/d", "--wait", "--timeout", "1m")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"]["status"] == "Succeeded"
    assert "t 40 % Running The job is queued. loss 0.25" in shape(result.stderr)


def test_a_job_that_fails_while_it_is_waited_for_is_exit_code_1_and_says_why(yard: Yard, gateway: FakeGateway) -> None:
    end = {"reason": "DataUnreadable", "exitCode": 3, "message": "The dataset has no rows."}
    gateway.script("t", {"status": "Failed", "termination": end})
    result = yard(*TRAIN, "--data", "/d", "--wait")
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: Training job t failed (DataUnreadable): The dataset has no rows.\n")
    assert "Ended DataUnreadable (exit code 3)" in shape(result.stdout)
    assert result.output.count("The dataset has no rows.") == 1


def test_a_wait_that_takes_too_long_is_exit_code_4(yard: Yard, gateway: FakeGateway) -> None:
    result = yard(*TRAIN, "--data", "/d", "--wait", "--timeout", "0s")
    assert result.exit_code == 4
    assert "'t' is still Queued" in result.stderr
    assert result.stdout == ""


def test_deploy_waits_until_ready(yard: Yard, gateway: FakeGateway) -> None:
    gateway.script("d", {}, {"status": "Ready", "replicas": {"wanted": 2, "ready": 2}})
    result = yard("deploy", "--profile", "p", "--run", "r", "--task-id", "d", "--replicas", "2", "--wait")
    assert result.exit_code == 0
    assert "Replicas 2/2 ready" in shape(result.stdout)
    assert gateway.requests("POST")[0].body["replicas"] == 2


def test_a_deployment_that_fails_while_it_is_waited_for_is_exit_code_1(yard: Yard, gateway: FakeGateway) -> None:
    gateway.script("d", {"status": "Failed", "message": "The model's checksum is wrong."})
    result = yard("deploy", "--profile", "p", "--run", "r", "--task-id", "d", "--wait")
    assert result.exit_code == 1
    assert "Error: Deployment d failed (BecauseDeploying): The model's checksum is wrong." in result.stderr
    assert result.output.count("The model's checksum is wrong.") == 1
    assert json.loads(yard("status", "d", "-o", "json").stdout)["message"] == "The model's checksum is wrong."


@pytest.mark.parametrize("words", [(*TRAIN, "--data", "/d"), ("deploy", "--profile", "p", "--run", "r")])
def test_a_dry_run_prints_the_launch_and_launches_nothing(
    yard: Yard, gateway: FakeGateway, words: tuple[str, ...]
) -> None:
    result = yard(*words, "--dry-run")
    assert json.loads(result.stdout)["launch"]["command"] == ["python", "-m", "x"]
    assert gateway.jobs == gateway.deployments == {}


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("--features", "[[1, 2]]", "--user", "u"), None),
        (("--data", '{"features": [[1, 2]]}', "--user", "u"), None),
        (("-",), '{"userId": "u", "data": {"features": [[1, 2]]}}'),
        (("--file", "-"), '{"userId": "u", "data": {"features": [[1, 2]]}}'),
        (("--file", "BODY"), None),
    ],
)
def test_predict_takes_its_input_from_everywhere(
    yard: Yard, gateway: FakeGateway, tmp_path: Path, words: tuple[str, ...], stdin: str | None
) -> None:
    gateway.add_deployment("d")
    body = tmp_path / "body.json"
    body.write_text('{"userId": "u", "data": {"features": [[1, 2]]}}')
    result = yard("predict", "d", *(str(body) if word == "BODY" else word for word in words), stdin=stdin)
    assert json.loads(result.stdout) == {"predictions": [3]}
    assert gateway.predictions == [{"userId": "u", "data": {"features": [[1, 2]]}}]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "d"),
        ("predict", "d", "--features", "[[1", "--url", "http://127.0.0.1:9"),
        ("predict", "d", "--features", "[[1]]", "--data", "{}"),
        ("predict", "d", "--file", "/does/not/exist"),
        ("predict", "d", "word"),
        (*TRAIN, "--data", "mistyped.csv"),
        (*TRAIN, "--data", "/d", "-p", "novalue"),
        (*TRAIN, "--data", "/d", "-p", "=5"),
        (*TRAIN, "--data", "/d", "--timeout", "soon"),
        ("deploy", "--profile", "p"),
        ("deploy", "--profile", "p", "--run", "r", "--model-name", "m"),
        ("scale", "d", "--replicas", "-1"),
        ("scale", "d", "-1"),
        ("scale", "d"),
        ("scale", "d", "2", "--replicas", "2"),
        ("update", "d"),
        ("update", "d", "--run", "r", "--alias", "a"),
        ("update", "d", "--model-name", "m"),
        ("logs", "t", "--since", "yesterday"),
        ("ls", "deployments", "--experiment", "e"),
        ("ls", "-o", "yaml"),
        ("down", "--data", "--keep-running"),
        ("fly",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_reaches_no_gateway(
    yard: Yard, gateway: FakeGateway, words: tuple[str, ...]
) -> None:
    result = yard(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr
    assert gateway.seen == []


@pytest.mark.parametrize("words", [("status", "x"), ("logs", "x"), ("delete", "x", "--yes"), ("predict", "x", "-")])
def test_what_is_not_there_is_exit_code_3(yard: Yard, words: tuple[str, ...]) -> None:
    result = yard(*words, stdin="{}")
    assert result.exit_code == 3
    assert "'x'" in result.stderr
    assert "Traceback" not in result.output


def test_a_refusal_shows_each_cause_and_the_request_id(yard: Yard, gateway: FakeGateway) -> None:
    causes = [{"pointer": "/modelProfile", "detail": "is unknown"}, {"pointer": "/useGpu", "detail": "is [red]no"}]
    causes.append({"pointer": "/taskId", "detail": "wrong"})
    gateway.faults.append(Fault(422, detail="The body is \x1b[31mwrong.", causes=causes))
    result = yard(*TRAIN, "--data", "/d")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: The body is  [31mwrong.",
        "  /modelProfile: is unknown",
        "  /useGpu: is [red]no",
        "  at /taskId",
        "  request id: req-1",
    ]


def test_ls_says_when_there_is_nothing(yard: Yard) -> None:
    result = yard("ls")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "There are none.\n")


def test_ls_lists_both_kinds_or_one(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_job("a-job", "Failed", modelProfile="p", experimentName="e")
    gateway.add_job("b-job", "Running", modelProfile="p", experimentName="e")
    gateway.add_deployment("served", replicas=3, modelProfile="p")
    assert "a-job Failed p e" in shape(yard("ls").stdout)
    assert "served Ready 3/3 p served" in shape(yard("ls").stdout)
    assert "served" not in yard("ls", "jobs").stdout
    assert "a-job" not in yard("ls", "deployments").stdout
    failed = json.loads(yard("ls", "jobs", "--status", "Failed", "-o", "json").stdout)
    assert [job["taskId"] for job in failed["items"]] == ["a-job"]
    listed = json.loads(yard("-o", "json", "ls").stdout)
    assert [len(listed[noun]["items"]) for noun in ("jobs", "deployments")] == [2, 1]


def test_ls_reads_a_status_in_any_case_and_asks_those_who_can_have_it(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_job("a", "Running")
    gateway.add_deployment("b", "Ready")
    assert "a Running" in shape(yard("ls", "--status", "RUNNING").stdout)
    assert "b Ready" in shape(yard("ls", "--status", "ready").stdout)
    assert [seen.query["status"] for seen in gateway.seen] == ["Running", "Ready"]
    assert yard("ls", "--status", "failed").stderr == "There are none.\n"
    assert [seen.query["status"] for seen in gateway.seen[2:]] == ["Failed", "Failed"]


def test_profiles_lists_hyperparameters_with_their_defaults(yard: Yard) -> None:
    rows = [shape(line) for line in yard("profiles").stdout.splitlines()]
    assert [row.strip() for row in rows] == [
        "PROFILE FAMILY HYPERPARAMETER TYPE DEFAULT ALLOWED",
        "p tabular numEpoch integer 20 1..",
        'p tabular scaling string "auto" auto|none',
    ]
    assert json.loads(yard("profiles", "-o", "json").stdout)["items"][0]["hyperparameters"]["numEpoch"]["default"] == 20


def test_version_is_that_of_the_project(yard: Yard) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    result = yard("--version")
    assert (result.exit_code, result.stdout) == (0, f"yard {project['version']}\n")


def test_predict_says_once_what_it_waits_for(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    details = ["It is starting.", "It is starting.", "It loads the model."]
    gateway.faults.extend(Fault(503, code="deployment-not-ready", detail=detail) for detail in details)
    result = yard("predict", "d", "--features", "[[1, 2]]")
    assert json.loads(result.stdout) == {"predictions": [3]}
    assert result.stderr == "waiting: It is starting.\nwaiting: It loads the model.\n"


def test_predict_ends_at_once_where_waiting_does_not_help(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    gateway.faults.append(Fault(503, code="deployment-not-ready", detail="It has failed.", retryable=False))
    result = yard("predict", "d", "--features", "[[1, 2]]")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "Error: It has failed."
    assert len(gateway.seen) == 1


def test_status_says_in_words_why_it_does_not_run(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Queued")
    gateway.script("t", {"reason": "WaitingForGpu", "message": "All 2 GPUs are busy.", "notes": ["A note."]})
    result = yard("status", "t")
    assert "Why WaitingForGpu: All 2 GPUs are busy." in shape(result.stdout)
    assert "Accepted True Accepted" in shape(result.stdout)
    assert "Note A note." in shape(result.stdout)
    assert json.loads(yard("status", "t", "-o", "json").stdout)["reason"] == "WaitingForGpu"


def test_kind_decides_where_a_name_is_two_things(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_job("x", "Failed")
    gateway.add_deployment("x", "Ready")
    ambiguous = yard("status", "x")
    assert ambiguous.exit_code == 1
    assert "Add --kind job or --kind deployment." in ambiguous.stderr
    assert json.loads(yard("status", "x", "--kind", "job", "-o", "json").stdout)["status"] == "Failed"
    assert json.loads(yard("status", "x", "--kind", "deployment", "-o", "json").stdout)["status"] == "Ready"


def test_logs_prints_lines_as_they_are(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Succeeded")
    gateway.logs["t"] = b"[bold]one[/bold]\ntwo\n"
    gateway.cuts.append(20)
    assert yard("logs", "t").stdout == yard("logs", "t", "-f").stdout == "[bold]one[/bold]\ntwo\n"
    yard("logs", "t", "--tail", "5", "--since", "10m")
    assert gateway.seen[-1].query == {"tail": "5", "since": "600"}
    yard("logs", "t", "--since", "2026-11-20T10:00:00+01:00")
    assert gateway.seen[-1].query == {"since": "2026-11-20T10:00:00+01:00"}


def test_scale_changes_the_replicas(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    assert json.loads(yard("scale", "d", "--replicas", "4", "-o", "json").stdout)["replicas"] == 4
    assert json.loads(yard("scale", "d", "0", "-o", "json").stdout)["replicas"] == 0


def test_update_names_another_model(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    assert json.loads(yard("update", "d", "--run", "r2", "-o", "json").stdout)["mlflowRunId"] == "r2"
    yard("update", "d", "--model-name", "houses", "--alias", "champion")
    assert gateway.seen[-1].body == {"modelName": "houses", "alias": "champion"}
    yard("update", "d", "--version", "4")
    assert gateway.seen[-1].body == {"version": "4"}


def test_delete_asks_first_and_takes_silence_for_a_no(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    for answer in ("n\n", ""):
        assert yard("delete", "d", stdin=answer).exit_code == 1
    assert gateway.requests("DELETE") == []
    assert yard("delete", "d", stdin="y\n").exit_code == 0
    assert gateway.deployments == {}


@pytest.mark.parametrize("words", [(), ("--kind", "job", "--wait")])
def test_delete_of_a_job_that_has_ended_says_so_and_asks_nothing(
    yard: Yard, gateway: FakeGateway, words: tuple[str, ...]
) -> None:
    gateway.add_job("t", "Succeeded")
    result = yard("delete", "t", *words, "-o", "json")
    assert result.exit_code == 0
    assert result.stderr == "The job t has ended already (Succeeded); nothing to stop.\n"
    assert json.loads(result.stdout)["taskId"] == "t"
    assert gateway.requests("DELETE") == []


def test_delete_waits_until_it_is_gone(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    result = yard("-o", "json", "delete", "d", "--yes", "--wait")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["taskId"] == "d"
    assert gateway.seen[-1].path == "/api/v1/inference/deployments/d/status"


def test_an_option_of_the_command_wins_over_the_one_before_it(gateway: FakeGateway) -> None:
    gateway.add_job("t")
    words = ["--url", "http://127.0.0.1:9", "-o", "json", "ls", "jobs", "--url", gateway.url, "-o", "table"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert result.stdout.startswith("JOB")


def test_deploy_with_bounds_leaves_the_number_to_the_platform(yard: Yard, gateway: FakeGateway) -> None:
    bounds = ("--min-replicas", "0", "--max-replicas", "4", "--target-concurrency", "8", "--idle-seconds", "60")
    yard("deploy", "--profile", "p", "--run", "r", "--task-id", "d", *bounds)
    body = gateway.requests("POST")[0].body
    assert "replicas" not in body
    assert [body[name] for name in ("minReplicas", "maxReplicas", "targetConcurrency", "idleSeconds")] == [0, 4, 8, 60]
    yard("scale", "d", "--max-replicas", "6")
    assert gateway.requests("PATCH")[0].body == {"maxReplicas": 6}


def test_one_that_sleeps_is_listed_so_with_its_last_wake(yard: Yard, gateway: FakeGateway) -> None:
    gateway.add_deployment("idle", status="Asleep", replicas=0)
    gateway.deployments["idle"]["status"]["lastWake"] = {"schedule": 0.5, "load": 1, "warmUp": 0.25, "total": 1.75}
    assert "Asleep" in yard("ls", "deployments").stdout
    assert "1.75 s (schedule 0.50, pull 0.00, start 0.00, fetch 0.00, load 1.00, warm-up 0.25)" in " ".join(
        yard("status", "idle").stdout.split()
    )
