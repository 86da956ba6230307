{{/* How long pods are given to end, in whole seconds. Defaults are those of Ringtime's settings; a test holds them. */}}

{{- define "ringtime.setting" -}}
{{- $group := get .root.Values.settings .group | default dict -}}
{{- if hasKey $group .name }}{{ get $group .name }}{{ else }}{{ .default }}{{ end -}}
{{- end -}}

{{/* The longest that one attempt may take. */}}
{{- define "ringtime.longestCallback" -}}
{{- $http := include "ringtime.setting" (dict "root" . "group" "limits" "name" "max_http_timeout_ms" "default" 60000) | float64 -}}
{{- $kafka := 0.0 -}}
{{- if .Values.kafka.bootstrap }}{{ $kafka = include "ringtime.setting" (dict "root" . "group" "kafka" "name" "deadline_ms" "default" 30000) | float64 }}{{ end -}}
{{- divf (maxf $http $kafka) 1000 | ceil | int -}}
{{- end -}}

{{/* A drain: what is under way ends, and the others take over, for which a lease is ample. */}}
{{- define "ringtime.drainSeconds" -}}
{{- $lease := include "ringtime.setting" (dict "root" . "group" "coordination" "name" "ttl_s" "default" 10) | float64 -}}
{{- $least := addf (include "ringtime.longestCallback" . | float64) $lease | ceil | int -}}
{{- $given := .Values.dispatcher.drain.timeoutSeconds -}}
{{- if not .Values.dispatcher.drain.enabled -}}0
{{- else if kindIs "invalid" $given -}}{{ $least }}
{{- else -}}
{{- if lt (int $given) $least -}}
{{- fail (printf "dispatcher.drain.timeoutSeconds: %d is too short: the longest callback timeout and a lease take %d s" (int $given) $least) -}}
{{- end -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{- define "ringtime.grace" -}}
{{- $drain := include "ringtime.setting" (dict "root" .root "group" .group "name" "drain_s" "default" .default) | float64 -}}
{{- $least := addf .before $drain 10 | ceil | int -}}
{{- if kindIs "invalid" .given -}}{{ $least }}
{{- else -}}
{{- if lt (int .given) $least -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d is too short: a pod may take %d s to end (%s)" .component (int .given) $least .why) -}}
{{- end -}}
{{- int .given -}}
{{- end -}}
{{- end -}}

{{- define "ringtime.dispatcherGrace" -}}
{{- $longest := include "ringtime.longestCallback" . | float64 -}}
{{- $lease := include "ringtime.setting" (dict "root" . "group" "coordination" "name" "ttl_s" "default" 10) | float64 -}}
{{- $before := maxf (include "ringtime.drainSeconds" . | float64) (addf $longest $lease) -}}
{{- include "ringtime.grace" (dict "root" . "component" "dispatcher" "group" "dispatch" "default" 20 "before" $before "given" .Values.dispatcher.terminationGracePeriodSeconds "why" "the drain, or the longest callback timeout and a lease; dispatch.drain_s; and 10 s") -}}
{{- end -}}

{{- define "ringtime.ingestGrace" -}}
{{- include "ringtime.grace" (dict "root" . "component" "ingest" "group" "server" "default" 25 "before" (float64 .Values.ingest.preStopSeconds) "given" .Values.ingest.terminationGracePeriodSeconds "why" "ingest.preStopSeconds; server.drain_s; and 10 s") -}}
{{- end -}}

{{- define "ringtime.serveGrace" -}}
{{- $drain := include "ringtime.setting" (dict "root" . "group" "server" "name" "drain_s" "default" 25) | float64 -}}
{{- include "ringtime.grace" (dict "root" . "component" "serve" "group" "dispatch" "default" 20 "before" $drain "given" .Values.serve.terminationGracePeriodSeconds "why" "server.drain_s; dispatch.drain_s; and 10 s") -}}
{{- end -}}
