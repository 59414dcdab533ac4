"""The profiles file: what it offers, and that a mistake in it stops the start with its key and line."""

from datetime import timedelta
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError, InvalidRequest, ProfileUnknown
from app.core.profiles import Profiles
from app.core.specs import Placement, Toleration

CHECKOUT = Path(__file__).resolve().parents[3]
SOURCE = (CHECKOUT / "model_profiles.yaml").read_text()


@pytest.fixture
def profiles() -> Profiles:
    return Profiles.read(CHECKOUT / "model_profiles.yaml")


def test_the_five_profiles_are_there(profiles: Profiles) -> None:
    assert [name for name, _ in profiles.items()] == [
        "tabular_regression",
        "tabular_classification",
        "image_classification",
        "text_classification",
        "text_generation",
    ]


def test_quantities_are_numbers(profiles: Profiles) -> None:
    serving = profiles["tabular_regression"].serving
    assert (serving.cpu, serving.memory, serving.gpu) == (500, 2**30, 0)


def test_an_unknown_profile_names_the_known_ones(profiles: Profiles) -> None:
    with pytest.raises(ProfileUnknown, match=r"'nope'.*tabular_regression"):
        profiles["nope"]


def test_defaults_fill_what_is_not_given(profiles: Profiles) -> None:
    resolved = profiles["tabular_regression"].resolve({"numEpoch": 3})
    assert (resolved["numEpoch"], resolved["learningRate"], resolved["numBatch"]) == (3, 0.001, 32)


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        ({"numEpoch": 0}, "/hyperparameters/numEpoch", "at least 1"),
        ({"numEpoch": 1.5}, "/hyperparameters/numEpoch", "an integer"),
        ({"numEpoch": True}, "/hyperparameters/numEpoch", "an integer"),
        ({"learningRate": float("nan")}, "/hyperparameters/learningRate", "finite"),
        ({"learningRate": 11}, "/hyperparameters/learningRate", "at most 10"),
        ({"learningRate": "fast"}, "/hyperparameters/learningRate", "number"),
        ({"targetColumn": 1}, "/hyperparameters/targetColumn", "a string"),
        ({"a/b~c": 1}, "/hyperparameters/a~1b~0c", "none of numEpoch"),
    ],
)
def test_a_bad_hyperparameter_is_named(profiles: Profiles, given: dict[str, object], pointer: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        profiles["tabular_regression"].resolve(given)
    [cause] = refused.value.causes
    assert cause.pointer == pointer
    assert words in cause.detail


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('cpu: "1"', "cpu: fast", r"p\.yaml:\d+: profiles\.tabular_regression\.training\.cpu: 'fast' is no CPU"),
        ("memory: 2Gi", "memory: 2 GB", r"training\.memory: '2 GB' is no memory"),
        ("startDeadline: 10m", "startDeadline: soon", r"startDeadline: 'soon' is no duration"),
        ("default: 100,", "default: true,", r"numEpoch: default must be an integer"),
        ("default: 0.001,", "default: 100,", r"learningRate: default must be at most 10"),
        ("family: image_c", "family: c", r"profiles\.image_classification\.family: "),
        ("warmStart: true", "warmStarts: true", r"warmStarts: Extra inputs"),
        ("  text_generation:", "  tabular_regression:", r"p\.yaml:\d+: tabular_regression: stands here a second time"),
        ("\nprofiles:", "\nprofiles: [", r"p\.yaml:\d+: not YAML"),
        (
            "gpu: 0}",
            "gpu: 0, nodeSelector: {disk: true}}",
            r"training\.nodeSelector\.disk: must be a string; put true in",
        ),
        ("gpu: 0}", "gpu: 0, nodeSelector: {disk: a b}}", r"nodeSelector\.disk: 'a b' is no label value"),
        ("gpu: 0}", "gpu: 0, nodeSelector: {a/b/c: x}}", r"nodeSelector\.a/b/c.*: 'a/b/c' is no label key"),
        (
            "gpu: 0}",
            "gpu: 0, tolerations: [{key: a, effect: Never}]}",
            r"training\.tolerations\.0\.effect: Input should be",
        ),
        ("gpu: 0}", "gpu: 0, tolerations: [{value: a}]}", r"tolerations\.0: without a key its operator must be Exists"),
        ("gpu: 0}", "gpu: 0, tolerations: [{key: a, operator: Exists, value: b}]}", r"Exists takes no value"),
        ("gpu: 0}", "gpu: 0, tolerations: [{key: a, tolerationSeconds: 5}]}", r"goes with effect NoExecute only"),
        ("gpu: 0}", "gpu: 0, runtimeClass: A_B}", r"training\.runtimeClass: 'A_B' is no name"),
        ("gpu: 0}", "gpu: 0, runDeadline: 0}", r"training\.runDeadline: Input should be greater"),
        ("1Gi, gpu: 0}", "1Gi, gpu: 0, runDeadline: 1h}", r"serving\.runDeadline: Extra inputs"),
    ],
)
def test_a_mistake_is_named_with_key_and_line(before: str, after: str, complaint: str) -> None:
    assert before in SOURCE
    with pytest.raises(ConfigurationError, match=complaint):
        Profiles.parse(SOURCE.replace(before, after, 1), "p.yaml")


def test_the_line_is_that_of_the_mistake() -> None:
    lines = SOURCE.splitlines()
    wanted = next(number for number, line in enumerate(lines, 1) if "cpu: 500m" in line)
    with pytest.raises(ConfigurationError, match=rf"^p\.yaml:{wanted}: "):
        Profiles.parse(SOURCE.replace("cpu: 500m", "cpu: 500x", 1), "p.yaml")


def test_the_line_is_that_of_the_mistake_in_a_list_too() -> None:
    listed = "gpu: 0, tolerations: [\n      {key: a},\n      {key: b, effect: Never}]}"
    wanted = 2 + next(number for number, line in enumerate(SOURCE.splitlines(), 1) if "gpu: 0}" in line)
    with pytest.raises(ConfigurationError, match=rf"^p\.yaml:{wanted}: .*tolerations\.1\.effect"):
        Profiles.parse(SOURCE.replace("gpu: 0}", listed, 1), "p.yaml")


def test_a_stage_says_where_it_may_run() -> None:
    place = (
        'nodeSelector: {disk: ssd, example.com/zone: "1"}, tolerations: [{key: gpu, operator: Exists}], runtimeClass: n'
    )
    training = Profiles.parse(SOURCE.replace("gpu: 0}", f"gpu: 0, {place}, runDeadline: 2h}}", 1), "p.yaml")[
        "tabular_regression"
    ].training
    tolerated = (Toleration("gpu", "Exists"),)
    assert training.placement == Placement({"disk": "ssd", "example.com/zone": "1"}, tolerated, "n")
    assert training.run_deadline == timedelta(hours=2)


def test_serving_says_how_requests_are_predicted_together() -> None:
    head, serving, rest = SOURCE.partition("serving: {")
    assert serving

    def parsed(more: str) -> tuple[int, int]:
        stage = Profiles.parse(f"{head}{serving}{more}{rest}", "p.yaml")["tabular_regression"].serving
        return stage.max_batch_rows, stage.batch_latency_ms

    assert parsed("") == (1024, 50)
    assert parsed("maxBatchRows: 8, batchLatencyMs: 0, ") == (8, 0)
    for mistake in ("maxBatchRows: 0, ", "batchLatencyMs: -1, "):
        with pytest.raises(ConfigurationError, match="serving"):
            parsed(mistake)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Profiles.read(tmp_path / "none.yaml")
