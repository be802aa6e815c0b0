{{- define "klipstream.operator" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}-operator{{- end }}
{{- define "klipstream.selector" -}}
app.kubernetes.io/name: klipstream-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "klipstream.labels" -}}
{{ include "klipstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "klipstream.relay" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}-relay{{- end }}
{{- define "klipstream.relaySelector" -}}
app.kubernetes.io/name: klipstream-relay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "klipstream.relayLabels" -}}
{{ include "klipstream.relaySelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "klipstream.gateway" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}-gateway{{- end }}
{{- define "klipstream.gatewaySelector" -}}
app.kubernetes.io/name: klipstream-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "klipstream.gatewayLabels" -}}
{{ include "klipstream.gatewaySelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "klipstream.sealingSecret" -}}{{ .Values.sealing.secret | default (printf "%s-sealing" .Release.Name) }}{{- end }}
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
