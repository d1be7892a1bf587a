{{- /* Parts that the Pods of all components share. */ -}}

{{- /* Image reference. Call with (list . .Values.webhook.image). */ -}}
{{- define "hami-dra.image" -}}
{{- $root := index . 0 -}}
{{- $image := mergeOverwrite (deepCopy $root.Values.image) (index . 1) -}}
{{- $registry := $root.Values.global.imageRegistry | default $image.registry -}}
{{- $repository := list $registry $image.repository | compact | join "/" -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{- /* `image` and `imagePullPolicy` of a container. Call as above. */ -}}
{{- define "hami-dra.container.image" -}}
image: {{ include "hami-dra.image" . }}
imagePullPolicy: {{ dig "pullPolicy" (index . 0).Values.image.pullPolicy (index . 1) }}
{{- end }}

{{- /* Where a Pod may run. Call with the component's values. */ -}}
{{- define "hami-dra.pod.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /*
Labels and annotations of a component's Pods: ours, which win, and those of its values.
Call with (list . "webhook" .Values.webhook ANNOTATIONS).
*/ -}}
{{- define "hami-dra.pod.metadata" -}}
{{- $values := index . 2 -}}
labels: {{ merge (include "hami-dra.labels" . | fromYaml) ($values.podLabels | default dict) | toYaml | nindent 2 }}
{{- with merge (index . 3) ($values.podAnnotations | default dict) }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "hami-dra.pod.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "hami-dra.env.common" -}}
- name: HAMI_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: HAMI_LOG_FORMAT
  value: {{ .Values.logFormat }}
{{- end }}

{{- /* `helm upgrade --reuse-values` from a release before this setting hands over no value. */ -}}
{{- define "hami-dra.cardPolicy" -}}
{{ .Values.drivers.cardPolicy | default "first" }}
{{- end }}

{{- /* Not empty on OpenShift. */ -}}
{{- define "hami-dra.openshift" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}yes{{ end }}
{{- end }}

{{- /*
What the "restricted" Pod security standard asks for; the image's user is numeric already. OpenShift refuses any number
but those that it gives to the namespace.
*/ -}}
{{- define "hami-dra.restricted.pod" -}}
runAsNonRoot: true
{{- if not (include "hami-dra.openshift" .) }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "hami-dra.restricted.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Probes of a program that answers /healthz and /readyz on its port `health`. */ -}}
{{- define "hami-dra.probes.http" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}
