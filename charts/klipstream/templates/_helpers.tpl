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
{{- define "klipstream.tlsSecret" -}}
{{ .Values.progress.existingSecret | default (printf "%s-progress-tls" .Release.Name) }}
{{- end }}
{{- define "klipstream.resultsClaim" -}}
{{ .Values.results.persistence.existingClaim | default (printf "%s-results" .Release.Name) }}
{{- end }}
{{- define "klipstream.rules" -}}
- apiGroups: [analysis.klipstream.io]
  resources: [analysisjobs, analysisqueues]
  verbs: [get, list, watch]
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
{{- if .Values.operator.events }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
{{- end }}
