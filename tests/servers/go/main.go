// The official Go SDK and mcp-go as servers and clients:
//
//	servers serve sdk|mcp-go    on a loopback port, which goes into the file $READY; /held tells how many sessions it holds
//	servers play  sdk|mcp-go URL    a session opened, used and closed; the last line printed is what came of each step
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// A step of a session that has no answer by then hangs.
const patience = 10 * time.Second

type server struct {
	handler http.Handler
	held    func() int
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("servers serve|play sdk|mcp-go [URL]")
	}
	switch os.Args[1] {
	case "serve":
		serve(map[string]func() server{"sdk": sdkServer, "mcp-go": mcpGoServer}[os.Args[2]]())
	case "play":
		play(map[string]func(string) session{"sdk": sdkClient, "mcp-go": mcpGoClient}[os.Args[2]](os.Args[3]))
	}
}

// serve mounts the server at every path, as the examples of both libraries do, but for /held.
func serve(server server) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	tell(listener.Addr().(*net.TCPAddr).Port)
	handler := func(answer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/held" {
			fmt.Fprintf(answer, "%d", server.held())
			return
		}
		server.handler.ServeHTTP(answer, request)
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(handler)))
}

// tell writes the port so that nobody reads half of it.
func tell(port int) {
	ready := os.Getenv("READY")
	if err := os.WriteFile(ready+".part", []byte(fmt.Sprint(port)), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(ready+".part", ready); err != nil {
		log.Fatal(err)
	}
}

// session is what a client library can do.
type session struct {
	connect func(context.Context) error
	list    func(context.Context) ([]string, error)
	call    func(context.Context, string, map[string]any) (string, error)
	close   func() error
}

type outcome struct {
	Ok     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func play(session session) {
	steps := []struct {
		name string
		take func(context.Context) (string, error)
	}{
		{"connect", func(ctx context.Context) (string, error) { return "", session.connect(ctx) }},
		{"list", func(ctx context.Context) (string, error) {
			names, err := session.list(ctx)
			return strings.Join(names, " "), err
		}},
		{"echo", func(ctx context.Context) (string, error) {
			return session.call(ctx, "echo", map[string]any{"message": "hello"})
		}},
		{"close", func(context.Context) (string, error) { return "", session.close() }},
	}
	outcomes := map[string]outcome{}
	// A session hangs on the context it was opened with, and so this ends with the process.
	for _, step := range steps {
		detail, err := bounded(step.take)
		if err != nil {
			detail = err.Error()
		}
		outcomes[step.name] = outcome{err == nil, detail}
		if err != nil && step.name == "connect" {
			break
		}
	}
	line, _ := json.Marshal(outcomes)
	fmt.Println(string(line))
}

func bounded(step func(context.Context) (string, error)) (string, error) {
	type result struct {
		detail string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		detail, err := step(context.Background())
		done <- result{detail, err}
	}()
	select {
	case result := <-done:
		return result.detail, result.err
	case <-time.After(patience):
		return "", fmt.Errorf("HANGS: nothing in %v", patience)
	}
}
