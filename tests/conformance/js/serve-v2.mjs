// Serves an `McpServer` of the TypeScript SDK 2.x in both eras: sessions for clients that initialize, none for
// those of 2026-07-28.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import {
  NodeStreamableHTTPServerTransport,
  localhostHostValidation,
  localhostOriginValidation,
  toNodeHandler,
  toWebRequest,
} from '@modelcontextprotocol/node';
import { createMcpHandler, isLegacyRequest } from '@modelcontextprotocol/server';

// Events of a session's streams, to be sent again to a client that resumes one.
class Events {
  #events = [];

  async storeEvent(stream, message) {
    this.#events.push({ stream, message });
    return `${stream}:${this.#events.length - 1}`;
  }

  async getStreamIdForEventId(id) {
    return this.#events[this.#position(id)]?.stream;
  }

  async replayEventsAfter(id, { send }) {
    const stream = await this.getStreamIdForEventId(id);
    for (let next = this.#position(id) + 1; next < this.#events.length; next += 1) {
      const event = this.#events[next];
      // A stream's first event has no message.
      if (event.stream === stream && Object.keys(event.message).length > 0) await send(`${stream}:${next}`, event.message);
    }
    return stream;
  }

  #position = (id) => Number(id.slice(id.lastIndexOf(':') + 1));
}

const refuse = (res, status, message) =>
  res
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ jsonrpc: '2.0', error: { code: -32600, message } }));

async function bodyOf(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return undefined;
  }
}

// `makeServer()` gives a new server; `modern` are options for clients without sessions.
export function serve(makeServer, modern = {}) {
  const sessions = new Map();
  const stateless = createMcpHandler(makeServer, { legacy: 'reject', ...modern });
  const withoutSession = toNodeHandler(stateless);

  async function open(req, res, body) {
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: 500,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    transport.onclose = () => sessions.delete(transport.sessionId);
    await makeServer().connect(transport);
    await transport.handleRequest(req, res, body);
  }

  async function inSession(req, res, body) {
    const id = req.headers['mcp-session-id'];
    const transport = sessions.get(id);
    if (transport) await transport.handleRequest(req, res, body);
    else if (id !== undefined) refuse(res, 404, 'Session not found');
    else if (body?.method === 'initialize') await open(req, res, body);
    else refuse(res, 400, 'No session');
  }

  const isAllowed = [localhostHostValidation(), localhostOriginValidation()];
  createServer(async (req, res) => {
    if (!isAllowed.every((allows) => allows(req, res))) return;
    if (!req.url.startsWith('/mcp')) return refuse(res, 404, 'Not here');
    const body = req.method === 'POST' ? await bodyOf(req) : undefined;
    const legacy = req.method !== 'POST' || body === undefined || (await isLegacyRequest(await toWebRequest(req, body), body));
    if (legacy) await inSession(req, res, body);
    else await withoutSession(req, res, body);
  }).listen();
  return stateless;
}
