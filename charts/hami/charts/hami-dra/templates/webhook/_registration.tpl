{{- /* Parts that both webhook configurations share. */ -}}

{{- define "hami-dra.webhook.registration" -}}
{{- $name := include "hami-dra.webhook.name" . -}}
name: {{ $name }}
labels: {{ include "hami-dra.labels" (list . "webhook") | nindent 2 }}
{{- if eq .Values.certs.mode "certManager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ $name }}
{{- end }}
{{- end }}

{{- /* `clientConfig`. Call with (list . "/mutate"). */ -}}
{{- define "hami-dra.webhook.client" -}}
{{- $root := index . 0 -}}
# certs.mode self: the webhook itself fills caBundle. It is left out here, so that an upgrade keeps it.
{{- if eq $root.Values.certs.mode "secret" }}
caBundle: {{ $root.Values.certs.secret.caBundle | quote }}
{{- end }}
service:
  name: {{ include "hami-dra.webhook.name" $root }}
  namespace: {{ $root.Release.Namespace | quote }}
  path: {{ index . 1 }}
  port: 443
{{- end }}

{{- define "hami-dra.webhook.namespaces" -}}
matchExpressions:
  # Its own namespace too: its Pods must start while no webhook answers.
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ concat (list .Release.Namespace) .Values.webhook.config.scope.excludedNamespaces | uniq | toYaml | nindent 6 }}
{{- end }}

{{- /*
Which Pods name our resources; with extendedResource, those that name more than whole cards, or are copies of a
converted Pod and name its claims. Of updates only those of a converted Pod's specification: its manifest is applied
again.
*/ -}}
{{- define "hami-dra.webhook.podConditions" -}}
{{- $more := list .Values.resourceMem .Values.resourceMemPercentage .Values.resourceCores .Values.resourcePriority -}}
{{- $families := include "hami-dra.families.resources" . | fromJsonArray -}}
- name: is-new-or-was-converted
  expression: >-
    request.operation == "CREATE" || request.?subResource.orValue("") != "" ||
    oldObject.metadata.?labels[?"hami.io/dra"].orValue("") == "true" && object.spec != oldObject.spec
- name: names-our-resources
  expression: >-
    {{ include "hami-dra.webhook.names" (include "hami-dra.resources" . | fromJsonArray) }}
{{- if .Values.webhook.extendedResource }}
- name: names-more-than-whole-cards
  expression: >-
    {{ include "hami-dra.webhook.names" (concat $more $families) }} ||
    object.metadata.?annotations.orValue({}).exists(key, key.startsWith("nvidia.com/") || key == "hami.io/claims")
{{- end }}
{{- end }}

{{- /* CEL: some container names one of these resources. Call with a list of names. */ -}}
{{- define "hami-dra.webhook.names" -}}
(object.spec.containers + object.spec.?initContainers.orValue([]) +
    object.spec.?ephemeralContainers.orValue([])).exists(c,
    {{ . | toJson }}.exists(r,
    r in c.?resources.?limits.orValue({}) || r in c.?resources.?requests.orValue({})))
{{- end }}
