#!/usr/bin/env bash
# The platform's health at a glance: components, jobs, deployments, what went wrong lately.
#
#   ./monitor_all.sh [NAMESPACE]     the namespace default, if none is named
#
#   --watch     again every 5 seconds, until Ctrl-C
#
# Exits with 1 if a component is not ready, or the gateway says that it is not.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=default watch=no
# shellcheck source=scripts/cluster.sh
. "$home/scripts/cluster.sh"

usage() { sed -n '2,/^set -/p' "$0" | grep '^#' | cut -c3-; }
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --watch) watch=yes; shift ;;
    -*) die "There is no option $1; see --help." ;;
    *) set_namespace "$1"; shift ;;
    esac
done

components() {
    local name kind ready wanted rest state kinds well=0
    echo "COMPONENTS"
    kinds=$(in_namespace get deployments,statefulsets -l "$ours,$component in (gateway, mlflow, postgres, s3)" -o name) || return 1
    if [ -z "$kinds" ]; then
        echo "  none; bring them up with ./deploy_all_k3s.sh $namespace"
        return 1
    fi
    while read -r kind; do
        name=${kind#*/}
        read -r ready wanted rest <<<"$(readiness "$kind")"
        state=ready
        if [ "${ready:-0}" != "${wanted:-?}" ]; then state="NOT READY" well=1; fi
        printf '  %-22s %-10s %s of %s\n' "$name" "$state" "${ready:-0}" "${wanted:-?}"
        if [ "$state" != ready ]; then
            trouble "app.kubernetes.io/name=$(name_label "$kind"),$ours" | sed 's/^/      /'
        fi
    done <<<"$kinds"
    return $well
}

name_label() { in_namespace get "$1" -o go-template='{{index .metadata.labels "app.kubernetes.io/name"}}'; }

answers() { # what the gateway itself says of store, MLflow and cluster
    local said well=0
    said=$(kubectl get --raw "/api/v1/namespaces/$namespace/services/fastapi-mlops-api-service:80/proxy/readyz" 2>&1) || well=1
    echo "GATEWAY SAYS"
    echo "  $said"
    return $well
}

jobs() {
    echo "JOBS (the newest 10)"
    in_namespace get jobs -l "$made_by_gateway" --sort-by=.metadata.creationTimestamp -o go-template='
{{- range .items}}{{printf "  %-40s " (index .metadata.annotations "modelyard/task-id")}}
{{- if .status.succeeded}}succeeded{{else if .status.failed}}failed{{else if .status.active}}active{{else}}waiting{{end}}{{"  "}}{{.metadata.creationTimestamp}}{{"\n"}}{{end}}' | tail -10
    trouble "$made_by_gateway,$component=trainer" | tail -18 | sed 's/^/    /'
}

deployments() {
    echo "DEPLOYMENTS"
    in_namespace get deployments -l "$made_by_gateway" -o go-template='
{{- range .items}}{{printf "  %-40s " (index .metadata.annotations "modelyard/task-id")}}{{or .status.readyReplicas 0}} of {{.spec.replicas}} ready{{"  "}}{{.metadata.creationTimestamp}}{{"\n"}}{{end}}'
    trouble "$made_by_gateway,$component=server" | tail -5 | sed 's/^/    /'
}

warnings() {
    echo "WARNINGS (the last 8)"
    in_namespace get events --field-selector type=Warning --sort-by=.lastTimestamp -o go-template='
{{- range .items}}{{printf "  %v %v/%v: %v" (or .lastTimestamp .eventTime "") .involvedObject.kind .involvedObject.name .message}}{{"\n"}}{{end}}' |
        printable | grep '^  ' | cut -c1-200 | tail -8 || true
}

glance() {
    local well=0
    namespace_exists || die "There is no namespace $namespace."
    echo "Namespace $namespace, $(date '+%H:%M:%S')"
    components || well=1
    answers || well=1
    jobs; deployments; warnings
    return $well
}

need_cluster
if [ "$watch" = no ]; then glance; exit; fi
while true; do
    text=$(glance) || true
    clear 2>/dev/null || true
    printf '%s\n' "$text"
    sleep 5
done
