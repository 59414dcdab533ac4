#!/usr/bin/env bash
# Everything that must hold: format, lint, types, import contracts, and all tests.
#
#   scripts/test.sh              everything
#   scripts/test.sh cluster      only what needs a Kubernetes, on the one that KUBECONFIG names
#   scripts/test.sh PYTEST-ARGS  only pytest, with these arguments (a path, -k NAME, --update-golden)
#
# With KUBECONFIG, everything includes the tests on that cluster; without it they are skipped, each with a sentence.
# They make namespaces named modelyard-..., and want images and GPUs that .ci/run shows how to bring.
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

# Machines are shared and busy: what fails is tried once more by itself. Both runs are shown, and only what fails twice
# fails; what passes at the second try deserves a look all the same.
remembering=(-o addopts="--strict-markers --import-mode=importlib") # with pytest's cache, which we else leave out
tried_twice() {
    local parallel=$1; shift
    # shellcheck disable=SC2086 # the words of $parallel
    python -m pytest "${remembering[@]}" --durations 15 $parallel "$@" && return
    [ $? = 1 ] || return
    echo "== once more: what failed"
    python -m pytest "${remembering[@]}" --last-failed --last-failed-no-failures none "$@"
}
on_the_cluster() { tried_twice "" tests/cluster tests/contracts -k "kubernetes or cluster" "$@"; }
off_the_cluster() { (unset KUBECONFIG; tried_twice "-n 2 --dist loadgroup" -q); }
if [ "${1:-}" = cluster ]; then
    [ -r "${KUBECONFIG:-}" ] || { echo "KUBECONFIG names no file: say which cluster the tests may use." >&2; exit 2; }
    shift
    on_the_cluster "$@"
    exit
fi
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi

step() { echo "== $1"; shift; "$@"; }
step "format" ruff format --check .
step "lint" ruff check .
step "types" mypy
step "import contracts" lint-imports --no-logo
step "tests" off_the_cluster
if [ -r "${KUBECONFIG:-}" ]; then step "tests on the cluster" on_the_cluster; fi
