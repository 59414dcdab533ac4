#!/usr/bin/env bash
# Make a virtual environment of requirements/<name>.in files, pinned by requirements/lock.txt.
#
#   scripts/venv.sh DIR NAME...      e.g. scripts/venv.sh .venv gateway trainer inference mlflow modelyard
#
# Harmless when repeated: what is there already and unchanged costs nothing. PYTHON chooses the interpreter (3.11+).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1; shift

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"; return
        fi
    done
    echo "Python 3.11 or newer is needed; install it with: apt-get install python3 python3-venv" >&2
    exit 1
}

make_venv() {
    if "$python" -m venv "$dir" >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
        "$python" -m venv --clear "$dir"
    else
        echo "Python's venv module is missing; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    fi
}

python=$(find_python)
wanted=$({ "$python" -VV; for name in "$@"; do cat "requirements/$name.in"; done; cat requirements/lock.txt; } | sha256sum)
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"; flock 9
if [ "$(cat "$dir/made-of" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

echo "Installing packages into $dir (a few minutes the first time) ..." >&2
make_venv
files=(); for name in "$@"; do files+=(-r "requirements/$name.in"); done
"$dir/bin/pip" install -qq --disable-pip-version-check --prefer-binary "${files[@]}" -c requirements/lock.txt
echo "$wanted" >"$dir/made-of"
