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
    *) set_namespace "$1"; shift ;;
    esac
done

workloads=deployments.apps,statefulsets.apps,jobs.batch,replicasets.apps,pods
others=services,ingresses.networking.k8s.io,networkpolicies.networking.k8s.io,poddisruptionbudgets.policy,configmaps,secrets
others+=,serviceaccounts,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io
keeper=secret/modelyard-stores # opens the data, so it stays and goes with them

# Who cannot look, cannot say that nothing is left.
unseen() { die "What is in the namespace $namespace cannot be seen (see above), so it stays unknown what is left. Clear again when it can."; }
found() { in_namespace get "$@" --ignore-not-found -o name || unseen; }
names() { found "$1" -l "$ours"; }

# Cluster-scoped objects bear the namespace in their names. Who has rights in the namespace only may not see them.
unlooked=()
may_list() { kubectl auth can-i list "$1" --all-namespaces >/dev/null 2>&1; }
look_around() {
    local kind
    for kind in persistentvolumes clusterroles clusterrolebindings; do may_list "$kind" || unlooked+=("$kind"); done
}
unseen_are() { [[ " ${unlooked[*]} " == *" $1 "* ]]; }

volumes() { # bound to a claim of the namespace; or to none, and made for it
    if unseen_are persistentvolumes; then return; fi
    kubectl get persistentvolumes -l "$ours" --ignore-not-found -o go-template='
{{- range .items}}{{with .spec.claimRef}}{{.namespace}}{{end}} persistentvolume/{{.metadata.name}}{{"\n"}}{{end}}' |
        sed -nE "s#^$namespace ##p; s#^ (persistentvolume/modelyard-(postgres|s3)-$namespace)\$#\1#p"
}
cluster_scoped() {
    local kind
    for kind in clusterroles clusterrolebindings; do
        if unseen_are "$kind"; then continue; fi
        kubectl get "$kind" -l "$ours" --ignore-not-found -o name | sed -n "\#/modelyard-nodes-$namespace\$#p"
    done
}
keeper() { names secrets | sed -n "\#^$keeper\$#p"; }
data_names() { names persistentvolumeclaims; keeper; volumes; }
other_names() { names "$others" | sed "\#^$keeper\$#d"; }
left() { # all that is to go and is there
    names "$workloads"
    other_names
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

# What does not go is said, and the rest is gone on with: the proof at the end decides.
delete() { in_namespace delete --ignore-not-found --wait --timeout="$patience" "$@" 2>&1 >/dev/null | sed '/^[Ww]arning: deleting cluster-scoped/d' >&2 || true; }
delete_names() { local found; mapfile -t found; [ ${#found[@]} -eq 0 ] || delete "$@" "${found[@]}"; }

say() { printf '  %4s s  %s\n' "$SECONDS" "$1"; }

take_down() {
    say "the gateway, so that nobody makes new jobs while the old ones go"
    delete deployment fastapi-mlops-api --cascade=foreground
    in_namespace wait pods -l "$ours,$component=gateway" --for=delete --timeout="$patience" >/dev/null 2>&1 || true
    say "jobs, deployments and stores; each is given its time to end"
    names deployments.apps,statefulsets.apps,jobs.batch | delete_names --cascade=foreground
    names replicasets.apps,pods | delete_names # of earlier runs: nothing owns them
    say "services, settings and rights"
    other_names | delete_names
    cluster_scoped | delete_names
    if [ "$data" = yes ]; then take_data; fi
}

take_data() {
    say "the data"
    local volumes; volumes=$(volumes) # a claim that is gone tells no more which volume was its own
    names persistentvolumeclaims | delete_names
    printf '%s' "$volumes" | delete_names
    keeper | delete_names
}

# What somebody else keeps in the namespace: of every kind that can be listed, but what the cluster itself puts there.
foreign() {
    local kinds
    kinds=$(kubectl api-resources --namespaced --verbs=list -o name |
        grep -vE '^(events|endpoints|endpointslices|pods\.metrics|ingresses\.extensions)\b') || unseen
    found "${kinds//$'\n'/,}" |
        sed -E '\#^(configmap/kube-root-ca\.crt|serviceaccount/default|secret/default-token-.*)$#d'
}

made_by_a_deploy() { [ "$(kubectl get namespace "$namespace" --ignore-not-found -o 'go-template={{with .metadata.labels}}{{index . "app.kubernetes.io/part-of"}}{{end}}')" = modelyard ]; }

take_namespace() {
    if [ "$data" = no ] || ! made_by_a_deploy; then return; fi
    local others_things
    others_things=$(foreign) || die "So the namespace $namespace stays."
    if [ -n "$others_things" ]; then
        printf 'The namespace %s stays, since these are in it:\n%s\n' "$namespace" "$(indented "$others_things")"
        return
    fi
    delete namespace "$namespace"
    if namespace_exists; then die "The namespace $namespace is still there; clear again, or look at it with kubectl describe."; fi
    echo "The namespace $namespace is gone too."
}

prove() {
    local rest; rest=$(left)
    [ -z "$rest" ] || die "These are left; look at them with kubectl describe, and clear again:
$rest"
    echo "Nothing of the platform is left in the namespace $namespace."
    [ ${#unlooked[@]} -eq 0 ] || echo "You may not list ${unlooked[*]}: if an overlay made such, they are left."
    if [ "$data" = no ]; then
        rest=$(data_names)
        [ -z "$rest" ] || printf 'The data stay (--data takes them too):\n%s\n' "$(indented "$rest")"
    fi
}

need_cluster
namespace_exists || { echo "There is no namespace $namespace, so there is nothing to clear."; exit; }
look_around
going=$(left)
if [ -n "$going" ]; then
    printf 'These will be deleted from the namespace %s:\n%s\n' "$namespace" "$(indented "$going")"
    ask
    take_down
fi
prove
take_namespace
