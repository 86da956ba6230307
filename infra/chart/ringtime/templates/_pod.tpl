{{/* What all pods have in common. `of`: values of the component. */}}

{{- define "ringtime.podMetadata" -}}
labels:
  {{- include "ringtime.labels" . | nindent 2 }}
  {{- with .of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # Another settings file rolls the pods: each reads it at its start.
  checksum/settings: {{ include "ringtime.config" .root | sha256sum }}
  {{- with .of.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "ringtime.placement" -}}
serviceAccountName: {{ include "ringtime.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .of.topologySpread .of.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.of.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "ringtime.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "ringtime.container" -}}
name: ringtime
image: {{ include "ringtime.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .of.resources | nindent 2 }}
{{- end -}}

{{- define "ringtime.probe" -}}
{{- if .root.Values.tls.clientCa -}}
tcpSocket:
  port: http
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ include "ringtime.scheme" .root | upper }}
{{- end }}
{{- end -}}

{{- define "ringtime.probes" -}}
startupProbe:
  {{- include "ringtime.probe" (dict "root" .root "path" "/health/live") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- include "ringtime.probe" (dict "root" .root "path" "/health/live") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  {{- include "ringtime.probe" (dict "root" .root "path" "/health/ready") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* One metrics port for each process of a pod. */}}
{{- define "ringtime.metricsPorts" -}}
{{- $count := 1 -}}
{{- if eq .component "ingest" }}{{ $count = include "ringtime.setting" (dict "root" .root "group" "ingest" "name" "workers" "default" 1) | int }}{{ end -}}
{{- $ports := list -}}
{{- if .root.Values.metrics.enabled -}}
{{- range $i := until $count -}}
{{- $ports = append $ports (dict "name" (ternary "metrics" (printf "metrics-%d" (add1 $i)) (eq $i 0)) "port" (add (int $.root.Values.metrics.port) $i)) -}}
{{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{- define "ringtime.pdb" -}}
{{- if and .of.podDisruptionBudget .of.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "ringtime.fullname" .root }}-{{ .component }}
  labels:
    {{- include "ringtime.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .of.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "ringtime.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
