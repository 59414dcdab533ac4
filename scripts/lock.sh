#!/usr/bin/env bash
# Renew requirements/lock.txt: the newest versions that go together, of all that any room needs.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
tool=$(mktemp -d); trap 'rm -rf "$tool"' EXIT
python3 -m venv "$tool" && "$tool/bin/pip" install --quiet uv
"$tool/bin/uv" pip compile --quiet --upgrade --python-version 3.11 --index-strategy unsafe-best-match \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o lock.txt ./*.in
sed -i 's/^\(torch==[0-9.]*\).*/\1/' lock.txt   # the CPU build and the CUDA build share a version
