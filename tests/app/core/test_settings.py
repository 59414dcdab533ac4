"""Settings come from MLOPS_ variables; what is unknown or wrong is named and stops the start."""

from pathlib import Path

import pytest

from app.bootstrap import build
from app.core.errors import ConfigurationError
from app.core.settings import Settings, load_settings, unknown_variables


def test_levels_are_joined_by_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HTTP__PORT", "8123")
    assert load_settings().http.port == 8123


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HTTP__PROT", "8123")
    with pytest.raises(ConfigurationError, match="MLOPS_HTTP__PROT"):
        load_settings()


def test_a_bad_value_names_its_variable_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HTTP__PORT", "s3cret")
    with pytest.raises(ConfigurationError, match="MLOPS_HTTP__PORT") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)


def test_the_size_of_the_model_cache_is_a_quantity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_MODEL_CACHE_SIZE", "500Gi")
    assert load_settings().model_cache_size == 500 << 30
    for wrong, complaint in (("much", "is no memory quantity"), ("1k", "greater than or equal to 1048576")):
        monkeypatch.setenv("MLOPS_MODEL_CACHE_SIZE", wrong)
        with pytest.raises(ConfigurationError, match=f"MLOPS_MODEL_CACHE_SIZE: .*{complaint}"):
            load_settings()


@pytest.mark.parametrize("wrong", ["/", "Models", "a/b"])
def test_a_shared_model_cache_is_a_folder_or_a_claim(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    for right in ("/var/lib/models", "models"):
        monkeypatch.setenv("MLOPS_KUBERNETES__MODEL_CACHE", right)
        assert load_settings().kubernetes.model_cache == right
    monkeypatch.setenv("MLOPS_KUBERNETES__MODEL_CACHE", wrong)
    with pytest.raises(ConfigurationError, match="MLOPS_KUBERNETES__MODEL_CACHE"):
        load_settings()


def test_other_variables_are_none_of_our_business() -> None:
    assert unknown_variables({"PATH": "/bin", "MLOPS_HOME": "/x", "mlops_http__host": "::1"}) == []


def test_the_store_url_is_not_printed() -> None:
    settings = Settings(store={"url": "postgresql+asyncpg://u:s3cret@db/x"})  # type: ignore[arg-type]
    assert "s3cret" not in repr(settings)
    assert settings.store_url.endswith("@db/x")


def test_without_a_uri_mlflow_is_our_own() -> None:
    assert Settings(tracking={"port": 5055}).tracking_uri == "http://127.0.0.1:5055"  # type: ignore[arg-type]
    assert Settings(tracking={"uri": "http://ml:1/"}).tracking_uri == "http://ml:1"  # type: ignore[arg-type]


def test_on_kubernetes_an_mlflow_that_pods_reach_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MLOPS_TRACKING__URI"):
        build(Settings(runtime="kubernetes", home=tmp_path))


def test_the_runtime_is_chosen_by_the_settings(tmp_path: Path) -> None:
    settings = Settings(runtime="kubernetes", home=tmp_path, tracking={"uri": "http://mlflow:5000"})  # type: ignore[arg-type]
    platform = build(settings)
    assert (platform.runtime_name, type(platform.runtime).__name__) == ("kubernetes", "KubernetesRuntime")
