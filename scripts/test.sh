#!/usr/bin/env bash
# Everything that must hold: format, lint, types, import contracts, and all tests.
#
#   scripts/test.sh              everything
#   scripts/test.sh cluster      only the tests on a real Kubernetes, the one that KUBECONFIG names (docs/kubernetes.md)
#   scripts/test.sh PYTEST-ARGS  only pytest, with these arguments (a path, -k NAME, --update-golden)
#
# Installs what it needs into a cache outside the checkout (MODELYARD_CACHE, default ~/.cache/modelyard).
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${MODELYARD_CACHE:-$HOME/.cache/modelyard}
key=$(cat requirements/*.in requirements/lock.txt | sha256sum | cut -c1-12)
venv=$cache/test-$key
if [ "$(id -u)" = 0 ] && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; } >/dev/null 2>&1 || true
fi
scripts/venv.sh "$venv" gateway trainer inference torch mlflow modelyard dev
export PATH="$venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 MLFLOW_DISABLE_TELEMETRY=true

if [ "${1:-}" = cluster ]; then shift; set -- tests/cluster tests/contracts "$@"; fi
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi

step() { echo "== $1"; shift; "$@"; }
step "format" ruff format --check .
step "lint" ruff check .
step "types" mypy
step "import contracts" lint-imports --no-logo
step "tests" python -m pytest -n 2 --dist loadgroup --durations 15
