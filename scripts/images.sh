#!/usr/bin/env bash
# Build the platform's images, and bring them to where a cluster finds them.
#
#   scripts/images.sh build [NAME...]           build and tag
#   scripts/images.sh push [NAME...]            push to --registry
#   scripts/images.sh load TARGET [NAME...]     into a local cluster: TARGET is k3s or kind
#   scripts/images.sh list [NAME...]            the full names, one a line
#
# NAMES: gateway trainer inference mlflow (the default), trainer-torch, inference-torch (with PyTorch), gpu-base, or all.
#
#   --registry R   stands before the names        (MODELYARD_REGISTRY; none: local names)
#   --tag T        instead of latest              (MODELYARD_TAG)
#   --builder B    docker, buildah, or a command  (MODELYARD_BUILDER; the first of docker and buildah that is there)
#                  A command is called as: B TAG CONTEXT -f DOCKERFILE [--build-arg NAME=VALUE]...
#   --base B       instead of python:3.11-slim    (MODELYARD_BASE)
#   --cuda         torch images start from gpu-base, with CUDA; without it they have the CPU build of torch
#
# Package indexes: PIP_INDEX_URL and PIP_EXTRA_INDEX_URL are handed to the build if they are set. The CPU build of torch
# comes from MODELYARD_TORCH_INDEX (https://download.pytorch.org/whl/cpu; set but empty: from pip's own indexes).
# KIND_CLUSTER names the kind cluster (kind); K3S is the k3s command ("sudo k3s").
set -euo pipefail
cd "$(dirname "$0")/.."

registry=${MODELYARD_REGISTRY:-} tag=${MODELYARD_TAG:-latest} builder=${MODELYARD_BUILDER:-} base=${MODELYARD_BASE:-}
torch_index=${MODELYARD_TORCH_INDEX-https://download.pytorch.org/whl/cpu}
cuda=no words=()

usage() { sed -n '2,/^set -/p' "$0" | grep '^#' | cut -c3-; }
die() { echo "images.sh: $*" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --cuda) cuda=yes; shift; continue ;;
    --registry | --tag | --builder | --base)
        [ $# -ge 2 ] || die "$1 needs a value."
        declare "${1#--}=$2"; shift 2; continue ;;
    -*) die "There is no option $1; see --help." ;;
    esac
    words+=("$1"); shift
done

choose_builder() {
    [ -n "$builder" ] && return
    for builder in docker buildah; do command -v "$builder" >/dev/null && return; done
    die "Neither docker nor buildah is here; install one, or name a command with --builder."
}

full_name() { echo "${registry:+$registry/}modelyard-$1:$tag"; }

dockerfile() {
    case $1 in
    gateway) echo docker/Dockerfile.fastapi ;;
    trainer | trainer-torch) echo docker/Dockerfile.trainer ;;
    inference | inference-torch) echo docker/Dockerfile.inference ;;
    mlflow | gpu-base) echo "docker/Dockerfile.$1" ;;
    *) die "There is no image $1; see --help." ;;
    esac
}

build() { # NAME
    local name=$1 from=$base extra=${PIP_EXTRA_INDEX_URL:-} arguments=()
    if [[ $name == *-torch ]]; then
        arguments+=(--build-arg FRAMEWORK=torch)
        if [ "$cuda" = yes ]; then from=$(full_name gpu-base); else extra="$extra${torch_index:+ $torch_index}"; fi
    fi
    if [ -n "$from" ]; then arguments+=(--build-arg "BASE=$from"); fi
    if [ -n "${PIP_INDEX_URL:-}" ]; then arguments+=(--build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"); fi
    if [ -n "${extra# }" ]; then arguments+=(--build-arg "PIP_EXTRA_INDEX_URL=${extra# }"); fi
    echo "== $(full_name "$name")"
    case $builder in
    docker) docker build -t "$(full_name "$name")" -f "$(dockerfile "$name")" "${arguments[@]}" . ;;
    buildah) buildah bud --layers -t "$(full_name "$name")" -f "$(dockerfile "$name")" "${arguments[@]}" . ;;
    *) # shellcheck disable=SC2086  # a command with its first words
        $builder "$(full_name "$name")" . -f "$(dockerfile "$name")" "${arguments[@]}" ;;
    esac
}

archive() { # NAME FILE
    case $builder in
    docker) docker save -o "$2" "$(full_name "$1")" ;;
    buildah) buildah push -q "$(full_name "$1")" "docker-archive:$2:$(full_name "$1")" ;;
    *) die "A builder of your own loads its images itself." ;;
    esac
}

load() { # TARGET NAME
    echo "== $(full_name "$2") into $1"
    local file=$work/image.tar
    rm -f "$file"; archive "$2" "$file"
    # shellcheck disable=SC2086  # a command with its first words
    case $1 in
    k3s) ${K3S:-sudo k3s} ctr images import "$file" ;;
    kind) kind load image-archive "$file" --name "${KIND_CLUSTER:-kind}" ;;
    esac
    rm -f "$file"
}

push() { # NAME
    [ -n "$registry" ] || die "Name the registry with --registry or MODELYARD_REGISTRY."
    case $builder in
    docker | buildah) "$builder" push "$(full_name "$1")" ;;
    *) die "A builder of your own pushes its images itself." ;;
    esac
}

set -- "${words[@]}"
command=${1:-}; shift || true
case $command in
build | push) ;;
load)
    target=${1:-}; shift || true
    case $target in k3s | kind) ;; *) die "Load into k3s or kind, not '$target'." ;; esac ;;
list) ;;
*) usage >&2; exit 2 ;;
esac

[ $# -gt 0 ] || set -- gateway trainer inference mlflow
if [ "$*" = all ]; then set -- gateway trainer inference mlflow trainer-torch inference-torch; fi
if [ "$cuda" = yes ] && [ "$command" = build ] && [[ " $* " != *" gpu-base "* ]]; then set -- gpu-base "$@"; fi
for name in "$@"; do dockerfile "$name" >/dev/null; done
if [ "$command" = list ]; then
    for name in "$@"; do full_name "$name"; done
    exit
fi
choose_builder
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
for name in "$@"; do
    case $command in
    build) build "$name" ;;
    push) push "$name" ;;
    load) load "$target" "$name" ;;
    esac
done
