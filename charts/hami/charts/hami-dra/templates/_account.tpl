{{- /*
The service account of a component, bound to the ClusterRole of the same name.
Call with (list . "webhook" NAME).
*/ -}}
{{- define "hami-dra.account" -}}
{{- $root := index . 0 -}}
{{- $labels := include "hami-dra.labels" (list $root (index . 1)) -}}
{{- $name := index . 2 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels: {{ $labels | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $root.Release.Namespace | quote }}
{{- end }}
