{{- /*
Name of an object: release and suffix, at most 63 characters. The release's name is what gets shortened, so
that two components never end up with one name.
Call with (list . "hami-dra-webhook").
*/ -}}
{{- define "hami-dra.name" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
{{- printf "%s-%s" ($root.Release.Name | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix -}}
{{- end }}

{{- define "hami-dra.driver.name" -}}
{{ include "hami-dra.name" (list . "dra-driver-kubelet-plugin") }}
{{- end }}

{{- define "hami-dra.webhook.name" -}}
{{ include "hami-dra.name" (list . "hami-dra-webhook") }}
{{- end }}

{{- define "hami-dra.monitor.name" -}}
{{ include "hami-dra.name" (list . "hami-dra-monitor") }}
{{- end }}

{{- /* cert-manager's stays when the Certificate goes, and Helm takes over no Secret that it did not make. */ -}}
{{- define "hami-dra.webhook.tlsSecret" -}}
{{- if eq .Values.certs.mode "secret" }}{{ .Values.certs.secret.name }}
{{- else if eq .Values.certs.mode "certManager" }}{{ include "hami-dra.name" (list . "hami-dra-webhook-issued") }}
{{- else }}{{ include "hami-dra.name" (list . "hami-dra-webhook-tls") }}{{ end -}}
{{- end }}

{{- /* The DRA driver's name: a constant of the plugin, not a value. */ -}}
{{- define "hami-dra.driverName" -}}
hami-core-gpu.project-hami.io
{{- end }}

{{- /* Selector labels: never changed, an upgrade could not apply it. Call with (list . "webhook"). */ -}}
{{- define "hami-dra.selector" -}}
app.kubernetes.io/name: hami-dra
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /*
All labels of an object: ours, which win, and those of `global.commonLabels` (absent in values that a release
before it was installed with). Call with (list . "webhook").
*/ -}}
{{- define "hami-dra.labels" -}}
{{- $root := index . 0 -}}
{{- $ours := include "hami-dra.selector" . | fromYaml -}}
{{- $ours = set $ours "app.kubernetes.io/part-of" "hami" -}}
{{- $ours = set $ours "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $ours = set $ours "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $ours = set $ours "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version) -}}
{{ merge $ours ($root.Values.global.commonLabels | default dict) | toYaml }}
{{- end }}
