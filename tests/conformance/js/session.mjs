// One session, played step by step. A client library is given as the few functions that the steps need; what each
// step came to is printed as one line of JSON.

import { existsSync, writeFileSync } from 'node:fs';

const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 10_000);

export const SAMPLED = 'sampled by the client';
export const ELICITED = 'elicited from the user';
export const CAPABILITIES = { sampling: {}, elicitation: {} };
export const samplingResult = () => ({
  model: 'none',
  role: 'assistant',
  content: { type: 'text', text: SAMPLED },
});
export const elicitationResult = () => ({ action: 'accept', content: { name: ELICITED } });

const TOOLS = [
  'echo',
  'trigger-long-running-operation',
  'trigger-sampling-request',
  'trigger-elicitation-request',
  'toggle-simulated-logging',
];

export const textOf = (result) => (result.content ?? []).map((part) => part.text ?? '').join(' ');
const short = (text) => String(text).replace(/\s+/g, ' ').trim().slice(0, 200);

function bounded(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`HANGS: ${what}: nothing in ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Plays steps in order; each is [name, function]. A connection that fails ends the play.
async function playSteps(steps, isVital) {
  const outcome = {};
  for (const [name, step] of steps) {
    try {
      outcome[name] = { ok: true, detail: short(await bounded(step(), name)) };
    } catch (error) {
      outcome[name] = { ok: false, detail: short(error?.message ?? error) };
      if (isVital(name)) break;
    }
  }
  return outcome;
}

function expectText(text, part) {
  if (!text.includes(part)) throw new Error(`no "${part}" in: ${text}`);
  return part;
}

// The whole session: list, call, progress, sampling, elicitation, a notification over the GET stream.
function wholeSession(client) {
  const call = async (name, args, onProgress) => textOf(await client.callTool(name, args, onProgress));
  return [
    ['connect', async () => client.connect()],
    ['list', () => allTools(client)],
    ['echo', async () => expectText(await call('echo', { message: 'hello' }), 'hello')],
    [
      'progress',
      async () => {
        let seen = 0;
        const text = await call('trigger-long-running-operation', { duration: 0.4, steps: 4 }, () => (seen += 1));
        expectText(text, 'completed');
        // The last one comes with the result, and a library may drop what comes after the result: mcp-remote does, which
        // forwards each message by itself, also with nothing between it and the server.
        if (seen < 3) throw new Error(`${seen} of 4 notifications`);
        return 'came';
      },
    ],
    [
      'sampling',
      async () => expectText(await call('trigger-sampling-request', { prompt: 'p', maxTokens: 10 }), SAMPLED),
    ],
    ['elicitation', async () => expectText(await call('trigger-elicitation-request', {}), ELICITED)],
    [
      'notification',
      async () => {
        const came = client.nextLog();
        await call('toggle-simulated-logging', {});
        await came;
        return 'came';
      },
    ],
    ['close', async () => client.close()],
  ];
}

// Servers may register tools once they know the client's capabilities, a moment after the session has begun.
async function allTools(client) {
  const deadline = Date.now() + PATIENCE_MS / 2;
  for (;;) {
    const names = await client.listTools();
    const wanted = client.tools ?? TOOLS;
    const missing = wanted.filter((name) => !names.includes(name));
    if (missing.length === 0) return `all ${wanted.length}`;
    if (Date.now() > deadline) throw new Error(`without ${missing}`);
  }
}

// What a refusal somewhere does to a client: it calls, and calls again.
function refusedSession(client) {
  const call = async (message) => expectText(textOf(await client.callTool('echo', { message })), message);
  return [
    ['connect', async () => client.connect()],
    ['list', async () => `${(await client.listTools()).length > 0}`],
    ['call', () => call('one')],
    ['again', () => call('two')],
    ['close', async () => client.close()],
  ];
}

// A file in the folder $RESTART asks for another server in the place of this one, and a file there tells that it is up.
async function restarted() {
  const folder = process.env.RESTART;
  writeFileSync(`${folder}/wanted`, '');
  while (!existsSync(`${folder}/done`)) await new Promise((resolve) => setTimeout(resolve, 20));
  return 'another server';
}

// The server is replaced, and has lost the session. `again` is what the library does about it by itself. Then the host
// of the client does what the specification asks for: it begins anew where the library says that the session is gone.
function lostSession(client) {
  const call = async (message) => expectText(textOf(await client.callTool('echo', { message })), message);
  let last;
  return [
    ['connect', async () => client.connect()],
    ['call', () => call('one')],
    ['restart', restarted],
    [
      'again',
      () =>
        call('two').catch((error) => {
          last = error;
          throw error;
        }),
    ],
    [
      'served',
      async () => {
        if (last && client.isLost?.(last)) await client.reconnect();
        return call('three');
      },
    ],
    ['close', async () => client.close()],
  ];
}

const PLAYS = { refused: refusedSession, lost: lostSession };

export async function play(client) {
  const all = (PLAYS[process.env.PLAY] ?? wholeSession)(client);
  const steps = all.filter(([name]) => !client.without?.includes(name));
  const outcome = await playSteps(steps, (name) => name === 'connect');
  console.log(JSON.stringify(outcome));
  process.exit(0);
}

// One value that comes later: `next()` waits for what `came()` brings.
export function arrival() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { next: () => promise, came: (value) => resolve(value) };
}
