#!/usr/bin/env bash
# From a fresh clone to a prediction, on this machine alone.
#
#   scripts/quickstart.sh          start the platform, train, deploy, predict; leave it running
#   scripts/quickstart.sh --exit   the same, and stop everything at the end
#
# It trains on a real dataset, scikit-learn's diabetes study, and installs no PyTorch. Harmless when repeated.
set -euo pipefail
cd "$(dirname "$0")/.."

stop_at_the_end=false
case ${1:-} in
    "") ;;
    --exit) stop_at_the_end=true ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "unknown option: $1 (see --help)" >&2; exit 2 ;;
esac

scripts/venv.sh .venv gateway trainer inference mlflow modelyard
.venv/bin/python -c 'import modelyard' 2>/dev/null && test -x .venv/bin/yard ||
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --editable . \
        --config-settings editable_mode=compat   # a plain path: a clone named modelyard must not shadow the package

export MODELYARD_URL=${MODELYARD_URL:-http://127.0.0.1:${MLOPS_HTTP__PORT:-8000}}
if $stop_at_the_end; then trap '.venv/bin/yard down' EXIT; fi
.venv/bin/yard up
.venv/bin/python scripts/quickstart.py
if ! $stop_at_the_end; then
    echo
    echo "The platform goes on running. Look around with  .venv/bin/yard ls,  stop it with  .venv/bin/yard down"
fi
