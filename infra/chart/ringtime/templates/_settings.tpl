{{/* What Ringtime is told: a file with what is no secret, variables with what is, and files with certificates. */}}

{{- define "ringtime.group" -}}
{{- get .settings .group | default dict | toJson -}}
{{- end -}}

{{/* The settings file, JSON. What the chart owns is put over what `settings` says; the schema refuses the latter. */}}
{{- define "ringtime.config" -}}
{{- $v := .Values -}}
{{- $own := dict "server" (dict "host" "0.0.0.0" "port" 8080) "access" (dict "gateway" $v.gateway) -}}
{{- if $v.tls.existingSecret -}}
{{- $_ := set $own.server "cert_file" "/etc/ringtime/tls/server/tls.crt" -}}
{{- $_ := set $own.server "key_file" "/etc/ringtime/tls/server/tls.key" -}}
{{- if $v.tls.clientCa }}{{ $_ := set $own.server "client_ca_file" "/etc/ringtime/tls/server/ca.crt" }}{{ end -}}
{{- end -}}
{{- if $v.metrics.enabled }}{{ $_ := set $own "metrics" (dict "host" "0.0.0.0" "port" $v.metrics.port) }}{{ end -}}
{{- if $v.keyRing.existingSecret -}}
{{- $_ := set $own "secrets" (dict "key_file" (printf "/etc/ringtime/keys/%s" $v.keyRing.file)) -}}
{{- end -}}
{{- with $v.completion.baseUrl }}{{ $_ := set $own "completion" (dict "base_url" .) }}{{ end -}}
{{- $callbacks := dict -}}
{{- if $v.callbacks.caSecret }}{{ $_ := set $callbacks "ca_file" "/etc/ringtime/tls/callbacks/ca.crt" }}{{ end -}}
{{- $profiles := list -}}
{{- range $v.callbacks.tlsProfiles }}{{ $profiles = append $profiles (printf "%s=/etc/ringtime/tls/profiles/%s" .name .name) }}{{ end -}}
{{- if $profiles }}{{ $_ := set $callbacks "tls_profiles" $profiles }}{{ end -}}
{{- if $callbacks }}{{ $_ := set $own "callbacks" $callbacks }}{{ end -}}
{{- if $v.kafka.bootstrap }}{{ $_ := set $own "kafka" (include "ringtime.tlsFiles" (dict "name" "kafka" "tls" $v.kafka.tls) | fromJson) }}{{ $_ := set $own.kafka "bootstrap" $v.kafka.bootstrap }}{{ end -}}
{{- if eq $v.mode "split" -}}
{{- $_ := set $own "cassandra" (include "ringtime.tlsFiles" (dict "name" "cassandra" "tls" $v.cassandra.tls) | fromJson) -}}
{{- $_ := set $own.cassandra "contact_points" $v.cassandra.contactPoints -}}
{{- $_ := set $own "coordination" (include "ringtime.tlsFiles" (dict "name" "etcd" "tls" $v.etcd.tls) | fromJson) -}}
{{- $_ := set $own.coordination "endpoints" $v.etcd.endpoints -}}
{{- $_ := set $own "embedded" (dict "data" "") -}}
{{- $_ := set $own "web" (dict "host" "0.0.0.0" "port" 8090 "api_url" (default (printf "%s://%s:%d" (include "ringtime.scheme" .) (include "ringtime.apiHost" .) (int $v.ingest.service.port)) $v.web.apiUrl)) -}}
{{- $_ := set $own "limits" (dict "pods" (int (ternary $v.ingest.autoscaling.minReplicas $v.ingest.replicas $v.ingest.autoscaling.enabled))) -}}
{{- if hasKey (default dict $v.settings.limits) "pods" }}{{ $_ := unset $own "limits" }}{{ end -}}
{{- else -}}
{{- $_ := set $own "embedded" (dict "data" "/data") -}}
{{- end -}}
{{- mustMergeOverwrite (deepCopy $v.settings) $own | toPrettyJson -}}
{{- end -}}

{{- define "ringtime.tlsFiles" -}}
{{- $files := dict -}}
{{- if .tls.existingSecret -}}
{{- $_ := set $files "ca_file" (printf "/etc/ringtime/tls/%s/ca.crt" .name) -}}
{{- if .tls.clientCertificate -}}
{{- $_ := set $files "cert_file" (printf "/etc/ringtime/tls/%s/tls.crt" .name) -}}
{{- $_ := set $files "key_file" (printf "/etc/ringtime/tls/%s/tls.key" .name) -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* Secrets, as variables. The image names a folder for `ringtime serve`, and a port. */}}
{{- define "ringtime.env" -}}
{{- $v := .root.Values -}}
- name: PORT
  value: "8080"
