{{- /* What names begin with: a Service's is a label of a host name, so without dots and beginning with a letter. */}}
{{- define "klipstream.release" -}}
{{- $name := .Release.Name | replace "." "-" }}
{{- ternary (printf "r%s" $name) $name (regexMatch "^[0-9]" $name) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- define "klipstream.operator" -}}{{ include "klipstream.release" . }}-operator{{- end }}
{{- define "klipstream.selector" -}}
app.kubernetes.io/name: klipstream-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- define "klipstream.labels" -}}
{{ include "klipstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
{{- /* How many operators share the queues. One where kept values know no shards. */}}
{{- define "klipstream.shards" -}}{{ max 1 (int .Values.operator.shards) }}{{- end }}
{{- /* Of (list root shard): the name of its Deployment, and the pods it has. One shard alone has no number. */}}
{{- define "klipstream.shardName" -}}
{{- $root := index . 0 }}{{ include "klipstream.operator" $root }}
{{- if gt (include "klipstream.shards" $root | int) 1 }}-{{ index . 1 }}{{ end }}
{{- end }}
{{- define "klipstream.shardSelector" -}}
{{- $root := index . 0 }}
{{- include "klipstream.selector" $root }}
{{- with include "klipstream.shardLabel" . }}
{{ . }}
{{- end }}
{{- end }}
{{- define "klipstream.shardLabel" -}}
{{- if gt (include "klipstream.shards" (index . 0) | int) 1 }}analysis.klipstream.io/shard: {{ index . 1 | quote }}{{ end }}
{{- end }}
{{- /* Names of the Leases, with commas between: one for each shard, that of each number of shards another. */}}
{{- define "klipstream.leases" -}}
{{- $shards := include "klipstream.shards" . | int }}{{ $names := list }}
{{- range until $shards }}{{ $names = append $names (printf "%s-%d-of-%d" (include "klipstream.operator" $) . $shards) }}{{ end }}
{{- ternary (include "klipstream.operator" .) (join "," $names) (eq $shards 1) }}
{{- end }}
{{- /* Leases of another number of shards that are there: those who hold them go on until they are told to end. */}}
{{- define "klipstream.formerLeases" -}}
{{- $own := include "klipstream.leases" . | splitList "," }}{{ $former := list }}
{{- $ours := printf "^%s(-[0-9]+-of-[0-9]+)?$" (include "klipstream.operator" . | replace "." "[.]") }}
{{- range (lookup "coordination.k8s.io/v1" "Lease" .Release.Namespace "").items }}
{{- if and (regexMatch $ours .metadata.name) (not (has .metadata.name $own)) }}{{ $former = append $former .metadata.name }}{{ end }}
{{- end }}
{{- join "," $former }}
{{- end }}
{{- define "klipstream.relay" -}}{{ include "klipstream.release" . }}-relay{{- end }}
{{- define "klipstream.relaySelector" -}}
app.kubernetes.io/name: klipstream-relay
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- define "klipstream.relayLabels" -}}
{{ include "klipstream.relaySelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
{{- define "klipstream.gateway" -}}{{ include "klipstream.release" . }}-gateway{{- end }}
{{- define "klipstream.gatewaySelector" -}}
app.kubernetes.io/name: klipstream-gateway
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- define "klipstream.gatewayLabels" -}}
{{ include "klipstream.gatewaySelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
{{- /* Where the default queue is, its claim and the job of `helm test`: in a namespace that the operator looks after, which
is the release's where that is one of them. */}}
{{- define "klipstream.home" -}}
{{- $watched := .Values.operator.namespaces | default (list .Release.Namespace) }}
{{- ternary .Release.Namespace (first $watched) (has .Release.Namespace $watched) }}
{{- end }}
{{- /* A namespace that a value names: of (list root value-name namespace). Fails where the operator does not look after it. */}}
{{- define "klipstream.watched" -}}
{{- $root := index . 0 }}{{ $namespace := index . 2 }}
{{- $watched := $root.Values.operator.namespaces | default (list $namespace) }}
{{- if not (has $namespace $watched) }}
{{- fail (printf "%s is %s, which is not in operator.namespaces (%s), so nobody would run its jobs: add it there, or name another" (index . 1) $namespace (join ", " $watched)) }}
{{- end }}
{{- $namespace }}
{{- end }}
{{- define "klipstream.gatewayNamespace" -}}
{{- include "klipstream.watched" (list . "gateway.namespace" (.Values.gateway.namespace | default (include "klipstream.home" .))) }}
{{- end }}
{{- define "klipstream.sealingSecret" -}}{{ .Values.sealing.secret | default (printf "%s-sealing" .Release.Name) }}{{- end }}
{{- /* Label matchers of the series of one component of this release, as its PodMonitor scrapes them: of (list root
component). Figures of queues carry the queue's namespace, so the job alone tells the release. */}}
{{- define "klipstream.series" -}}
{{- $root := index . 0 }}
{{- $root.Values.monitoring.prometheusRule.selector | default (printf "job=%q" (printf "%s/%s" $root.Release.Namespace (include (printf "klipstream.%s" (index . 1)) $root))) }}
{{- end }}
{{- define "klipstream.tlsSecret" -}}
{{ .Values.progress.existingSecret | default (printf "%s-progress-tls" .Release.Name) }}
{{- end }}
{{- define "klipstream.resultsClaim" -}}
{{ .Values.results.persistence.existingClaim | default (printf "%s-results" .Release.Name) }}
{{- end }}
{{- /* Whether results go to a claim: "true", or nothing. */}}
{{- define "klipstream.resultsOnClaim" -}}
{{- if and .Values.results.persistence.enabled (hasPrefix "file:///" .Values.results.url) }}true{{ end }}
{{- end }}
{{- /* Whether logs are archived: "true" or "false". */}}
{{- define "klipstream.archiveLogs" -}}
{{- $several := has "ReadWriteMany" .Values.results.persistence.accessModes }}
{{- $bucket := not (hasPrefix "file:///" .Values.results.url) }}
{{- if ne (toString .Values.operator.archiveLogs) "auto" }}{{ .Values.operator.archiveLogs }}
{{- else if or $bucket (and (include "klipstream.resultsOnClaim" .) $several) }}true{{ else }}false{{ end }}
{{- end }}
{{- define "klipstream.rules" -}}
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs, analysisqueues]
  verbs: [get, list, watch]
# Finished jobs are purged after the queue's retention; spec.replay is raised when a group of dead letters is replayed.
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs]
  verbs: [delete, patch]
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs/status, analysisqueues/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- if or .Values.operator.progressFromLogs (eq (include "klipstream.archiveLogs" .) "true") }}
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if .Values.operator.events }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
{{- if .Values.kueue.enabled }}
# Kueue resumes a Job that somebody else suspends, unless its Workload is deactivated.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, patch]
{{- end }}
{{- end }}
{{- define "klipstream.tracing" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- {name: KLIPSTREAM_TRACING_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: KLIPSTREAM_TRACING_RATIO, value: {{ .sampleRatio | quote }}}
{{- if .headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: {secretKeyRef: {name: {{ .headersSecret | quote }}, key: headers}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "klipstream.relayRules" -}}
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs, analysisqueues]
  verbs: [get, list, watch]
# A ValidatingAdmissionPolicy leaves of this nothing but announcedAt.
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs/status]
  verbs: [patch]
# One by one, as callbacks name them; never listed or watched.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.relay.secretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
{{- end }}
{{- /* REPOSITORY:TAG or REPOSITORY@DIGEST: of (list root image). */}}
{{- define "klipstream.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{- $repository := $image.repository }}
{{- with $root.Values.imageRegistry }}{{ $repository = regexReplaceAll "^localhost/" $repository (printf "%s/" (trimSuffix "/" .)) }}{{ end }}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}
{{- else }}{{ $repository }}:{{ $image.tag | default $root.Values.imageTag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}
{{- /* Where a pod may run and what pulls its image: of (list root values). */}}
{{- define "klipstream.placement" -}}
{{- $root := index . 0 }}{{ $values := index . 1 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- /* Restricted, for a pod and for its containers; a user that is null is the cluster's to choose. */}}
{{- define "klipstream.podSecurity" -}}
runAsNonRoot: true
{{- range $field, $id := .Values.podUser }}
{{- if not (kindIs "invalid" $id) }}
{{ $field }}: {{ int $id }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "klipstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- /* Names: UDP and TCP on the ports of networkPolicies.dnsPorts. */}}
{{- define "klipstream.egressToNames" -}}
- ports:
  {{- range .Values.networkPolicies.dnsPorts }}
  - {protocol: UDP, port: {{ . }}}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}
{{- /* Egress to names and to the API server: of (list root networks). Without networks its ports are open to anywhere: a
control plane's addresses change during the life of a release, and what helm finds while it installs would shut everything
out then. Policies see ports after a Service's translation, so those of its endpoints are among them. */}}
{{- define "klipstream.egressToApiServer" -}}
{{- $root := index . 0 }}{{ $networks := index . 1 }}
{{- $ports := list 443 6443 }}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes").ports }}
{{- $ports = append $ports (int .port) }}
{{- end }}
{{- include "klipstream.egressToNames" $root }}
# The API server.
{{- if $networks }}
- to:
  {{- range $networks }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
{{- else }}
- ports:
  {{- range $ports | uniq }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}
{{- end }}
{{- /* The public Internet, without the networks that are given. */}}
{{- define "klipstream.egressToPublic" -}}
- to:
  - ipBlock:
      cidr: 0.0.0.0/0
      except:
      {{- range concat (list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24" "192.168.0.0/16" "198.18.0.0/15" "224.0.0.0/4" "240.0.0.0/4") (. | default list) | uniq }}
      {{- if not (contains ":" .) }}
      - {{ . | quote }}
      {{- end }}
      {{- end }}
  - ipBlock:
      cidr: 2000::/3
      except:
      {{- range concat (list "2001::/32" "2001:db8::/32" "2002::/16") (. | default list) | uniq }}
      {{- if regexMatch "^[23][0-9a-fA-F]{3}:" . }}
      - {{ . | quote }}
      {{- end }}
      {{- end }}
{{- end }}
{{- /* Whether the operator archives to a bucket: "true", or nothing. */}}
{{- define "klipstream.operatorReachesBucket" -}}
{{- if and (eq (include "klipstream.archiveLogs" .) "true") (not (hasPrefix "file:///" .Values.results.url)) }}true{{ end }}
{{- end }}
{{- define "klipstream.convexSecret" -}}
{{ .Values.relay.convex.secretName | default (ternary (printf "%s-convex" .Release.Name) "" (and .Values.externalSecrets.enabled (ne .Values.externalSecrets.convex ""))) }}
{{- end }}
{{- define "klipstream.keysSecret" -}}{{ .Values.gateway.keysSecret | default (printf "%s-api-keys" .Release.Name) }}{{- end }}
{{- /* Of the Job that brings CRDs up to date, and of `helm test`. */}}
{{- define "klipstream.crdsLabels" -}}
app.kubernetes.io/name: klipstream-crds
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
{{- define "klipstream.testLabels" -}}
app.kubernetes.io/name: klipstream-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}
{{- /* Hooks that leave nothing behind: of their weight. */}}
{{- define "klipstream.beforeUpgrade" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
{{- /* A policy that lives as long as its hook: of (list root name labels annotations). In a namespace that denies what no
policy allows, the hook's pod would not reach the API server. */}}
{{- define "klipstream.hookPolicy" -}}
{{- $root := index . 0 }}{{ $labels := index . 2 }}
{{- if $root.Values.operator.networkPolicy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ index . 1 | quote }}
  labels: {{- include $labels $root | nindent 4 }}
  annotations: {{- index . 3 | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ get (include $labels $root | fromYaml) "app.kubernetes.io/name" | quote }}
      app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
  policyTypes: [Ingress, Egress]
  ingress: []
  egress:
  {{- include "klipstream.egressToApiServer" (list $root $root.Values.operator.networkPolicy.apiServer) | nindent 2 }}
---
{{- end }}
{{- end }}
{{- define "klipstream.forTest" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
