{{/* What must be said for pods that start: all that is missing, at once. Prints nothing. */}}
{{- define "ringtime.checks" -}}
{{- $v := .Values -}}
{{- $missing := list -}}
{{- $name := include "ringtime.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- $missing = append $missing (printf "fullnameOverride: %s is no name of a service: small letters, digits and dashes, a letter first" $name) -}}
{{- end -}}
{{- if eq $v.mode "split" -}}
{{- if not $v.cassandra.contactPoints }}{{ $missing = append $missing "cassandra.contactPoints: name at least one host of Cassandra" }}{{ end -}}
{{- if not $v.etcd.endpoints }}{{ $missing = append $missing "etcd.endpoints: name at least one host:port of etcd" }}{{ end -}}
{{- end -}}
{{- if not (or $v.gateway $v.tls.existingSecret) -}}
{{- $missing = append $missing "tls.existingSecret: name a secret with the API's certificate; or, if a gateway speaks TLS, set gateway: true" -}}
{{- end -}}
{{- if and $v.metrics.enabled (not $v.gateway) (not $v.metrics.existingSecret) (not $v.tls.clientCa) -}}
{{- $missing = append $missing "metrics.existingSecret: name a secret with the token that Prometheus sends; or set metrics.enabled: false" -}}
{{- end -}}
{{- if and $v.tls.clientCa (not $v.tls.existingSecret) -}}
{{- $missing = append $missing "tls.existingSecret: tls.clientCa needs it" -}}
{{- end -}}
{{- if and $v.tls.clientCa (not $v.tls.ownAuthority) -}}
{{- $missing = append $missing "tls.ownAuthority: tls.clientCa needs the secret's ca.crt" -}}
{{- end -}}
{{- if ne (not $v.completion.baseUrl) (not $v.completion.existingSecret) -}}
{{- $missing = append $missing "completion: baseUrl and existingSecret go together" -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled (not $v.metrics.enabled) -}}
{{- $missing = append $missing "metrics.enabled: serviceMonitor needs it" -}}
{{- end -}}
{{- if and $v.dispatcher.keda.enabled (not $v.metrics.enabled) -}}
{{- $missing = append $missing "metrics.enabled: dispatcher.keda scales by it" -}}
{{- end -}}
{{- range include "ringtime.metricsPorts" (dict "root" . "component" "ingest") | fromJsonArray -}}
{{- if eq (int .port) 8080 }}{{ $missing = append $missing "metrics.port: 8080 is the API's; each of ingest.workers has one, from metrics.port on" }}{{ end -}}
{{- end -}}
{{- if and $v.ingest.autoscaling.enabled (not (dig "requests" "cpu" "" $v.ingest.resources)) -}}
{{- $missing = append $missing "ingest.resources.requests.cpu: ingest.autoscaling counts in shares of it" -}}
{{- end -}}
{{- range $name, $bounds := dict "ingest.autoscaling" $v.ingest.autoscaling "dispatcher.keda" $v.dispatcher.keda -}}
{{- if gt (int $bounds.minReplicas) (int $bounds.maxReplicas) }}{{ $missing = append $missing (printf "%s.maxReplicas: must be at least minReplicas" $name) }}{{ end -}}
{{- end -}}
{{- range list "cassandra" "etcd" "kafka" -}}
{{- $tls := (get $v .).tls -}}
{{- if and $tls.clientCertificate (not $tls.existingSecret) }}{{ $missing = append $missing (printf "%s.tls.existingSecret: clientCertificate needs it" .) }}{{ end -}}
{{- end -}}
{{- if $missing }}{{ fail (printf "\n  - %s" (join "\n  - " $missing)) }}{{ end -}}
{{- end -}}
