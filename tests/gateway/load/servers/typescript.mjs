// An MCP server on the official TypeScript SDK, after its own example with sessions. Prints its port; `/stats` tells
// how many sessions it holds.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { Server } = require("@modelcontextprotocol/sdk/server/index.js");
const { StreamableHTTPServerTransport } = require("@modelcontextprotocol/sdk/server/streamableHttp.js");

const transports = new Map();

async function opened() {
  const server = new Server({ name: "abandoned", version: "1" }, { capabilities: { tools: {} } });
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    enableJsonResponse: true,
    onsessioninitialized: (id) => void transports.set(id, transport),
  });
  transport.onclose = () => void transports.delete(transport.sessionId);
  await server.connect(transport);
  return transport;
}

const http = createServer(async (request, response) => {
  if (request.url === "/stats") {
    global.gc?.();
    return response.end(JSON.stringify({ sessions: transports.size }));
  }
  const id = request.headers["mcp-session-id"];
  const transport = id === undefined ? await opened() : transports.get(id);
  if (transport === undefined) return response.writeHead(404).end();
  await transport.handleRequest(request, response);
});

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
