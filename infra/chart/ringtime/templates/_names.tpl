{{/* Names and labels. A component is one of ingest, dispatcher, web, serve, migrate. */}}

{{/* 41 characters: a StatefulSet may have 52, as each of its pods has a label of its name, `-` and a hash of ten. */}}

{{- define "ringtime.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 41 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 41 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 41 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ringtime.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "ringtime.labels" -}}
{{ include "ringtime.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ringtime.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "ringtime.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ringtime.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Where pods and Prometheus reach the API by name. */}}
{{- define "ringtime.apiHost" -}}
{{- printf "%s-%s.%s.svc" (include "ringtime.fullname" .) (ternary "ingest" "serve" (eq .Values.mode "split")) .Release.Namespace -}}
{{- end -}}

{{- define "ringtime.scheme" -}}
{{- ternary "https" "http" (ne .Values.tls.existingSecret "") -}}
{{- end -}}

{{/* The scrape job, which is what metrics are summed over: its name begins with `ringtime`. */}}
{{- define "ringtime.job" -}}
{{- $name := default .Release.Name .Values.serviceMonitor.job -}}
{{- hasPrefix "ringtime" $name | ternary $name (printf "ringtime-%s" $name) -}}
{{- end -}}

{{- define "ringtime.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}
