package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type message struct {
	Message string `json:"message"`
}

func sdkServer() server {
	sdk := mcp.NewServer(&mcp.Implementation{Name: "go-sdk", Version: "1"}, nil)
	echo := func(_ context.Context, _ *mcp.CallToolRequest, said message) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: said.Message}}}, nil, nil
	}
	mcp.AddTool(sdk, &mcp.Tool{Name: "echo", Description: "Says the message back"}, echo)
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return sdk }, nil)
	held := func() int {
		count := 0
		for range sdk.Sessions() {
			count++
		}
		return count
	}
	return server{handler, held}
}

func sdkClient(url string) session {
	client := mcp.NewClient(&mcp.Implementation{Name: "go-sdk", Version: "1"}, nil)
	var opened *mcp.ClientSession
	return session{
		connect: func(ctx context.Context) (err error) {
			opened, err = client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url}, nil)
			return err
		},
		list: func(ctx context.Context) (names []string, err error) {
			tools, err := opened.ListTools(ctx, nil)
			if err != nil {
				return nil, err
			}
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			return names, nil
		},
		call: func(ctx context.Context, tool string, arguments map[string]any) (string, error) {
			result, err := opened.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
			if err != nil {
				return "", err
			}
			text, isText := result.Content[0].(*mcp.TextContent)
			if !isText {
				return "", errors.New("no text")
			}
			return text.Text, nil
		},
		close: func() error { return opened.Close() },
	}
}
