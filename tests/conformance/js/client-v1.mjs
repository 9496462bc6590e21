// The TypeScript SDK 1.x as a client: `client-v1.mjs http|sse|remote URL`. `remote` talks stdio to mcp-remote.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport, StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { CAPABILITIES, arrival, elicitationResult, play, samplingResult } from './session.mjs';

const [, , kind, url] = process.argv;
const headers = JSON.parse(process.env.HEADERS ?? '{}');

function transport() {
  const options = { requestInit: { headers } };
  switch (kind) {
    case 'http':
      return new StreamableHTTPClientTransport(new URL(url), options);
    case 'sse':
      return new SSEClientTransport(new URL(url), options);
    case 'remote':
      return new StdioClientTransport({
        command: process.execPath,
        args: [remote(), url, '--allow-http', ...remoteHeaders()],
        env: process.env,
        stderr: 'ignore',
      });
  }
}

function remote() {
  const manifest = createRequire(import.meta.url).resolve('mcp-remote/package.json');
  return join(dirname(manifest), 'dist/proxy.js');
}

const remoteHeaders = () => Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}:${value}`]);

const client = new Client({ name: 'ts-v1', version: '1' }, { capabilities: CAPABILITIES });
const log = arrival();
client.setRequestHandler(CreateMessageRequestSchema, samplingResult);
client.setRequestHandler(ElicitRequestSchema, elicitationResult);
client.setNotificationHandler(LoggingMessageNotificationSchema, () => log.came());

await play({
  connect: async () => {
    await client.connect(transport());
    return client.getServerVersion()?.name;
  },
  isLost: (error) => error instanceof StreamableHTTPError && error.code === 404,
  reconnect: async () => {
    await client.close();
    await client.connect(transport());
  },
  listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
  callTool: (name, args, onprogress) =>
    client.callTool({ name, arguments: args }, CallToolResultSchema, { onprogress }),
  nextLog: log.next,
  close: () => client.close(),
});
