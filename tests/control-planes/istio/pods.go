package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"

	"istio.io/istio/pilot/pkg/config/kube/gatewaycommon"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/revisions"
	"istio.io/istio/pkg/test"
)

// Prints the Deployment that Istio makes for the one Gateway of the files, from its own template.
//
// Usage: discovery pods TEMPLATE FILE...
func pods(template string, files []string) error {
	_, others, err := documents(files)
	if err != nil {
		return err
	}
	objects, err := decoded(others)
	if err != nil {
		return err
	}
	config, err := injection(template)
	if err != nil {
		return err
	}
	return test.Wrap(func(t test.Failer) {
		select {
		case deployment := <-made(t, config, objects):
			fmt.Println(string(deployment))
		case <-time.After(time.Minute):
			t.Fatal("Istio makes no Deployment of this")
		}
	})
}

// Runs Istio's controller over these objects, and gives the Deployments that it writes.
func made(t test.Failer, config inject.WebhookConfig, objects []runtime.Object) <-chan []byte {
	client := kube.NewFakeClient(objects...)
	written := make(chan []byte, 10)
	client.Dynamic().(*dynamicfake.FakeDynamicClient).PrependReactor("patch", "*",
		func(action k8stesting.Action) (bool, runtime.Object, error) {
			patch := action.(k8stesting.PatchAction)
			if patch.GetResource().Resource == "deployments" {
				written <- patch.GetPatch()
			}
			return true, nil, nil
		})
	environment := model.NewEnvironment()
	environment.Watcher = meshwatcher.NewTestWatcher(mesh.DefaultMeshConfig())
	environment.PushContext().InitDone.Store(true)
	stop := test.NewStop(t)
	watcher := revisions.NewTagWatcher(client, "", constants.IstioSystemNamespace)
	go watcher.Run(stop)
	controller := gatewaycommon.NewDeploymentController(client, constants.DefaultClusterName, environment,
		func() inject.WebhookConfig { return config }, func(func()) {}, watcher, "", constants.IstioSystemNamespace)
	client.RunAndWait(stop)
	go controller.Run(stop)
	return written
}

// What Istio's chart would have the control plane read: the template of a gateway's pods, and few values.
func injection(template string) (inject.WebhookConfig, error) {
	text, err := os.ReadFile(template)
	if err != nil {
		return inject.WebhookConfig{}, err
	}
	values, err := inject.NewValuesConfig("global: {hub: example.com, tag: latest}")
	if err != nil {
		return inject.WebhookConfig{}, err
	}
	templates, err := inject.ParseTemplates(map[string]string{"kube-gateway": string(text)})
	return inject.WebhookConfig{Templates: templates, Values: values, MeshConfig: mesh.DefaultMeshConfig()}, err
}

// The objects of Kubernetes' own kinds.
func decoded(text string) ([]runtime.Object, error) {
	var objects []runtime.Object
	for _, document := range strings.Split(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		object, _, err := kube.IstioCodec.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}
