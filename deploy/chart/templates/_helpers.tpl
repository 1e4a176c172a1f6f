{{/* What names begin with. */}}
{{- define "reachproof.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reachproof.coordinator" -}}{{ include "reachproof.fullname" . }}-coordinator{{- end -}}
{{- define "reachproof.agent" -}}{{ include "reachproof.fullname" . }}-agent{{- end -}}
{{- define "reachproof.ca" -}}{{ include "reachproof.fullname" . }}-ca{{- end -}}
{{- define "reachproof.report" -}}{{ include "reachproof.fullname" . }}-report{{- end -}}
{{- define "reachproof.secret" -}}
{{- default (printf "%s-credentials" (include "reachproof.fullname" .)) .Values.coordinator.existingSecret -}}
{{- end -}}

{{/* Where agents dial, and where the page is. */}}
{{- define "reachproof.host" -}}{{ include "reachproof.coordinator" . }}.{{ .Release.Namespace }}.svc{{- end -}}

{{/* Labels of what belongs to the coordinator. */}}
{{- define "reachproof.coordinatorLabels" -}}
app.kubernetes.io/name: reachproof-coordinator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: reachproof
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Labels by which the coordinator's pod is found. */}}
{{- define "reachproof.coordinatorSelector" -}}
app.kubernetes.io/name: reachproof-coordinator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of agents' pods: the coordinator lets nobody in without `instance`. */}}
{{- define "reachproof.agentPodLabels" -}}
app.kubernetes.io/name: reachproof-agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: reachproof
{{- end -}}

{{/* Labels of what belongs to the agents. */}}
{{- define "reachproof.agentLabels" -}}
{{ include "reachproof.agentPodLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "reachproof.coordinatorImage" -}}
{{- include "reachproof.image" (list . "reachproof" .Values.image.coordinatorDigest) -}}
{{- end -}}
{{- define "reachproof.agentImage" -}}
{{- include "reachproof.image" (list . "reachproof-agent" .Values.image.agentDigest) -}}
{{- end -}}
{{- define "reachproof.image" -}}
{{- $top := index . 0 -}}
{{- $digest := index . 2 -}}
{{- printf "%s/%s" $top.Values.image.registry (index . 1) -}}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ default $top.Chart.AppVersion $top.Values.image.tag }}{{ end -}}
{{- end -}}

{{/* What the Pod Security Standard *restricted* asks of a pod and of its container. */}}
{{- define "reachproof.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "reachproof.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Namespaces of agents, one a line: where they have an account, and what they are told. */}}
{{- define "reachproof.namespaces" -}}
{{- $all := list .Release.Namespace -}}
{{- if .Values.agent.hostNetwork.enabled -}}
{{- $all = append $all .Values.agent.hostNetwork.namespace -}}
{{- end -}}
{{- range .Values.agent.fargate -}}
{{- $all = append $all .namespace -}}
{{- end -}}
{{- join "\n" (uniq $all) -}}
{{- end -}}

{{/* Settings of `reachproof serve`. */}}
{{- define "reachproof.settings" -}}
{{- $any := eq .Values.cluster.ipFamily "ipv6" | ternary "[::]" "0.0.0.0" -}}
{{- $namespaces := splitList "\n" (include "reachproof.namespaces" .) -}}
{{- $accounts := list -}}
{{- $published := list -}}
{{- range $namespaces -}}
{{- $accounts = append $accounts (printf "%s/%s" . (include "reachproof.agent" $)) -}}
{{- $published = append $published (printf "%s/%s" . (include "reachproof.ca" $)) -}}
{{- end -}}
{{- $world := dict "cluster" .Values.cluster.name "settle" .Values.coordinator.settle -}}
{{- with .Values.cluster.region }}{{ $_ := set $world "region" . }}{{ end -}}
{{- $agents := dict
  "listen" (printf "%s:7443" $any)
  "credentials" "/run/reachproof/credentials"
  "secret" (printf "%s/%s" .Release.Namespace (include "reachproof.secret" .))
  "publish" $published
  "installation" (printf "%s/%s" .Release.Namespace .Release.Name)
  "accounts" $accounts
  "connections-per-address" .Values.coordinator.connectionsPerAddress
  "wait" .Values.coordinator.wait -}}
{{- $kinds := and .Values.agent.daemonSet.enabled (not .Values.cluster.fargateOnly) | ternary (list "pod") list -}}
{{- if .Values.agent.hostNetwork.enabled }}{{ $kinds = prepend $kinds "node" }}{{ end -}}
{{- if .Values.agent.fargate }}{{ $kinds = append $kinds "fargate" }}{{ end -}}
{{- with .Values.coordinator.expect | default (join "," $kinds) }}{{ $_ := set $agents "expect" . }}{{ end -}}
{{- $service := include "reachproof.coordinator" . -}}
{{- $web := dict
  "listen" (printf "%s:7080" $any)
  "names" (concat (list (include "reachproof.host" .) (printf "%s.cluster.local" (include "reachproof.host" .)) $service "localhost") .Values.coordinator.webNames)
  "report" (printf "%s/%s" .Release.Namespace (include "reachproof.report" .))
  "read-token-file" "/run/reachproof/credentials/read-token"
  "start-token-file" "/run/reachproof/credentials/start-token" -}}
{{- $store := dict "keep-runs" .Values.coordinator.keepRuns "keep-days" .Values.coordinator.keepDays -}}
{{- if not .Values.coordinator.database.existingSecret }}{{ $_ := set $store "path" "/var/lib/reachproof/reachproof.db" }}{{ end -}}
{{- $settings := dict "apiVersion" "reachproof/v1" "kind" "Service" "world" $world "agents" $agents "web" $web "store" $store
  "claims" .Values.coordinator.claims "schedules" .Values.schedules -}}
{{- if .Values.expectations }}{{ $_ := set $settings "expectations" "expectations.yaml" }}{{ end -}}
{{- with .Values.alert.url }}{{ $_ := set $settings "alert" (dict "url" . "form" $.Values.alert.form) }}{{ end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* Whether history is in a file on a volume: "true", or nothing. */}}
{{- define "reachproof.hasVolume" -}}
{{- if and .Values.coordinator.persistence.enabled (not .Values.coordinator.database.existingSecret) -}}true{{- end -}}
{{- end -}}

