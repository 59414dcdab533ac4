#!/usr/bin/env bash
# Run benchmarks and print their tables. Nothing is asserted: the numbers are for reading side by side.
#
#   scripts/bench.sh                      all of them but the soak, which takes half an hour
#   scripts/bench.sh NAME...              e.g. scripts/bench.sh proxy
#   scripts/bench.sh NAME -- OPTION...    with options for the benchmark; "NAME -- --help" lists them
#
# The cluster part needs KUBECONFIG to name a cluster, and is skipped with a sentence otherwise.
# The proxy is compared with nginx, and servers are driven by wrk: as root both are installed by apt-get where missing.
# The peers of "serving" are installed into environments of their own, once: a few GB.
# PYTHON chooses an interpreter that has the platform's packages; else an environment is made outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

names() { grep -l '^if __name__' scripts/bench/*.py | xargs -n1 basename | sed 's/\.py$//'; }

need_tools() {
    local missing=()
    command -v nginx >/dev/null || missing+=(nginx-light)
    command -v wrk >/dev/null || missing+=(wrk)
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "This benchmark needs nginx and wrk; install them with: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
}

chosen=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; echo; echo "Benchmarks: $(names | paste -sd' ')"; exit 0 ;;
        --) shift; break ;;
        *) names | grep -qx -- "$1" || { echo "unknown benchmark: $1 (see --help)" >&2; exit 2; }
           chosen+=("$1"); shift ;;
    esac
done
if [ ${#chosen[@]} -eq 0 ]; then mapfile -t chosen < <(names | grep -vx soak); fi

if [ -z "${PYTHON:-}" ]; then
    parts=(gateway trainer inference mlflow modelyard)
    case " ${chosen[*]} " in *" serving "* | *" soak "*) parts+=(torch) ;; esac
    key=$({ echo "${parts[@]}"; cat requirements/*.in requirements/lock.txt; } | sha256sum | cut -c1-12)
    venv=${MODELYARD_CACHE:-$HOME/.cache/modelyard}/bench-$key
    scripts/venv.sh "$venv" "${parts[@]}"
    PYTHON=$venv/bin/python
fi
for name in "${chosen[@]}"; do
    case $name in proxy | serving) need_tools ;; esac
    PYTHONPATH=$PWD "$PYTHON" "scripts/bench/$name.py" "$@"
    echo
done
