// The MCP Inspector's command line as a client: `inspector.mjs URL`. Each command is a session of its own.
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { play } from './session.mjs';

const [, , url] = process.argv;
const headers = Object.entries(JSON.parse(process.env.HEADERS ?? '{}'));

const manifest = createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json');
const INSPECTOR = join(dirname(manifest), 'clients/launcher/build/index.js');

function command(...args) {
  const given = headers.flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
  const all = [INSPECTOR, '--cli', url, '--transport', 'http', ...given, '--method', ...args];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, all, (error, stdout, stderr) => {
      if (error) reject(new Error(`exit ${error.code}: ${stderr || stdout}`));
      else resolve(JSON.parse(stdout));
    });
  });
}

await play({
  // What a terminal cannot answer, and what comes when no command waits for it.
  without: ['sampling', 'elicitation', 'notification', 'progress', 'close'],
  tools: ['echo', 'trigger-long-running-operation'],
  connect: async () => 'one session a command',
  listTools: async () => (await command('tools/list')).tools.map((tool) => tool.name),
  callTool: (name, args) =>
    command('tools/call', '--tool-name', name, '--tool-arg', ...Object.entries(args).map((pair) => pair.join('='))),
});