{{/* What cannot work is refused with what to do about it. */}}
{{- define "reachproof.check" -}}
{{- if or (not .Values.cluster.name) (not .Values.vpcCidrs) -}}
{{- fail "cluster.name and vpcCidrs are required: --set cluster.name=NAME --set 'vpcCidrs={10.0.0.0/16}'" -}}
{{- end -}}
{{- if and (include "reachproof.hasVolume" .) (regexMatch "(?i)efs" .Values.coordinator.persistence.storageClass) -}}
{{- fail (printf "coordinator.persistence.storageClass: `%s` is EFS, whose locks SQLite cannot rely on: name a class of EBS, a database in coordinator.database.existingSecret, or set coordinator.persistence.enabled=false" .Values.coordinator.persistence.storageClass) -}}
{{- end -}}
{{- if .Values.cluster.fargateOnly -}}
{{- if include "reachproof.hasVolume" . -}}
{{- fail "cluster.fargateOnly: Fargate mounts no EBS volume, and SQLite cannot be on EFS: name a database in coordinator.database.existingSecret, or set coordinator.persistence.enabled=false (history then ends with the pod)" -}}
{{- end -}}
{{- if not .Values.agent.fargate -}}
{{- fail "cluster.fargateOnly: Fargate runs no DaemonSet: list a pod for each profile and subnet in agent.fargate" -}}
{{- end -}}
{{- if .Values.agent.hostNetwork.enabled -}}
{{- fail "cluster.fargateOnly: Fargate has no host network: set agent.hostNetwork.enabled=false" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.agent.hostNetwork.enabled (eq .Values.agent.hostNetwork.namespace .Release.Namespace) -}}
{{- fail "agent.hostNetwork.namespace: agents in the host network need a namespace of their own, which others do not share" -}}
{{- end -}}
{{- end -}}

{{/* Labels of what asks the coordinator. */}}
{{- define "reachproof.clientLabels" -}}
app.kubernetes.io/name: reachproof-client
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: reachproof
{{- end -}}

{{/* Where pods that ask may run, and how their image is pulled. */}}
{{- define "reachproof.clientPod" -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: kubernetes.io/os, operator: NotIn, values: [windows]}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The container that asks: of a list the top, and the words of the command. */}}
{{- define "reachproof.client" -}}
{{- $top := index . 0 -}}
{{- $command := rest . -}}
{{- $token := eq (first $command) "verify" | ternary "start-token" "read-token" -}}
image: {{ include "reachproof.coordinatorImage" $top }}
imagePullPolicy: {{ $top.Values.image.pullPolicy }}
command: [/reachproof]
args:
  {{- range $command }}
  - {{ . | quote }}
  {{- end }}
  - --coordinator
  - https://{{ include "reachproof.host" $top }}:7080
  - --coordinator-ca
  - /etc/reachproof/credentials/ca.crt
  - --coordinator-token-file
  - /etc/reachproof/credentials/{{ $token }}
securityContext:
  {{- include "reachproof.containerSecurity" $top | nindent 2 }}
resources:
  requests: {cpu: 50m, memory: 64Mi}
  limits: {memory: 512Mi}
volumeMounts:
  - {name: credentials, mountPath: /etc/reachproof/credentials, readOnly: true}
{{- end -}}

{{/* What it needs for that: of a list the top, and the file of the token. */}}
{{- define "reachproof.clientVolume" -}}
- name: credentials
  secret:
    secretName: {{ include "reachproof.secret" (index . 0) }}
    # 0440
    defaultMode: 288
    items:
      - {key: ca.crt, path: ca.crt}
      - {key: {{ index . 1 }}, path: {{ index . 1 }}}
{{- end -}}
