package main

import (
	"context"
	"errors"
	"sync"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	mcpgo "github.com/mark3labs/mcp-go/server"
)

// counting is the library's own manager of sessions, whose table nobody else can see.
type counting struct {
	mcpgo.SessionIdManager
	lock sync.Mutex
	held map[string]bool
}

func (c *counting) Generate() string {
	id := c.SessionIdManager.Generate()
	c.lock.Lock()
	defer c.lock.Unlock()
	c.held[id] = true
	return id
}

func (c *counting) Terminate(id string) (bool, error) {
	notAllowed, err := c.SessionIdManager.Terminate(id)
	if err == nil && !notAllowed {
		c.lock.Lock()
		defer c.lock.Unlock()
		delete(c.held, id)
	}
	return notAllowed, err
}

func (c *counting) count() int {
	c.lock.Lock()
	defer c.lock.Unlock()
	return len(c.held)
}

// mcpGoServer keeps its sessions: as it comes it knows none, and takes any id.
func mcpGoServer() server {
	sessions := &counting{SessionIdManager: &mcpgo.InsecureStatefulSessionIdManager{}, held: map[string]bool{}}
	tools := mcpgo.NewMCPServer("mcp-go", "1", mcpgo.WithToolCapabilities(false))
	echo := func(_ context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(request.GetString("message", "")), nil
	}
	tools.AddTool(mcp.NewTool("echo", mcp.WithString("message", mcp.Required())), echo)
	return server{mcpgo.NewStreamableHTTPServer(tools, mcpgo.WithSessionIdManager(sessions)), sessions.count}
}

func mcpGoClient(url string) session {
	var opened *client.Client
	return session{
		connect: func(ctx context.Context) (err error) {
			opened, err = client.NewStreamableHttpClient(url, transport.WithContinuousListening())
			if err != nil {
				return err
			}
			if err = opened.Start(ctx); err != nil {
				return err
			}
			request := mcp.InitializeRequest{}
			request.Params.ProtocolVersion = "2025-11-25"
			request.Params.ClientInfo = mcp.Implementation{Name: "mcp-go", Version: "1"}
			_, err = opened.Initialize(ctx, request)
			return err
		},
		list: func(ctx context.Context) (names []string, err error) {
			tools, err := opened.ListTools(ctx, mcp.ListToolsRequest{})
			if err != nil {
				return nil, err
			}
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			return names, nil
		},
		call: func(ctx context.Context, tool string, arguments map[string]any) (string, error) {
			request := mcp.CallToolRequest{}
			request.Params.Name, request.Params.Arguments = tool, arguments
			result, err := opened.CallTool(ctx, request)
			if err != nil {
				return "", err
			}
			text, isText := result.Content[0].(mcp.TextContent)
			if !isText {
				return "", errors.New("no text")
			}
			return text.Text, nil
		},
		close: func() error { return opened.Close() },
	}
}
