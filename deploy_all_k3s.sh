#!/usr/bin/env bash
# Bring up the whole platform in a namespace, and wait until it is ready. Harmless when repeated.
#
#   ./deploy_all_k3s.sh [NAMESPACE]          the namespace default, if none is named
#
#   --overlay O      k3s (the default), kind, gpu, external-stores, testcluster, or a folder   (MODELYARD_OVERLAY)
#   --with C         also a component of kubernetes/components: ingress-traefik, nodes, network-policy; repeatable
#   --registry R     where the images are: R/modelyard-gateway, ...; none: images loaded into the nodes  (MODELYARD_REGISTRY)
#   --tag T          of the platform's images, instead of latest                               (MODELYARD_TAG)
#   --profiles FILE  instead of model_profiles.yaml                                            (MODELYARD_PROFILES)
#   --timeout S      seconds to wait until all is ready (600)
#   --render         print the manifests, change nothing
#
# Passwords are made on first use, kept in the Secrets modelyard-stores and modelyard-task-secrets, and never printed.
# See docs/kubernetes.md.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

namespace=default overlay=${MODELYARD_OVERLAY:-k3s} components=() timeout=600 render=no
registry=${MODELYARD_REGISTRY:-} tag=${MODELYARD_TAG:-latest} profiles=${MODELYARD_PROFILES:-$home/model_profiles.yaml}
# shellcheck source=scripts/cluster.sh
. "$home/scripts/cluster.sh"

folders() { local all=("$home/kubernetes/$1"/*/); all=("${all[@]%/}"); echo "${all[@]##*/}"; }
usage() { sed -n '2,/^set -/p' "$0" | grep '^#' | cut -c3-; }
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage; exit ;;
    --render) render=yes; shift ;;
    --with) [ $# -ge 2 ] || die "--with needs a value."; components+=("$2"); shift 2 ;;
    --overlay | --registry | --tag | --profiles | --timeout)
        [ $# -ge 2 ] || die "$1 needs a value."
        declare "${1#--}=$2"; shift 2 ;;
    -*) die "There is no option $1; see --help." ;;
    *) set_namespace "$1"; shift ;;
    esac
done
[ -d "$overlay" ] || overlay=$home/kubernetes/overlays/$overlay
[ -f "$overlay/kustomization.yaml" ] || die "There is no overlay $(basename "$overlay"); there are: $(folders overlays)"
[ -f "$profiles" ] || die "There is no file of profiles $profiles."
[[ $timeout =~ ^[1-9][0-9]{0,8}$ ]] || die "--timeout takes whole seconds, not '$timeout'."
for one in "${components[@]}"; do
    [ -d "$home/kubernetes/components/$one" ] || die "There is no component $one; there are: $(folders components)"
done

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
beside() { realpath --relative-to="$work" "$1"; }

# What the overlay does not know: namespace, images, profiles. Cluster-scoped objects bear the namespace in their names.
write_kustomization() {
    sed -E "s#\b(modelyard-[a-z-]+):latest#\1:$tag#g" "$profiles" >"$work/model_profiles.yaml"
    cat >"$work/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $namespace
resources: ["$(beside "$overlay")"]
components: [$(for one in "${components[@]}"; do printf '"%s", ' "$(beside "$home/kubernetes/components/$one")"; done)]
images:
  - {name: modelyard-gateway, newName: "${registry:+$registry/}modelyard-gateway", newTag: "$tag"}
  - {name: modelyard-mlflow, newName: "${registry:+$registry/}modelyard-mlflow", newTag: "$tag"}
generatorOptions:
  labels: {app.kubernetes.io/part-of: modelyard}
configMapGenerator:
  - name: modelyard-profiles
    files: [model_profiles.yaml]
  - name: modelyard-settings
    behavior: merge
    literals:
      - MLOPS_PROFILES=/etc/modelyard/model_profiles.yaml
      - MLOPS_KUBERNETES__REGISTRY=$registry
transformers: [names.yaml]
YAML
    cat >"$work/names.yaml" <<YAML
apiVersion: builtin
kind: SuffixTransformer
metadata: {name: of-namespace}
suffix: -$namespace
fieldSpecs:
  - {kind: ClusterRole, path: metadata/name}
  - {kind: ClusterRoleBinding, path: metadata/name}
  - {kind: PersistentVolume, path: metadata/name}
  - {kind: PersistentVolume, path: spec/hostPath/path}
  - {kind: StatefulSet, path: spec/volumeClaimTemplates/spec/volumeName}
YAML
}

