"""A request names an image only from the places that are allowed, and no name can pretend to be of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from app.core.errors import ConfigurationError, ImageNotAllowed
from app.core.specs import JobSpec, Program, Resources
from app.runtimes.kubernetes.images import is_allowed
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "place", "allowed"),
    [
        ("reg.io/team/a:1", "reg.io/team", True),
        (f"reg.io/team/deep/a@{DIGEST}", "reg.io/team", True),
        (f"reg.io/team/a:1@{DIGEST}", "reg.io", True),
        ("reg.io/team:2", "reg.io/team", True),
        ("reg.io/team-evil/a", "reg.io/team", False),
        ("reg.io.evil.com/team/a", "reg.io/team", False),
        ("reg.io:8080/team/a", "reg.io/team", False),
        ("evil.com/reg.io/team/a", "reg.io/team", False),
        ("reg.io@evil.com/team/a", "reg.io", False),
        ("reg.io/team/../evil/a", "reg.io/team", False),
        ("reg.io/team/a:1 --x", "reg.io/team", False),
        ("reg.io/team//a", "reg.io/team", False),
        ("", "*", False),
        ("localhost:5002/mlflow-trainer:latest", "localhost:5002", True),
        ("localhost:50020/mlflow-trainer", "localhost:5002", False),
        ("python:3.11", "docker.io/library", True),
        ("library/python", "docker.io", True),
        ("index.docker.io/team/a", "docker.io/team", True),
        ("team/a", "reg.io", False),
        ("anything.io/a", "*", True),
    ],
)
def test_places_hold_whole_parts_of_a_name(image: str, place: str, allowed: bool) -> None:
    assert is_allowed(image, [place]) is allowed
    assert not is_allowed(image, [])


def job(image: str) -> JobSpec:
    named = {"modelyard/image-from-request": "true"}
    return JobSpec("train-a", "a", "u", Program("m", {}, image), Resources(1, 1), timedelta(seconds=1), named)


def test_another_image_is_refused_with_its_place_in_the_body_and_the_allowed_ones() -> None:
    runtime = KubernetesRuntime(KubernetesSettings(trainer_images=("reg.io/team", "localhost:5002")))
    with pytest.raises(ImageNotAllowed, match=r"reg\.io/team, localhost:5002") as refused:
        runtime.admit(job("reg.io/team-evil/a"))
    assert [cause.pointer for cause in refused.value.causes] == ["/trainerImage"]


def test_with_no_place_allowed_only_the_images_of_profiles_are_used() -> None:
    with pytest.raises(ImageNotAllowed, match="without trainerImage the profile's is used"):
        KubernetesRuntime(KubernetesSettings(trainer_images=())).admit(job("localhost:5002/a"))


@pytest.mark.parametrize("place", ["reg.io/team:1", "https://reg.io", "reg.io/", "Reg io"])
def test_a_place_that_is_none_stops_the_start(place: str) -> None:
    with pytest.raises(ConfigurationError, match="MLOPS_KUBERNETES__TRAINER_IMAGES"):
        replace(KubernetesSettings(), trainer_images=(place,))


def test_the_platforms_own_registry_is_allowed() -> None:
    settings = KubernetesSettings(registry="reg.io/team", trainer_images=())
    assert settings.image_places == ("reg.io/team",)
    with pytest.raises(ImageNotAllowed, match=r"reg\.io/team"):
        KubernetesRuntime(settings).admit(job("localhost:5002/a"))
