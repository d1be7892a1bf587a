{{- /* Families besides NVIDIA: those that are switched on, and those of the operator's own profiles. */ -}}

{{- /* Their names, one a line. */ -}}
{{- define "hami-dra.families.names" -}}
{{- $families := .Values.drivers.families -}}
{{- range concat $families.enabled (keys $families.profiles) | uniq | sortAlpha }}
{{ . }}
{{- end }}
{{- end }}

{{- /* Every DRA driver of this release, as a list in JSON. */ -}}
{{- define "hami-dra.drivers" -}}
{{- $drivers := list -}}
{{- if .Values.drivers.nvidia.enabled }}{{ $drivers = append $drivers (include "hami-dra.driverName" .) }}{{ end -}}
{{- range include "hami-dra.families.names" . | splitList "\n" | compact }}
{{- $drivers = append $drivers (printf "%s.project-hami.io" .) -}}
{{- end -}}
{{- $drivers | toJson -}}
{{- end }}

{{- /*
Resource names that Pods write for these families, as a list in JSON: files/families.yaml has those of the profiles
that we ship, the operator's profiles have their own. What is no profile has none: the plugin says what is wrong with it.
*/ -}}
{{- define "hami-dra.families.resources" -}}
{{- $own := .Values.drivers.families.profiles -}}
{{- $shipped := .Files.Get "files/families.yaml" | fromYaml -}}
{{- $names := list -}}
{{- range include "hami-dra.families.names" . | splitList "\n" | compact }}
{{- if hasKey $own . }}
{{- $resources := (index $own . | fromYaml).resources -}}
{{- range kindIs "slice" $resources | ternary $resources list }}
{{- if kindIs "map" . }}
{{- range list .count .memory .memoryPercentage .cores | compact }}
{{- if kindIs "string" . }}{{ $names = append $names . }}{{ end -}}
{{- end }}
{{- end }}
{{- end }}
{{- else }}
{{- $names = concat $names (get $shipped . | default list) -}}
{{- end }}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end }}

{{- /* Every DeviceClass of this release, as a list in JSON: each family's is named as its driver. */ -}}
{{- define "hami-dra.deviceClasses" -}}
{{- $classes := list .Values.webhook.dra.deviceClassName -}}
{{- if .Values.drivers.nvidia.enabled }}{{ $classes = append $classes "hami-core-mig.project-hami.io" }}{{ end -}}
{{- concat $classes (include "hami-dra.drivers" . | fromJsonArray) | uniq | toJson -}}
{{- end }}

{{- /* Families whose Pods admission converts, as a list in JSON; without its driver NVIDIA's are left to whoever serves them. */ -}}
{{- define "hami-dra.webhook.families" -}}
{{- $others := include "hami-dra.families.names" . | splitList "\n" | compact -}}
{{- if .Values.drivers.nvidia.enabled }}{{ prepend $others "nvidia" | toJson }}{{ else }}{{ $others | toJson }}{{ end -}}
{{- end }}

{{- /* Every resource name that admission makes claims of, as a list in JSON. */ -}}
{{- define "hami-dra.resources" -}}
{{- $ours := list -}}
{{- if .Values.drivers.nvidia.enabled }}
{{- $ours = list .Values.resourceName .Values.resourceMem .Values.resourceMemPercentage .Values.resourceCores .Values.resourcePriority -}}
{{- end -}}
{{- concat $ours (include "hami-dra.families.resources" . | fromJsonArray) | default list | toJson -}}
{{- end }}

{{/* Labels of the nodes that NVIDIA's plugin runs on, as a label selector. */}}
{{- define "hami-dra.labels.nodes" -}}
{{- $labels := list -}}
{{- range $key, $value := .Values.drivers.nvidia.daemonSet.nodeSelector -}}
{{- $labels = append $labels (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $labels -}}
{{- end }}

{{- define "hami-dra.families.name" -}}
{{ include "hami-dra.name" (list . "dra-driver-families") }}
{{- end }}

{{- define "hami-dra.families.profiles" -}}
{{ include "hami-dra.name" (list . "hami-dra-profiles") }}
{{- end }}

{{- /* For Pods that read profiles: another profile is another Pod. */ -}}
{{- define "hami-dra.families.checksum" -}}
hami.io/profiles: {{ .Values.drivers.families.profiles | toJson | sha256sum }}
{{- end }}
