// The TypeScript SDK 2.x as a client: `client-v2.mjs legacy|auto URL`.
import { Client, SdkHttpError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { CAPABILITIES, arrival, elicitationResult, play, samplingResult } from './session.mjs';

const [, , mode, url] = process.argv;
const headers = JSON.parse(process.env.HEADERS ?? '{}');

const client = new Client(
  { name: 'ts-v2', version: '1' },
  { capabilities: CAPABILITIES, versionNegotiation: { mode } },
);
const log = arrival();
let subscription;
client.setRequestHandler('sampling/createMessage', samplingResult);
client.setRequestHandler('elicitation/create', elicitationResult);
client.setNotificationHandler('notifications/message', () => log.came());
client.setNotificationHandler('notifications/tools/list_changed', () => subscription && log.came());

const transport = () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });

await play({
  connect: async () => {
    await client.connect(transport());
    // Without sessions there is no GET stream: what the server has to say comes over a subscription.
    const listens = process.env.PLAY !== 'refused' && client.getNegotiatedProtocolVersion() >= '2026-07-28';
    if (listens) subscription = await client.listen({ toolsListChanged: true });
    return client.getServerVersion()?.name;
  },
  isLost: (error) => error instanceof SdkHttpError && error.status === 404,
  reconnect: async () => {
    await client.close();
    await client.connect(transport());
  },
  listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
  callTool: (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress }),
  nextLog: log.next,
  close: async () => {
    await subscription?.close();
    await client.close();
  },
});
