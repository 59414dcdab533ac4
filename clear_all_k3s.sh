#!/usr/bin/env bash
# Take the whole platform down: all that deploy_all_k3s.sh made, and the jobs and deployments that the gateway made.
# It lists what will go, asks, deletes, and then looks whether anything is left.
#
#   ./clear_all_k3s.sh [NAMESPACE]     the namespace default, if none is named
#
#   --yes     do not ask
#   --data    the data too: the volumes of the stores, and the Secret with their passwords
#
# Without --data a later deploy finds everything again. A Secret that you made yourself stays in any case, and a
# namespace goes only if a deploy made it, its data goes, and nobody else's things are in it.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=default yes=no data=no patience=180s
# shellcheck source=scripts/cluster.sh
. "$home/scripts/cluster.sh"

usage() { sed -n '2,/^set -/p' "$0" | grep '^#' | cut -c3-; }
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --yes) yes=yes; shift ;;
    --data) data=yes; shift ;;
    -*) die "There is no option $1; see --help." ;;
    *) namespace=$1; shift ;;
    esac
done

workloads=deployments.apps,statefulsets.apps,jobs.batch,replicasets.apps,pods
others=services,ingresses.networking.k8s.io,networkpolicies.networking.k8s.io,poddisruptionbudgets.policy,configmaps,secrets
others+=,serviceaccounts,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io
keeper=secret/modelyard-stores # opens the data, so it stays and goes with them

names() { in_namespace get "$1" -l "$ours" --ignore-not-found -o name; }
volumes() {
    kubectl get persistentvolumes -l "$ours" --ignore-not-found -o go-template='
{{- range .items}}{{with .spec.claimRef}}{{.namespace}}{{end}} persistentvolume/{{.metadata.name}}{{"\n"}}{{end}}' |
        sed -n "s/^$namespace //p"
}
cluster_scoped() { kubectl get clusterrole,clusterrolebinding -l "$ours" --ignore-not-found -o name | grep "/modelyard-nodes-$namespace\$" || true; }
keeper() { names secrets | grep -x "$keeper" || true; }
data_names() { names persistentvolumeclaims; keeper; volumes; }
left() { # all that is to go and is there
    names "$workloads"
    names "$others" | grep -vx "$keeper" || true
    cluster_scoped
    if [ "$data" = yes ]; then data_names; fi
}

indented() { printf '  %s' "${1//$'\n'/$'\n'  }"; }

ask() {
    [ "$yes" = yes ] && return
    [ -t 0 ] || die "Nobody is here to be asked: repeat with --yes."
    local answer
    read -r -p "Delete all of this from the namespace $namespace? [y/N] " answer
    [[ $answer =~ ^[yY](es)?$ ]] || die "Nothing was deleted."
}

delete() { in_namespace delete --ignore-not-found --wait --timeout="$patience" "$@" 2>&1 >/dev/null | { grep -v '^Warning: deleting cluster-scoped' >&2 || true; }; }
delete_names() { local found; mapfile -t found; [ ${#found[@]} -eq 0 ] || delete "$@" "${found[@]}"; }

take_down() {
    # the gateway first, so that nobody makes new jobs while the old ones go
    delete deployment fastapi-mlops-api --cascade=foreground
    in_namespace wait pods -l "$ours,$component=gateway" --for=delete --timeout="$patience" >/dev/null 2>&1 || true
    names deployments.apps,statefulsets.apps,jobs.batch | delete_names --cascade=foreground
    names replicasets.apps,pods | delete_names # of earlier runs: nothing owns them
    names "$others" | { grep -vx "$keeper" || true; } | delete_names
    cluster_scoped | delete_names
    if [ "$data" = yes ]; then take_data; fi
}

take_data() {
    local volumes; volumes=$(volumes) # a claim that is gone tells no more which volume was its own
    names persistentvolumeclaims | delete_names
    printf '%s' "$volumes" | delete_names
    keeper | delete_names
}

foreign() { # what somebody else keeps in the namespace
    in_namespace get "$workloads,$others,persistentvolumeclaims" --ignore-not-found -o name |
        grep -vE '^(configmap/kube-root-ca\.crt|serviceaccount/default|secret/default-token-.*)$' || true
}

take_namespace() {
    if [ "$data" = no ] || ! kubectl get namespaces -l "$ours" -o name | grep -qx "namespace/$namespace"; then return; fi
    local others_things; others_things=$(foreign)
    if [ -n "$others_things" ]; then
        printf 'The namespace %s stays, since these are in it:\n%s\n' "$namespace" "$(indented "$others_things")"
        return
    fi
    delete namespace "$namespace"
    echo "The namespace $namespace is gone too."
}

prove() {
    local rest; rest=$(left)
    [ -z "$rest" ] || die "These are left; look at them with kubectl describe, and clear again:
$rest"
    echo "Nothing of the platform is left in the namespace $namespace."
    if [ "$data" = no ]; then
        rest=$(data_names)
        [ -z "$rest" ] || printf 'The data stay (--data takes them too):\n%s\n' "$(indented "$rest")"
    fi
}

need_cluster
namespace_exists || { echo "There is no namespace $namespace, so there is nothing to clear."; exit; }
going=$(left)
if [ -n "$going" ]; then
    printf 'These will be deleted from the namespace %s:\n%s\n' "$namespace" "$(indented "$going")"
    ask
    take_down
fi
prove
take_namespace
