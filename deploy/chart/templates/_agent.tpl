{{/*
The DaemonSet or Deployment of agents in one kind of place. Of a list: the top, and a dict with
`word` (ends its name), `kind` (the agent's word for the place), `namespace`, `labels`.
*/}}
{{- define "reachproof.agents" -}}
{{- $top := index . 0 -}}
{{- $place := index . 1 -}}
{{- $onNode := has $place.kind (list "pod" "node") -}}
{{- $isSet := and $onNode (not $place.labels) -}}
apiVersion: apps/v1
kind: {{ $isSet | ternary "DaemonSet" "Deployment" }}
metadata:
  name: {{ include "reachproof.agent" $top }}-{{ $place.word }}
  namespace: {{ $place.namespace }}
  labels:
    {{- include "reachproof.agentLabels" $top | nindent 4 }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ $top.Release.Name }}
      reachproof/agents: {{ $place.word | quote }}
  {{- if $isSet }}
  {{- with $top.Values.agent.daemonSet.updateStrategy }}
  updateStrategy:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else }}
  replicas: 1
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "reachproof.agentPodLabels" $top | nindent 8 }}
        reachproof/agents: {{ $place.word | quote }}
        # A mesh would answer in the place of the agent.
        sidecar.istio.io/inject: "false"
        {{- with $place.labels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        linkerd.io/inject: disabled
        {{- with $top.Values.agent.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "reachproof.agent" $top }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 10
      {{- with $top.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with $top.Values.agent.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- if eq $place.kind "node" }}
      hostNetwork: true
      # In the host network only this resolves names of Services.
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      {{- if $onNode }}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              # A label that a node lacks is not in a list either.
              - matchExpressions:
                  - {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate, hybrid]}
                  - {key: kubernetes.io/os, operator: NotIn, values: [windows]}
      {{- if $isSet }}
      tolerations:
        - operator: Exists
      {{- end }}
      {{- end }}
      securityContext:
        {{- include "reachproof.podSecurity" $top | nindent 8 }}
      containers:
        - name: agent
          image: {{ include "reachproof.agentImage" $top }}
          imagePullPolicy: {{ $top.Values.image.pullPolicy }}
          command: [/reachproof-agent]
          args: [run]
          env:
            - {name: REACHPROOF_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: REACHPROOF_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
            - {name: REACHPROOF_ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
            - {name: REACHPROOF_COORDINATOR, value: "https://{{ include "reachproof.host" $top }}:7443"}
            - {name: REACHPROOF_CA, value: /etc/reachproof/settings/ca.crt}
            - {name: REACHPROOF_POLICY, value: /etc/reachproof/settings/policy.yaml}
            - {name: REACHPROOF_TOKEN_FILE, value: /etc/reachproof/token/token}
            - {name: REACHPROOF_KIND, value: {{ $place.kind }}}
            {{- with $top.Values.cluster.endpoint }}
            - {name: REACHPROOF_CLUSTER_ENDPOINT, value: {{ . | quote }}}
            {{- end }}
          securityContext:
            {{- include "reachproof.containerSecurity" $top | nindent 12 }}
          resources:
            {{- toYaml $top.Values.agent.resources | nindent 12 }}
          livenessProbe:
            exec: {command: [/reachproof-agent, health]}
            initialDelaySeconds: 5
            periodSeconds: 30
            timeoutSeconds: 3
          # Ready is who has reached the coordinator: `kubectl get pods` shows who has not.
          readinessProbe:
            exec: {command: [/reachproof-agent, health, --attached]}
            periodSeconds: 10
            timeoutSeconds: 3
          volumeMounts:
            - {name: settings, mountPath: /etc/reachproof/settings, readOnly: true}
            - {name: token, mountPath: /etc/reachproof/token, readOnly: true}
      volumes:
        # Two objects, since the coordinator may write the one and not the other.
        - name: settings
          projected:
            sources:
              - configMap: {name: {{ include "reachproof.agent" $top }}}
              - configMap: {name: {{ include "reachproof.ca" $top }}}
        - name: token
          projected:
            # 0440
            defaultMode: 288
            sources:
              - serviceAccountToken:
                  path: token
                  audience: {{ printf "reachproof/%s/%s/%s" $top.Values.cluster.name $top.Release.Namespace $top.Release.Name | quote }}
                  expirationSeconds: 600
{{- end -}}
