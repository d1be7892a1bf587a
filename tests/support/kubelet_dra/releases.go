// What kubelet's own packages want otherwise from one release of Kubernetes to another.
package main

import (
	"context"
	"fmt"
	"reflect"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/dra"
	"k8s.io/kubernetes/pkg/kubelet/config"
)

// asGetNode is get as this kubelet wants it: before Kubernetes 1.36 without a context.
func asGetNode(get func(context.Context) (*v1.Node, error)) (wanted dra.GetNodeFunc) {
	found := reflect.ValueOf(get)
	place := reflect.ValueOf(&wanted).Elem()
	if !found.CanConvert(place.Type()) {
		found = reflect.ValueOf(func() (*v1.Node, error) { return get(context.Background()) })
	}
	place.Set(found.Convert(place.Type()))
	return wanted
}

// run watches for plugins until ctx ends. Kubernetes 1.35 wants the context too.
func run(ctx context.Context, manager any) {
	switch plugins := manager.(type) {
	case interface {
		Run(context.Context, config.SourcesReady, <-chan struct{})
	}:
		plugins.Run(ctx, ready{}, ctx.Done())
	case interface {
		Run(config.SourcesReady, <-chan struct{})
	}:
		plugins.Run(ready{}, ctx.Done())
	default:
		stopIf(fmt.Errorf("kubelet's PluginManager.Run has changed"))
	}
}

// addHealth lets kubelet write its devices' health into status. Kubernetes 1.37 wants a logger for it.
func addHealth(manager any, pod *v1.Pod, status *v1.PodStatus) {
	switch kubelet := manager.(type) {
	case interface {
		UpdateAllocatedResourcesStatus(klog.Logger, *v1.Pod, *v1.PodStatus)
	}:
		kubelet.UpdateAllocatedResourcesStatus(klog.Background(), pod, status)
	case interface {
		UpdateAllocatedResourcesStatus(*v1.Pod, *v1.PodStatus)
	}:
		kubelet.UpdateAllocatedResourcesStatus(pod, status)
	default:
		stopIf(fmt.Errorf("kubelet's UpdateAllocatedResourcesStatus has changed"))
	}
}
