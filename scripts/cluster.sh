# What deploy_all_k3s.sh, monitor_all.sh and clear_all_k3s.sh have in common: kubectl in one namespace, and a pod's
# trouble in words. It is sourced, with `namespace` set.
# shellcheck shell=bash disable=SC2016,SC2034,SC2154  # templates of kubectl; what others use; what others set

ours=app.kubernetes.io/part-of=modelyard                         # the platform, and what the gateway made
made_by_gateway=$ours,app.kubernetes.io/managed-by=modelyard     # only the latter
component=app.kubernetes.io/component

shopt -s inherit_errexit # what fails in a $(...) fails

die() { printf '%s\n' "$*" >&2; exit 1; }
in_namespace() { kubectl --namespace "$namespace" "$@"; }

set_namespace() { # from the command line, where it may stand once
    [ -z "${named:-}" ] || die "One namespace at a time: $named, or $1?"
    [[ $1 =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
        die "'$1' is no name of a namespace: lower-case letters, digits and hyphens, at most 63, no hyphen at an end."
    named=$1 namespace=$1
}

need_cluster() {
    command -v kubectl >/dev/null || die "kubectl is not here: https://kubernetes.io/docs/tasks/tools/"
    local said
    said=$(kubectl version --request-timeout=10s 2>&1 >/dev/null | grep -v '^WARNING') || true
    [ -z "$said" ] || die "The cluster does not answer (kubectl's context: $(kubectl config current-context 2>/dev/null || echo none)): $said"
}

# Who may not look takes it for there: what is in it may be seen all the same.
namespace_exists() {
    local said
    said=$(kubectl get namespace "$namespace" 2>&1 >/dev/null) || true
    case $said in
    *NotFound*) return 1 ;;
    "" | *Forbidden* | Warning:*) return 0 ;;
    *) die "Whether there is a namespace $namespace, the cluster does not say: $said" ;;
    esac
}

# One line for each pod that is not well: POD|REASON|MESSAGE.
pods_in_trouble() { # SELECTOR
    in_namespace get pods -l "$1" --ignore-not-found -o go-template='
{{- range .items}}{{$pod := .metadata.name}}{{if not .metadata.deletionTimestamp}}
{{- range .status.conditions}}{{if and (eq .type "PodScheduled") (eq .status "False")}}{{$pod}}|Unschedulable|{{or .message ""}}{{"\n"}}{{end}}{{end}}
{{- range .status.initContainerStatuses}}{{with .state.waiting}}{{$pod}}|{{or .reason ""}}|{{or .message ""}}{{"\n"}}{{end}}{{end}}
{{- range .status.containerStatuses}}{{if not .ready}}
{{- with .state.waiting}}{{$pod}}|{{or .reason ""}}|{{or .message ""}}{{"\n"}}{{end}}
{{- with .state.running}}{{$pod}}|NotReady|{{"\n"}}{{end}}
{{- with .state.terminated}}{{if ne .exitCode 0}}{{$pod}}|{{or .reason ""}}|exit code {{.exitCode}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}
{{- end}}{{end}}' 2>/dev/null
}

last_warning() { # POD [WORDS]
    in_namespace get events --field-selector "involvedObject.name=$1,type=Warning" --sort-by=.lastTimestamp \
        -o go-template='{{range .items}}{{.message}}{{"\n"}}{{end}}' 2>/dev/null | grep -F -- "${2:-}" | sed '/^$/d' | tail -1
}

printable() { tr -d '\000-\010\013-\037\177'; } # without what takes hold of a terminal

last_words() { # POD: of its program's log
    local text
    text=$({ in_namespace logs "$1" --previous --tail=5 2>/dev/null || in_namespace logs "$1" --tail=5 2>/dev/null; } | printable) || true
    grep -v '^unable to retrieve container logs' <<<"$text" | cut -c1-300 | sed 's/^/    /'
}

in_words() { # POD REASON MESSAGE
    case $2 in
    Unschedulable) echo "no node has room for it: $3" ;;
    ErrImagePull | ImagePullBackOff | InvalidImageName | ErrImageNeverPull)
        echo "its image cannot be pulled: $(last_warning "$1" "Failed to pull" || echo "${3:-$2}")" ;;
    OOMKilled) echo "its program took more memory than its limit" ;;
    CrashLoopBackOff) echo "its program ends again and again. It said last:"; last_words "$1" ;;
    Error) echo "its program failed ($3). It said last:"; last_words "$1" ;;
    CreateContainerConfigError) echo "it lacks what it is configured with: $3" ;;
    PodInitializing | ContainerCreating) echo "it is being made. $(last_warning "$1" || true)" ;;
    NotReady) echo "it runs, and is not ready yet. $(last_warning "$1" "probe failed" || true)" ;;
    *) echo "$2 $3" ;;
    esac
}

trouble() { # SELECTOR [ALL]: the troubles of its pods, in words; with ALL=0 only those that will not pass by themselves
    local pod reason message
    pods_in_trouble "$1" | while IFS='|' read -r pod reason message; do
        if [ "${2:-1}" = 0 ] && [[ $reason =~ ^(Unschedulable|PodInitializing|ContainerCreating|NotReady)$ ]]; then continue; fi
        printf '%s: %s\n' "$pod" "$(in_words "$pod" "$reason" "$message" | printable)"
    done
}

first_trouble() { # as `trouble`, of one pod
    trouble "$@" | awk 'NR > 1 && /^[^ ]/ { exit } { print }'
}

# READY WANTED UPDATED, of a Deployment or StatefulSet whose controller has seen its newest version; nothing otherwise.
readiness() { # KIND/NAME
    in_namespace get "$1" --ignore-not-found -o go-template='
{{- if eq (or .status.observedGeneration 0) .metadata.generation}}{{or .status.readyReplicas 0}} {{.spec.replicas}} {{or .status.updatedReplicas 0}} {{or .status.replicas 0}}{{end}}' 2>/dev/null
}