manifests=$work/manifests.yaml
render() {
    write_kustomization
    kubectl kustomize "$work" >"$manifests" || die "The manifests cannot be rendered; kubectl 1.21 or newer is needed."
}

has() { grep -qE "^  name: $1\$" "$manifests"; }

# --- secrets -----------------------------------------------------------------

secret_exists() {
    local said
    said=$(in_namespace get secret "$1" -o name 2>&1) && return
    [[ $said == *NotFound* ]] || die "Whether the Secret $1 is there, the cluster does not say: $said"
    return 1
}
random() { head -c 48 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9' | head -c 32; }

make_secrets() {
    if ! secret_exists modelyard-stores; then
        if ! has modelyard-postgres || ! has modelyard-s3; then
            die "A store runs elsewhere, so make the Secret modelyard-stores first: see docs/kubernetes.md, \"Stores of your own\"."
        fi
        make_store_secret
        echo "  secrets     made: modelyard-stores"
    fi
    if ! secret_exists modelyard-task-secrets; then
        make_task_secret
        echo "  secrets     made: modelyard-task-secrets"
    fi
}

# Of two deploys at once the first one's is kept.
create_once() {
    local said
    said=$(in_namespace create -f - 2>&1 >/dev/null) || [[ $said == *AlreadyExists* ]] || die "$said"
}

# Through standard input: what stands in arguments can be read by every user of this machine.
make_store_secret() {
    local password; password=$(random)
    create_once <<YAML
apiVersion: v1
kind: Secret
metadata: {name: modelyard-stores, labels: {app.kubernetes.io/part-of: modelyard}}
stringData:
  POSTGRES_PASSWORD: "$password"
  MLOPS_STORE__URL: "postgresql+asyncpg://modelyard:$password@modelyard-postgres:5432/platform"
  MLFLOW_BACKEND_STORE_URI: "postgresql+psycopg2://modelyard:$password@modelyard-postgres:5432/mlflow"
  AWS_ACCESS_KEY_ID: "modelyard"
  AWS_SECRET_ACCESS_KEY: "$(random)"
  AWS_ENDPOINT_URL_S3: "http://modelyard-s3:9000"
  AWS_DEFAULT_REGION: "us-east-1"
YAML
}

# What trainers get: the way to S3, and nothing of the database.
make_task_secret() {
    local values
    # shellcheck disable=SC2016  # variables of the template
    values=$(in_namespace get secret modelyard-stores -o go-template='
{{- range $key, $value := .data}}{{if eq (slice $key 0 4) "AWS_"}}  {{$key}}: {{$value}}{{"\n"}}{{end}}{{end}}')
    create_once <<YAML
apiVersion: v1
kind: Secret
metadata: {name: modelyard-task-secrets, labels: {app.kubernetes.io/part-of: modelyard}}
data:
$values
YAML
}

# --- waiting -----------------------------------------------------------------

began=$SECONDS
declare -A shown=()
show() { # COMPONENT TEXT, once
    if [ -z "${shown["$1 $2"]:-}" ]; then
        shown["$1 $2"]=yes
        printf '  %-11s %s\n' "$1" "${2//$'\n'/$'\n'              }"
    fi
}

state_of() { # COMPONENT KIND/NAME: `ready`, or how far it is
    local ready wanted updated all
    if [ "$1" = setup ]; then
        # its pod tells the end sooner than the Job, whose controller may have thousands of others to look at
        case $(in_namespace get pods -l "$component=setup,$ours" -o go-template='{{range .items}}{{.status.phase}} {{end}}')$(
            in_namespace get "$2" --ignore-not-found -o go-template='{{range .status.conditions}}{{.type}}{{end}}') in
        *Succeeded*) echo "ready" ;;
        *Failed | *FailureTarget*) echo "failed" ;;
        "") echo "waiting for its pod, which the cluster has not made yet" ;;
        *) echo "running" ;;
        esac
        return
    fi
    read -r ready wanted updated all <<<"$(readiness "$2")"
    if [ -n "${wanted:-}" ] && [ "$ready" = "$wanted" ] && [ "$updated" = "$wanted" ] && [ "$all" = "$wanted" ]; then
        echo "ready ($ready of $wanted)"
    elif [ "${ready:-0}" -ge "${wanted:-1}" ]; then
        echo "replacing what ran before"
    else
        echo "waiting (${ready:-0} of ${wanted:-?} ready)"
    fi
}

