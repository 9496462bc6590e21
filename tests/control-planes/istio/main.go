// Istio's own discovery server, without a cluster: it reads resources from files and serves them over xDS on the
// loopback. pilot-discovery itself does not start without a cluster; Istio's test harness does, and serves the same.
//
// Usage: discovery ADDRESS FILE..., or discovery pods TEMPLATE FILE...
//
// At an address it prints "serves" when it does, and at each line that it reads it takes the files anew and prints "updated": what
// `kubectl apply` is to a cluster. It ends when its input ends.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: discovery ADDRESS FILE FILE..., or discovery pods TEMPLATE FILE..."))
	}
	if err := logToStderr(); err != nil {
		fail(err)
	}
	run := func() error { return serve(os.Args[1], os.Args[2:]) }
	if os.Args[1] == "pods" {
		run = func() error { return pods(os.Args[2], os.Args[3:]) }
	}
	if err := run(); err != nil {
		fail(err)
	}
}

// Has Istio's log go where it is not among what this program prints.
func logToStderr() error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	return log.Configure(options)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serve(address string, files []string) error {
	istio, others, err := documents(files)
	if err != nil {
		return err
	}
	return test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			ConfigString:           istio,
			KubernetesObjectString: others,
			ListenerBuilder:        func() (net.Listener, error) { return net.Listen("tcp", address) },
		})
		fmt.Println("serves")
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if err := update(server.Store(), files); err != nil {
				t.Fatal(err)
			}
			fmt.Println("updated")
		}
	})
}

// The documents of the files: those of Istio's own kinds, and all others.
func documents(files []string) (istio, others string, err error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			if strings.Contains(document, ".istio.io/v1") {
				istio += document + "\n---\n"
			} else {
				others += document + "\n---\n"
			}
		}
	}
	return istio, others, nil
}

// Takes Istio's kinds anew. What is the same stays as it is.
func update(store model.ConfigStore, files []string) error {
	istio, _, err := documents(files)
	if err != nil {
		return err
	}
	resources, _, err := crd.ParseInputs(istio)
	if err != nil {
		return err
	}
	for _, resource := range resources {
		old := store.Get(resource.GroupVersionKind, resource.Name, resource.Namespace)
		if old == nil {
			return fmt.Errorf("%s %s is new", resource.GroupVersionKind, resource.Name)
		}
		if proto.Equal(old.Spec.(proto.Message), resource.Spec.(proto.Message)) {
			continue
		}
		changed := old.DeepCopy()
		changed.Spec = resource.Spec
		if _, err := store.Update(changed); err != nil {
			return err
		}
	}
	return nil
}
