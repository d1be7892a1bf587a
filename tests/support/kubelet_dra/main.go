// kubelet's own plugin manager and DRA manager, without the rest of a kubelet.
//
// It watches a folder for plugins, and does what it is told on standard input, one line of JSON for each command:
//
//	{"do": "prepare", "namespace": "default", "pod": "user"}
//
// with "prepare", "devices" (the CDI names that the container runtime would get), "health" (what kubelet would
// write into the Pod's status) or "unprepare". The answer is a line of JSON: {"error": "..."} or {"said": [...]}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm/dra"
	"k8s.io/kubernetes/pkg/kubelet/pluginmanager"
)

type command struct{ Do, Namespace, Pod string }

type answer struct {
	Error string   `json:"error,omitempty"`
	Said  []string `json:"said"`
}

// ready stands for kubelet's sources of Pods. Never all ready: nothing is unprepared behind the test's back.
type ready struct{}

func (ready) AddSource(string) {}
func (ready) AllReady() bool   { return false }

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of the cluster")
	registry := flag.String("registry", "", "folder of registration sockets")
	state := flag.String("state", "", "folder of kubelet's own checkpoint")
	node := flag.String("node", "", "name of the Node")
	flag.Parse()
	ctx := context.Background()
	stopIf(feature.DefaultMutableFeatureGate.Set("ResourceHealthStatus=true")) // off by default before 1.36
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	stopIf(err)
	client, err := kubernetes.NewForConfig(config)
	stopIf(err)
	manager, err := dra.NewManager(klog.Background(), client, *state)
	stopIf(err)
	noPods := func() []*v1.Pod { return nil }
	self := func(ctx context.Context) (*v1.Node, error) {
		return client.CoreV1().Nodes().Get(ctx, *node, metav1.GetOptions{})
	}
	stopIf(manager.Start(ctx, noPods, asGetNode(self), ready{}))
	plugins := pluginmanager.NewPluginManager(*registry, &record.FakeRecorder{})
	plugins.AddHandler(registration.DRAPlugin, manager.GetWatcherHandler())
	go run(ctx, plugins)

	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked command
		stopIf(json.Unmarshal(lines.Bytes(), &asked))
		said, err := do(ctx, client, manager, asked)
		told := answer{Said: said}
		if err != nil {
			told.Error = err.Error()
		}
		stopIf(out.Encode(told))
	}
}

func do(ctx context.Context, client kubernetes.Interface, manager *dra.Manager, asked command) ([]string, error) {
	pod, err := client.CoreV1().Pods(asked.Namespace).Get(ctx, asked.Pod, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	said := []string{}
	switch asked.Do {
	case "prepare":
		return said, manager.PrepareResources(ctx, pod)
	case "unprepare":
		return said, manager.UnprepareResources(ctx, pod)
	case "devices":
		info, err := manager.GetResources(pod, &pod.Spec.Containers[0])
		if err != nil {
			return nil, err
		}
		for _, device := range info.CDIDevices {
			said = append(said, device.Name)
		}
	case "health":
		status := v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{{Name: pod.Spec.Containers[0].Name}}}
		addHealth(manager, pod, &status)
		for _, entry := range status.ContainerStatuses[0].AllocatedResourcesStatus {
			for _, resource := range entry.Resources {
				said = append(said, string(resource.Health))
			}
		}
	default:
		return nil, fmt.Errorf("do %q: unknown", asked.Do)
	}
	return said, nil
}

func stopIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
