// The server that the official conformance suite is run against: the tools, resources and prompts its scenarios name.
import { randomBytes } from 'node:crypto';
import {
  McpServer,
  ResourceTemplate,
  acceptedContent,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
} from '@modelcontextprotocol/server';
import { serve } from './serve-v2.mjs';

// One red pixel, and a sound without samples.
const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

const text = (value) => ({ type: 'text', text: value });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const says = (...content) => ({ content });
const resource = (uri, mimeType, value) => ({ type: 'resource', resource: { uri, mimeType, text: value } });
const object = (properties, required) => ({ type: 'object', properties, ...(required && { required }) });
const string = { type: 'string' };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const form = (message, properties, required) =>
  inputRequired.elicit({ message, requestedSchema: object(properties, required) });
const ask = (message, name) => form(message, { [name]: string }, [name]);
const sample = (prompt, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: 'user', content: text(prompt) }], maxTokens });

const states = createRequestStateCodec({ key: randomBytes(32) });
const responses = (ctx) => ctx.mcpReq.inputResponses ?? {};
const accepted = (ctx, key) => acceptedContent(ctx.mcpReq.inputResponses, key);

// A call that asks the client once and then answers with what came.
const asking = (request, answer) => (args, ctx) => {
  const response = responses(ctx).answer;
  return response ? says(text(answer(response))) : inputRequired({ inputRequests: { answer: request(args) } });
};
const completed = ({ action, content }) =>
  `Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`;

const DEFAULTS = {
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
};
const titled = (...titles) => titles.map((title, index) => ({ const: `value${index + 1}`, title }));
const OPTIONS = ['option1', 'option2', 'option3'];
const ENUMS = {
  untitledSingle: { type: 'string', enum: OPTIONS },
  titledSingle: { type: 'string', oneOf: titled('First', 'Second', 'Third') },
  legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['One', 'Two', 'Three'] },
  untitledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { type: 'string', enum: OPTIONS } },
  titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: titled('First', 'Second', 'Third') } },
};
// A schema with the words of JSON Schema 2020-12 that a server must not lose.
const WITH_2020_12 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $defs: { address: { $anchor: 'addressDef', ...object({ street: string, city: string }) } },
  ...object({
    name: string,
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: string,
    email: string,
  }),
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};
// Arguments that a client repeats as headers: Mcp-Param-Region, Mcp-Param-Priority.
const MIRRORED = { region: { ...string, 'x-mcp-header': 'Region' }, priority: { type: 'integer', 'x-mcp-header': 'Priority' } };

async function log(_args, ctx) {
  for (const data of ['started', 'at work', 'done']) {
    await ctx.mcpReq.log('info', data);
    await pause(50);
  }
  return says(text('logged'));
}

async function progress(_args, ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken ?? 0;
  for (const done of [0, 50, 100]) {
    const params = { progressToken, progress: done, total: 100, message: `${done} of 100` };
    await ctx.mcpReq.notify({ method: 'notifications/progress', params });
    await pause(50);
  }
  return says(text(String(progressToken)));
}

async function reconnect(_args, ctx) {
  ctx.http?.closeSSE?.();
  await pause(100);
  return says(text('the stream was closed and taken up again'));
}

const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';
const has = (ctx, capability) => ctx.mcpReq.envelope?.[CAPABILITIES]?.[capability] !== undefined;

function withinCapabilities(_args, ctx) {
  if (Object.keys(responses(ctx)).length > 0) return says(text('answered'));
  const inputRequests = {};
  if (has(ctx, 'sampling')) inputRequests.sample = sample('A word?', 10);
  if (has(ctx, 'elicitation')) inputRequests.name = ask('Who?', 'name');
  return inputRequired({ inputRequests });
}

function greet(_args, ctx) {
  const name = accepted(ctx, 'user_name')?.name;
  if (typeof name === 'string') return says(text(`Hello, ${name}!`));
  return inputRequired({ inputRequests: { user_name: ask('What is your name?', 'name') } });
}

async function withState(_args, ctx) {
  if (ctx.mcpReq.requestState()?.round === 1 && accepted(ctx, 'confirm')) return says(text('state-ok'));
  const confirm = form('Please confirm', { ok: { type: 'boolean' } }, ['ok']);
  return inputRequired({ inputRequests: { confirm }, requestState: await states.mint({ round: 1 }) });
}

async function manyInputs(_args, ctx) {
  const given = responses(ctx);
  if (given.user_name && given.greeting && given.client_roots) return says(text('all three came'));
  return inputRequired({
    inputRequests: {
      user_name: ask('What is your name?', 'name'),
      greeting: sample('Generate a greeting', 50),
      client_roots: inputRequired.listRoots(),
    },
    requestState: await states.mint({ round: 1 }),
  });
}

async function rounds(_args, ctx) {
  const round = ctx.mcpReq.requestState()?.round ?? 0;
  if (round === 2 && accepted(ctx, 'step2')) return says(text('both steps came'));
  const isFirst = !(round === 1 && accepted(ctx, 'step1'));
  const inputRequests = isFirst
    ? { step1: ask('Step 1: What is your name?', 'name') }
    : { step2: ask('Step 2: What is your favorite color?', 'color') };
  return inputRequired({ inputRequests, requestState: await states.mint({ round: isFirst ? 1 : 2 }) });
}

const rooted = (_args, ctx) => {
  const roots = responses(ctx).client_roots?.roots;
  if (roots) return says(text(`roots: ${roots.map((root) => root.uri)}`));
  return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
};

