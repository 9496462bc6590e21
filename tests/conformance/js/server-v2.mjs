// A server on the TypeScript SDK 2.x with the tools that the sessions of the matrix call.
import { McpServer, acceptedContent, fromJsonSchema, inputRequired } from '@modelcontextprotocol/server';
import { serve } from './serve-v2.mjs';

const text = (value) => ({ content: [{ type: 'text', text: value }] });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const object = (properties) => fromJsonSchema({ type: 'object', properties });

async function operate({ duration, steps }, ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (let progress = 1; progress <= steps; progress += 1) {
    await pause((duration * 1000) / steps);
    if (progressToken === undefined) continue;
    await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
  }
  return text('completed');
}

function sample({ prompt }, ctx) {
  const answer = ctx.mcpReq.inputResponses?.answer;
  if (answer) return text(answer.content.text);
  const messages = [{ role: 'user', content: { type: 'text', text: prompt } }];
  return inputRequired({
    inputRequests: { answer: inputRequired.createMessage({ messages, maxTokens: 10 }) },
  });
}

function elicit(_args, ctx) {
  const content = acceptedContent(ctx.mcpReq.inputResponses, 'form');
  if (content) return text(content.name);
  const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
  return inputRequired({ inputRequests: { form: inputRequired.elicit({ message: 'Who?', requestedSchema }) } });
}

function makeServer() {
  const server = new McpServer({ name: 'ts-v2', version: '1' }, { capabilities: { logging: {}, tools: { listChanged: true } } });
  const tool = (name, properties, run) => server.registerTool(name, { inputSchema: object(properties) }, run);
  const number = { type: 'number' };
  const string = { type: 'string' };
  tool('echo', { message: string }, ({ message }) => text(`Echo: ${message}`));
  tool('trigger-long-running-operation', { duration: number, steps: number }, operate);
  tool('trigger-sampling-request', { prompt: string, maxTokens: number }, sample);
  tool('trigger-elicitation-request', {}, elicit);
  tool('toggle-simulated-logging', {}, async () => {
    // Belongs to no request: it takes the GET stream, or the subscriptions of clients without sessions.
    stateless.notify.toolsChanged();
    await server.server.notification({ method: 'notifications/message', params: { level: 'error', data: 'a line' } });
    return text('logged');
  });
  return server;
}

const stateless = serve(makeServer);
