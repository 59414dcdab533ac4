"""Registration: a package becomes a logged model of its run and a version of a registered model, each once."""

from __future__ import annotations

import logging
from typing import Any

from inference_server.digest import directory_digest
from inference_server.facts import TAG as FACTS
from inference_server.facts import Facts
from trainer import package
from trainer.package import Package
from trainer.tracked_run import TrackedRun
from trainer.tracking import is_passing, outages

log = logging.getLogger(__name__)

MODEL_DIGEST = "modelyard.model_digest"
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"


def register(run: TrackedRun, trained: Package, name: str) -> str:
    """Log the model, register it as `name`, and close the run; the version's number. What is done is not done again.

    The digest is stored as a tag before the files are uploaded, and the model is READY only when all are there.
    """
    model = run.tracking.attempt("the model was to be logged", lambda: _log(run, trained))
    version = run.tracking.attempt("the model was to be registered", lambda: _version(run, name, model, trained.facts))
    run.tracking.attempt("the run was to be closed", lambda: run.tracking.client.set_terminated(run.run_id))
    return version


def registered_version(run: TrackedRun, name: str) -> str | None:
    """The version of `name` that came from this run, if there is one."""
    client = run.tracking.client
    found = client.search_model_versions(f"run_id = '{run.run_id}'")
    return next((str(version.version) for version in found if version.name == name), None)


def _log(run: TrackedRun, trained: Package) -> Any:
    client = run.tracking.client
    model = _logged_model(run)
    if model.status != "READY":
        package.address(trained.folder, model.model_id, run.run_id, model.artifact_location)
        digest = directory_digest(trained.folder)
        tags = {MODEL_DIGEST: digest, **_facts_tag(trained.facts)}
        client.set_logged_model_tags(model.model_id, tags)
        for tag, value in tags.items():
            client.set_tag(run.run_id, tag, value)
        client.log_model_artifacts(model.model_id, str(trained.folder))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run.run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        from mlflow.entities import LoggedModelOutput

        client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=trained.epochs)])
    return model


def _logged_model(run: TrackedRun) -> Any:
    client = run.tracking.client
    found = client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    if mine := next((model for model in found if model.name == package.NAME), None):
        return mine
    return client.create_logged_model(run.experiment_id, package.NAME, run.run_id)


def _facts_tag(facts: Facts | None) -> dict[str, str]:
    """Beside the digest and no part of it: another machine measures other times of the same files."""
    return {FACTS: facts.to_tag()} if facts else {}


def _version(run: TrackedRun, name: str, model: Any, facts: Facts | None) -> str:
    if known := registered_version(run, name):
        return known
    client = run.tracking.client
    try:
        client.create_registered_model(name)
    except outages() as error:
        if is_passing(error) or getattr(error, "error_code", "") != _ALREADY_EXISTS:
            raise
    tags = _facts_tag(facts)
    made = client.create_model_version(name, model.model_uri, run.run_id, tags=tags, model_id=model.model_id)
    return str(made.version)