wait_for() { # COMPONENT KIND/NAME
    local state words since=$SECONDS
    while true; do
        state=$(state_of "$1" "$2")
        case $state in
        ready*) show "$1" "$state after $((SECONDS - began)) s"; return ;;
        failed) show "$1" "failed: $(trouble "$component=$1,$ours")
$(in_namespace logs "$2" --tail=10 2>/dev/null | sed 's/^/      /')"; exit 1 ;;
        esac
        words=$(first_trouble "$component=$1,$ours" $((SECONDS - since >= 20)))
        show "$1" "$state${words:+: $words}"
        if [ $((SECONDS - began)) -ge "$timeout" ]; then
            die "Not ready within $timeout s: $1. Look closer with ./monitor_all.sh $namespace; what is there stays, so deploy again when it is mended."
        fi
        sleep 1
    done
}

ready_words() { kubectl get --raw "/api/v1/namespaces/$namespace/services/fastapi-mlops-api-service:80/proxy/readyz" 2>&1; }

# Of two deploys at once one may make what the other is just about to make.
apply() { # KUBECTL-OPTIONS
    local said tries
    for tries in 1 2 3 4 5; do
        said=$(kubectl apply -f "$manifests" "$@" 2>&1 >/dev/null) && return
        [[ $said == *AlreadyExists* || $said == *"has been modified"* ]] || break
        sleep 1
    done
    die "The manifests could not be applied ($tries tries): $said
When that is mended, deploy again; or take away what is there: ./clear_all_k3s.sh $namespace"
}

forget_old_settings() { # of earlier deploys: their names bear a digest of their content
    local name
    for name in $(in_namespace get configmaps -l "$ours" -o name); do
        has "${name#configmap/}" || in_namespace delete "$name" >/dev/null
    done
}

# --- the walk ----------------------------------------------------------------

render
if [ "$render" = yes ]; then cat "$manifests"; exit; fi
need_cluster
echo "Deploying to the namespace $namespace ($(basename "$overlay"), kubectl's context $(kubectl config current-context))"
if said=$(kubectl get namespace "$namespace" 2>&1); [[ $said == *NotFound* ]]; then # who may not look takes it for there
    # with its label at once: by it the script that clears knows whose it is
    create_once <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $namespace, labels: {${ours/=/: }}}
YAML
    echo "  namespace   made: $namespace"
fi
make_secrets
in_namespace delete job modelyard-setup --ignore-not-found --cascade=foreground --timeout=120s >/dev/null # a Job runs once; this one is to run each time
apply -l "$component notin (gateway, mlflow)"
for store in postgres s3; do
    if has "modelyard-$store"; then wait_for "$store" "statefulset/modelyard-$store"; fi
done
wait_for setup job/modelyard-setup
apply
wait_for mlflow deployment/modelyard-mlflow
wait_for gateway deployment/fastapi-mlops-api
forget_old_settings
words=$(ready_words) || die "The gateway is there, and does not say it is ready: $words"

cat <<TEXT
Ready after $((SECONDS - began)) s. There are no accounts yet: whoever reaches the gateway may use it.

  kubectl port-forward svc/fastapi-mlops-api-service 8000:80 -n $namespace     # then http://localhost:8000/docs
  curl -s localhost:8000/api/v1/profiles                                # what can be trained
  ./monitor_all.sh $namespace
TEXT