- name: RINGTIME_EMBEDDED_DATA
  value: {{ ternary "/data" "" (eq $v.mode "serve") | quote }}
{{- if and $v.tls.existingSecret $v.tls.ownAuthority }}
- name: RINGTIME_CA_FILE
  value: /etc/ringtime/tls/server/ca.crt
{{- end }}
{{- if $v.tls.clientCa }}
# The dashboard and `ringctl` are clients, too.
- name: RINGTIME_CLIENT_CERT_FILE
  value: /etc/ringtime/tls/server/tls.crt
- name: RINGTIME_CLIENT_KEY_FILE
  value: /etc/ringtime/tls/server/tls.key
{{- end }}
{{- if eq $v.mode "split" }}
{{- include "ringtime.login" (dict "group" "CASSANDRA" "secret" $v.cassandra.existingSecret) }}
{{- include "ringtime.login" (dict "group" "COORDINATION" "secret" $v.etcd.existingSecret) }}
{{- end }}
{{- if $v.kafka.bootstrap }}
{{- include "ringtime.login" (dict "group" "KAFKA" "secret" $v.kafka.existingSecret) }}
{{- end }}
{{- with $v.completion.existingSecret }}
{{- include "ringtime.secretEnv" (dict "name" "RINGTIME_COMPLETION_SECRET" "secret" . "key" $v.completion.key) }}
{{- end }}
{{- if and $v.metrics.enabled $v.metrics.existingSecret }}
{{- include "ringtime.secretEnv" (dict "name" "RINGTIME_METRICS_TOKEN" "secret" $v.metrics.existingSecret "key" $v.metrics.key) }}
{{- end }}
{{- end -}}

{{- define "ringtime.login" -}}
{{- if .secret }}
{{- include "ringtime.secretEnv" (dict "name" (printf "RINGTIME_%s_USERNAME" .group) "secret" .secret "key" "username") }}
{{- include "ringtime.secretEnv" (dict "name" (printf "RINGTIME_%s_PASSWORD" .group) "secret" .secret "key" "password") }}
{{- end }}
{{- end -}}

{{- define "ringtime.secretEnv" }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/* Files: name of the volume, secret, where it is mounted. As lines of a list that are read by the two below. */}}
{{- define "ringtime.secretFiles" -}}
{{- $v := .Values -}}
{{- $files := list -}}
{{- if $v.tls.existingSecret }}{{ $files = append $files (dict "name" "tls-server" "secret" $v.tls.existingSecret "path" "tls/server") }}{{ end -}}
{{- if $v.keyRing.existingSecret }}{{ $files = append $files (dict "name" "keys" "secret" $v.keyRing.existingSecret "path" "keys") }}{{ end -}}
{{- if eq $v.mode "split" -}}
{{- if $v.cassandra.tls.existingSecret }}{{ $files = append $files (dict "name" "tls-cassandra" "secret" $v.cassandra.tls.existingSecret "path" "tls/cassandra") }}{{ end -}}
{{- if $v.etcd.tls.existingSecret }}{{ $files = append $files (dict "name" "tls-etcd" "secret" $v.etcd.tls.existingSecret "path" "tls/etcd") }}{{ end -}}
{{- end -}}
{{- if and $v.kafka.bootstrap $v.kafka.tls.existingSecret }}{{ $files = append $files (dict "name" "tls-kafka" "secret" $v.kafka.tls.existingSecret "path" "tls/kafka") }}{{ end -}}
{{- if $v.callbacks.caSecret }}{{ $files = append $files (dict "name" "tls-callbacks" "secret" $v.callbacks.caSecret "path" "tls/callbacks") }}{{ end -}}
{{- range $i, $each := $v.callbacks.tlsProfiles }}{{ $files = append $files (dict "name" (printf "tls-profile-%d" $i) "secret" $each.existingSecret "path" (printf "tls/profiles/%s" $each.name)) }}{{ end -}}
{{- toJson $files -}}
{{- end -}}

{{- define "ringtime.volumes" -}}
- name: settings
  configMap:
    name: {{ include "ringtime.fullname" .root }}{{ if and (eq .component "migrate") .root.Values.migration.hook }}-migrate{{ end }}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- range include "ringtime.secretFiles" .root | fromJsonArray }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "ringtime.mounts" -}}
- name: settings
  mountPath: /etc/ringtime/settings
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- range include "ringtime.secretFiles" . | fromJsonArray }}
- name: {{ .name }}
  mountPath: /etc/ringtime/{{ .path }}
  readOnly: true
{{- end }}
{{- end -}}