const capital = (_args, ctx) => {
  const answer = responses(ctx).capital_question;
  if (answer) return says(text(answer.content.text));
  return inputRequired({ inputRequests: { capital_question: sample('What is the capital of France?', 100) } });
};

const changes = (notify) => () => {
  notify();
  return says(text('changed'));
};

// Name, input, what it does.
const tools = () => [
  ['test_simple_text', {}, () => says(text('This is a simple text response for testing.'))],
  ['test_image_content', {}, () => says(image)],
  ['test_audio_content', {}, () => says({ type: 'audio', data: WAV, mimeType: 'audio/wav' })],
  ['test_embedded_resource', {}, () => says(resource('test://embedded-resource', 'text/plain', 'embedded'))],
  [
    'test_multiple_content_types',
    {},
    () => says(text('several:'), image, resource('test://mixed-content-resource', 'application/json', '{"test":1}')),
  ],
  ['test_tool_with_logging', {}, log],
  ['test_logging_tool', {}, log],
  ['test_tool_with_progress', {}, progress],
  [
    'test_error_handling',
    {},
    () => {
      throw new Error('This tool intentionally returns an error for testing');
    },
  ],
  ['test_reconnection', {}, reconnect],
  [
    'test_sampling',
    { prompt: string },
    asking(({ prompt }) => sample(prompt, 100), (response) => `LLM response: ${response.content.text}`),
  ],
  [
    'test_elicitation',
    { message: string },
    asking(
      ({ message }) => ask(message, 'response'),
      ({ action, content }) => `User response: action=${action}, content=${JSON.stringify(content ?? {})}`,
    ),
  ],
  ['test_elicitation_sep1034_defaults', {}, asking(() => form('Review', DEFAULTS), completed)],
  ['test_elicitation_sep1330_enums', {}, asking(() => form('Select', ENUMS), completed)],
  ['test_streaming_elicitation', {}, asking(() => ask('Who?', 'name'), completed)],
  ['test_custom_headers', MIRRORED, () => says(text('called'))],
  ['test_missing_capability', {}, asking(() => sample('A word?', 10), () => 'sampled')],
  ['test_trigger_tool_change', {}, changes(() => stateless.notify.toolsChanged())],
  ['test_trigger_prompt_change', {}, changes(() => stateless.notify.promptsChanged())],
  ['test_input_required_result_elicitation', {}, greet],
  ['test_input_required_result_sampling', {}, capital],
  ['test_input_required_result_list_roots', {}, rooted],
  ['test_input_required_result_request_state', {}, withState],
  ['test_input_required_result_multiple_inputs', {}, manyInputs],
  ['test_input_required_result_multi_round', {}, rounds],
  ['test_input_required_result_tampered_state', {}, withState],
  ['test_input_required_result_capabilities', {}, withinCapabilities],
];

const message = (content) => ({ role: 'user', content });

function inContext(_args, ctx) {
  const context = accepted(ctx, 'user_context')?.context;
  if (context) return { messages: [message(text(context))] };
  const user_context = ask('What context should the prompt use?', 'context');
  return inputRequired({ inputRequests: { user_context } });
}

const PROMPTS = [
  ['test_simple_prompt', undefined, () => ({ messages: [message(text('This is a simple prompt for testing.'))] })],
  [
    'test_prompt_with_arguments',
    { arg1: string, arg2: string },
    ({ arg1, arg2 }) => ({ messages: [message(text(`arg1='${arg1}', arg2='${arg2}'`))] }),
  ],
  [
    'test_prompt_with_embedded_resource',
    { resourceUri: string },
    ({ resourceUri }) => ({
      messages: [message(resource(resourceUri, 'text/plain', 'embedded')), message(text('Use the resource.'))],
    }),
  ],
  ['test_prompt_with_image', undefined, () => ({ messages: [message(image), message(text('Look at the image.'))] })],
  ['test_input_required_result_prompt', {}, inContext],
];

function registerResources(server) {
  const fixed = (name, mimeType, content) => {
    const uri = `test://${name}`;
    server.registerResource(name, uri, { mimeType }, () => ({ contents: [{ uri, mimeType, ...content }] }));
  };
  fixed('static-text', 'text/plain', { text: 'This is the content of the static text resource.' });
  fixed('static-binary', 'image/png', { blob: PNG });
  fixed('watched-resource', 'text/plain', { text: 'watched' });
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  server.registerResource('template', template, { mimeType: 'application/json' }, (uri, { id }) => {
    const data = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
    return { contents: [{ uri: uri.href, mimeType: 'application/json', text: data }] };
  });
}

function makeServer() {
  const server = new McpServer(
    { name: 'conformance-fixture', version: '1' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: states.verify },
    },
  );
  for (const [name, input, run] of tools()) {
    const inputSchema = fromJsonSchema(object(input, Object.keys(input)));
    server.registerTool(name, { description: `For the scenario ${name}`, inputSchema }, run);
  }
  const schema2020 = { description: 'Keeps its schema', inputSchema: fromJsonSchema(WITH_2020_12) };
  server.registerTool('json_schema_2020_12_tool', schema2020, () => says(text('called')));
  for (const [name, input, run] of PROMPTS) {
    const argsSchema = input && fromJsonSchema(object(input, Object.keys(input)));
    server.registerPrompt(name, { description: `For the scenario ${name}`, argsSchema }, argsSchema ? run : (ctx) => run({}, ctx));
  }
  registerResources(server);
  server.server.setRequestHandler('resources/subscribe', () => ({}));
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  const nothing = { completion: { values: [], total: 0, hasMore: false } };
  server.server.setRequestHandler('completion/complete', () => nothing);
  return server;
}

const stateless = serve(makeServer);
