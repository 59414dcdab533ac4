"""Tracking: which model a run logged, and its files, from an MLflow that may be slow, down or hostile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.rest import Refused, RestClient, Unavailable, Unwritable
from inference_server.tracking import Tracking
from tests.fakes.mlflow_rest import FakeMlflowRest

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "modelyard.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    (folder / "deep" / "a b#?%é.bin").write_bytes(b"\0" * 3_000_000)
    (folder / "deep" / "er" / "leaf").write_text("leaf")
    return folder


@pytest.fixture
def mlflow(source: Path) -> Iterator[FakeMlflowRest]:
    with FakeMlflowRest() as server:
        server.log(source, DIGEST)
        yield server


class Notices(list[str]):
    def __call__(self, sentence: str) -> None:
        self.append(sentence)


def tracking(mlflow: FakeMlflowRest, patience: float = 20, notices: Notices | None = None) -> Tracking:
    notices = Notices() if notices is None else notices
    return Tracking(RestClient(mlflow.url, patience, notices), notices)


def fetched(mlflow: FakeMlflowRest, folder: Path) -> Path:
    folder.mkdir()
    found = tracking(mlflow)
    found.download(found.logged_model("run-1", None).artifact_uri, folder)
    return folder


def test_a_run_leads_to_its_model_and_all_its_files(mlflow: FakeMlflowRest, source: Path, tmp_path: Path) -> None:
    logged = tracking(mlflow).logged_model("run-1", None)
    assert (logged.model_id, logged.digest) == ("m-1", DIGEST)
    assert directory_digest(fetched(mlflow, tmp_path / "got")) == directory_digest(source)


def test_a_model_id_goes_before_what_the_run_says(mlflow: FakeMlflowRest, source: Path) -> None:
    mlflow.log(source, None, run_id="run-2", model_id="m-2")
    assert tracking(mlflow).logged_model("run-2", "m-1").model_id == "m-1"


def test_of_several_models_of_a_run_the_last_is_taken(mlflow: FakeMlflowRest, source: Path) -> None:
    mlflow.log(source, DIGEST, run_id="run-2", model_id="m-2")
    mlflow.outputs["run-1"] = ["m-1", "m-2"]
    assert tracking(mlflow).logged_model("run-1", None).model_id == "m-2"


def test_the_digest_may_be_a_tag_of_the_run(mlflow: FakeMlflowRest) -> None:
    mlflow.model_tags["m-1"] = {}
    assert tracking(mlflow).logged_model("run-1", None).digest is None
    mlflow.run_tags["run-1"]["modelyard.model_digest"] = DIGEST
    assert tracking(mlflow).logged_model("run-1", None).digest == DIGEST


@pytest.mark.parametrize(
    ("run_id", "model_id", "sentence"),
    [
        ("nobody", None, "MLflow knows no run 'nobody'."),
        ("run-1", "m-9", "MLflow knows no logged model 'm-9'."),
        ("run-1", "../../runs", "MLflow knows no logged model '../../runs'."),
    ],
)
def test_what_mlflow_does_not_know_is_said_at_once(
    mlflow: FakeMlflowRest, run_id: str, model_id: str | None, sentence: str
) -> None:
    with pytest.raises(ModelUnreadable) as caught:
        tracking(mlflow).logged_model(run_id, model_id)
    assert str(caught.value) == sentence


def test_a_run_without_a_model_is_said(mlflow: FakeMlflowRest) -> None:
    mlflow.outputs["run-1"] = []
    with pytest.raises(ModelUnreadable, match="Run 'run-1' logged no model"):
        tracking(mlflow).logged_model("run-1", None)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_and_noticed(mlflow: FakeMlflowRest, status: int) -> None:
    mlflow.failures = [status, status]
    notices = Notices()
    assert tracking(mlflow, notices=notices).logged_model("run-1", None).model_id == "m-1"
    assert len(notices) == 2
    assert f"status {status}" in notices[0]
    assert notices[0].endswith("trying again.")


@pytest.mark.parametrize("status", [302, 401, 403])
def test_a_refusal_is_not_tried_again(mlflow: FakeMlflowRest, status: int) -> None:
    mlflow.failures = [status]
    with pytest.raises(Refused, match=f"status {status}"):
        tracking(mlflow).logged_model("run-1", None)
    assert len(mlflow.asked) == 1


def test_a_download_that_breaks_off_is_fetched_again_whole(
    mlflow: FakeMlflowRest, source: Path, tmp_path: Path
) -> None:
    mlflow.cut_short = 3
    assert directory_digest(fetched(mlflow, tmp_path / "got")) == directory_digest(source)


def test_patience_ends_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    client = RestClient(f"http://127.0.0.1:{port}", 0.5, Notices())
    with pytest.raises(Unavailable, match=r"does not answer: .*refused; gave up after 0 s|does not answer: .*refused"):
        client.json("/api")


def test_an_answer_that_is_no_json_object_is_no_mlflow(mlflow: FakeMlflowRest, source: Path) -> None:
    (source / "page").write_text("<html>")
    (source / "list").write_text("[]")
    for name in ("page", "list"):
        with pytest.raises(Unavailable, match="is this the address of MLflow"):
            RestClient(mlflow.url, 1, Notices()).json(
                f"/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts/{name}"
            )


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../evil", "/etc/evil", "a/b", "a\\b", "nul\0", "line\nbreak", "\ud800", "sub/../../evil"]
)
@pytest.mark.parametrize("is_dir", [True, False])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    mlflow: FakeMlflowRest, tmp_path: Path, name: str, is_dir: bool
) -> None:
    mlflow.listings[mlflow.artifact_path("m-1")] = [{"path": name, "is_dir": is_dir}]
    with pytest.raises(ModelUnreadable, match="leads out of its folder"):
        fetched(mlflow, tmp_path / "got")
    assert list((tmp_path / "got").iterdir()) == []


def test_folders_without_end_are_refused(mlflow: FakeMlflowRest, tmp_path: Path) -> None:
    path = mlflow.artifact_path("m-1")
    for _ in range(40):
        mlflow.listings[path] = [{"path": "d", "is_dir": True}]
        path += "/d"
    with pytest.raises(ModelUnreadable, match="nest deeper"):
        fetched(mlflow, tmp_path / "got")


def test_a_folder_with_too_many_files_is_refused(mlflow: FakeMlflowRest, tmp_path: Path, source: Path) -> None:
    mlflow.listings[mlflow.artifact_path("m-1")] = [{"path": "empty", "is_dir": False}] * 10_001
    with pytest.raises(ModelUnreadable, match="more than 10000 files"):
        fetched(mlflow, tmp_path / "got")


def test_a_disk_that_does_not_take_the_file_is_not_taken_for_a_broken_network(
    mlflow: FakeMlflowRest, tmp_path: Path
) -> None:
    (tmp_path / "modelyard.json").mkdir()
    with pytest.raises(Unwritable, match="Is a directory"):
        tracking(mlflow).download("mlflow-artifacts:/1/models/m-1/artifacts", tmp_path)


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "file://localhost{}"])
def test_a_folder_of_this_machine_is_copied(mlflow: FakeMlflowRest, source: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "got").mkdir()
    tracking(mlflow).download(form.format(source), tmp_path / "got")
    assert directory_digest(tmp_path / "got") == directory_digest(source)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://bucket/model", "in s3: storage, which this server does not read"),
        ("file://elsewhere/model", "in file: storage"),
        ("file:///no/such/folder", "/no/such/folder cannot be read here"),
    ],
)
def test_files_that_are_elsewhere_are_refused_with_a_reason(
    mlflow: FakeMlflowRest, tmp_path: Path, uri: str, words: str
) -> None:
    with pytest.raises(ModelUnreadable, match=words):
        tracking(mlflow).download(uri, tmp_path)


def test_another_server_in_the_uri_is_not_asked(mlflow: FakeMlflowRest, source: Path, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    found: Any = tracking(mlflow)
    found.download("mlflow-artifacts://203.0.113.1:9/1/models/m-1/artifacts", tmp_path / "got")
    assert directory_digest(tmp_path / "got") == directory_digest(source)
