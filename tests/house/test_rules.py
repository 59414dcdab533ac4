"""The rules of the house that no linter knows."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from app.core import errors
from app.core.profiles import Profiles
from app.core.specs import Placeholders
from app.routers.errors import STATUS
from inference_server.contract import ServerInput
from inference_server.families import base as serving
from trainer.contract import LetterUnreadable, TrainerInput
from trainer.families import base as training

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("app", "trainer", "inference_server", "modelyard", "worker", "scripts", "kubernetes")
MODULES = sorted(path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=_name)
def test_a_module_says_what_its_room_is_for(path: Path) -> None:
    assert path.read_text().startswith(('"""', '#!/usr/bin/env python3\n"""'))


def test_no_name_explains_nothing() -> None:
    bad = re.compile(r"(^|[/_])(utils?|helpers?|common|misc|data|info|manager2)(\.py|/)|/(process|handle)_\w+\.py")
    assert [path for path in map(_name, MODULES) if bad.search(path)] == []


def test_folders_of_manifests_do_not_shadow_packages() -> None:
    assert not (CHECKOUT / "kubernetes" / "__init__.py").exists()
    assert not (CHECKOUT / "docker" / "__init__.py").exists()


def test_catch_alls_stand_in_three_places_at_most() -> None:
    places = [_name(path) for path in MODULES if re.search(r"except (Base)?Exception\b|except:", path.read_text())]
    assert len(places) <= 3, places


def test_nobody_but_settings_and_contracts_reads_the_environment() -> None:
    allowed = {"app/core/settings.py", "app/runtimes/local/launcher.py"}
    readers = {
        _name(path)
        for path in MODULES
        if _name(path).startswith("app/") and re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    }
    assert readers <= allowed


def test_every_profile_has_its_family_on_both_sides() -> None:
    for _, profile in Profiles.read(CHECKOUT / "model_profiles.yaml").items():
        for families in (training.FAMILIES, serving.FAMILIES):
            module, class_name = families[profile.family]
            assert hasattr(import_module(module), class_name)


def test_every_refusal_has_its_status() -> None:
    for refusal in _subclasses(errors.Refusal):
        assert any(class_ in STATUS for class_ in refusal.__mro__), refusal


def test_every_code_is_used_once() -> None:
    codes = [class_.__dict__["code"] for class_ in _subclasses(errors.Refusal) | _subclasses(errors.Outage)]
    assert len(codes) == len(set(codes))


def _subclasses(class_: type) -> set[type]:
    return {child for direct in class_.__subclasses__() for child in (direct, *_subclasses(direct))}


TRAINER = TrainerInput(
    task_id="t", job_uid="u", experiment_name='E "x"', profile="p", family="f", model_name="m", dataset_path="/d",
    tracking_uri="http://x", work_dir=Placeholders.WORK_DIR, termination_log="/t", initial_model=None, use_gpu=True,
    memory_limit_bytes=5, hyperparameters={"a": 1, "b": 0.5, "c": "ü", "d": False},
)  # fmt: skip
SERVER = ServerInput(
    task_id="t", model_id="m", family="f", run_id="r", tracking_uri="http://x", listen=Placeholders.LISTEN,
    model_cache="/c", termination_log="/t", address_file=None, cpu_threads=2,
)  # fmt: skip


@pytest.mark.parametrize("letter", [TRAINER, SERVER], ids=["trainer", "server"])
def test_a_letter_arrives_as_it_was_written(letter: TrainerInput | ServerInput) -> None:
    assert type(letter).from_env(letter.to_env()) == letter


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"tusk_id": "t"}', "unknown fields: tusk_id"),
        ('{"task_id": "t"}', "incomplete"),
        ('{"use_gpu": 1}', "use_gpu must be bool, not int"),
        ('{"memory_limit_bytes": true}', "memory_limit_bytes must be int, not bool"),
    ],
)
def test_an_unreadable_letter_says_why(text: str, complaint: str) -> None:
    with pytest.raises(LetterUnreadable, match=complaint):
        TrainerInput.from_json(text)


def test_a_missing_letter_names_its_variable() -> None:
    with pytest.raises(LetterUnreadable, match="MLOPS_TRAINER_INPUT"):
        TrainerInput.from_env({})


def test_no_script_names_a_package_host() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    hosts = re.compile(r"https?://[a-z0-9.-]*(pythonhosted|pypi|npmjs|debian)[a-z0-9.-]*")
    texts = [path for path in tracked.split() if path.endswith((".py", ".sh", ".toml", ".in", ".txt", ".md", ".yaml"))]
    assert [path for path in texts if (CHECKOUT / path).exists() and hosts.search((CHECKOUT / path).read_text())] == []
