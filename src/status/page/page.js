'use strict';
// Every text of the document becomes a text node, never markup.
const EVERY_MS = 2000, TIMEOUT_MS = 5000, MOST_SAMPLES = 450;
const $ = id => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const samples = [];
let before = null, timer = 0, paused = false, seen = null, reading = false;

function element(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const h = (name, attributes = {}, ...children) => element(document.createElement(name), attributes, children);
const s = (name, attributes = {}, ...children) => element(document.createElementNS(SVG, name), attributes, children);
const count = number => Number(number).toLocaleString('en');
const rate = number => (number >= 10 ? count(Math.round(number)) : String(Math.round(number * 100) / 100));
const clock = date => date.toLocaleTimeString('en-GB');

function span(seconds) {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0 s';
  const parts = [];
  let rest = seconds;
  for (const [unit, size] of units.slice(first, first + 2)) {
    if (rest >= size) parts.push(Math.floor(rest / size) + ' ' + unit);
    rest %= size;
  }
  return parts.join(' ');
}

// A bar of what is taken of a cap; without a cap only the number.
function meter(what, taken, more, cap) {
  const sum = taken + more;
  const level = cap > 0 && sum >= cap ? 'full' : cap > 0 && sum >= cap * 0.8 ? 'near' : '';
  const words = count(taken) + (more ? ' + ' + count(more) + ' opening' : '') +
    (cap > 0 ? ' of ' + count(cap) : ', no cap') +
    (level === 'full' ? ': full' : level === 'near' ? ': nearly full' : '');
  const box = h('div', {class: 'meter ' + level}, h('p', {}, h('span', {}, what), h('span', {}, words)));
  if (cap > 0) {
    const part = number => {
      const bar = h('i');
      bar.style.width = Math.min(100, 100 * number / cap) + '%';
      return bar;
    };
    box.append(h('div', {class: 'track', role: 'meter', 'aria-label': what, 'aria-valuemin': 0, 'aria-valuemax': cap,
      'aria-valuenow': Math.min(sum, cap), 'aria-valuetext': words}, part(taken), part(more)));
  }
  return box;
}

function labelled(title, numbers) {
  const there = Object.entries(numbers).filter(([, number]) => number > 0);
  return h('div', {}, h('h4', {}, title), there.length
    ? h('ul', {}, ...there.map(([label, number]) => h('li', {}, label.replaceAll('_', ' ') + ' ' + count(number))))
    : h('p', {class: 'faint'}, 'none yet'));
}

function card(endpoint) {
  const {name, path, transport, configured} = endpoint;
  return h('article', {class: configured ? 'card' : 'card gone'},
    h('h3', {}, name),
    h('p', {class: 'faint'}, h('code', {}, path ?? 'path unknown'), transport === 'http_sse' ? ' HTTP+SSE' : ''),
    ...configured ? [] : [h('p', {}, h('strong', {}, 'No configuration names it any more.'), ' Its sessions end by the times they had.')],
    meter('Sessions', endpoint.active, endpoint.reserved, endpoint.limit),
    meter('Streams', endpoint.streams, 0, endpoint.streams_limit),
    h('div', {class: 'groups'},
      labelled('Came', {created: endpoint.created, adopted: endpoint.adopted, 'passed untracked': endpoint.untracked}),
      labelled('Ended', endpoint.ended),
      labelled('Refused', endpoint.rejected),
      labelled('POSTs by revision', endpoint.requests)));
}

function fleet({limit, share, used, lost, gateways}) {
  const row = one => h('li', {}, h('code', {}, one.gateway), ' ' + count(one.share) +
    (one.self ? ', this one' : '') + (one.waiting ? ', wants more' : ''));
  return [
    meter('Shares of all gateways', gateways.reduce((sum, one) => sum + one.share, 0), 0, limit),
    lost ? h('p', {}, h('strong', {}, 'Lost: etcd gives this gateway no lease.'))
      : h('p', {}, 'This gateway has ' + count(used) + ' sessions, and a share of ' + count(share) + '.'),
    h('ul', {}, ...gateways.map(row))];
}

function table(list) {
  if (!list.length) return h('p', {class: 'faint'}, 'There are none.');
  const head = ['Session', 'Endpoint', 'Age', 'Idle', 'In use'].map(title => h('th', {scope: 'col'}, title));
  const row = one => h('tr', {}, h('th', {scope: 'row'}, h('code', {}, one.session ?? 'not shown')),
    ...[one.endpoint ?? '–', span(one.age_s), span(one.idle_s), one.in_use ? 'yes' : 'no'].map(text => h('td', {}, text)));
  return h('table', {}, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...list.map(row)));
}

// The counters of all endpoints together, by chart and label.
function totals(view) {
  const all = {Opened: {created: 0, adopted: 0}, Ended: {}, Refused: {}};
  for (const endpoint of view.endpoints) {
    all.Opened.created += endpoint.created;
    all.Opened.adopted += endpoint.adopted;
    for (const [chart, numbers] of [['Ended', endpoint.ended], ['Refused', endpoint.rejected]]) {
      for (const [label, number] of Object.entries(numbers)) all[chart][label] = (all[chart][label] ?? 0) + number;
    }
  }
  return all;
}

function sample(view) {
  const now = performance.now(), all = totals(view);
  if (before) {
    const seconds = Math.max(0.001, (now - before.now) / 1000), rates = {};
    for (const [chart, numbers] of Object.entries(all)) {
      rates[chart] = {};
      // A counter that fell belongs to a gateway that was started anew.
      for (const [label, number] of Object.entries(numbers)) {
        rates[chart][label] = Math.max(0, number - (before.all[chart][label] ?? 0)) / seconds;
      }
    }
    samples.push({now, rates});
    if (samples.length > MOST_SAMPLES) samples.shift();
  }
  before = {now, all};
}

function plot(chart) {
  const labels = Object.keys(before.all[chart]);
  const shown = labels.filter(label => samples.some(one => one.rates[chart][label] > 0));
  const most = Math.max(0, ...samples.flatMap(one => shown.map(label => one.rates[chart][label] ?? 0)));
  const start = samples.length ? samples[0].now : 0;
  const length = samples.length ? samples[samples.length - 1].now - start : 0;
  const style = label => { const at = labels.indexOf(label); return 'c' + at % 6 + ' d' + Math.floor(at / 6); };
  const line = label => samples.map((one, index) => (index ? 'L' : 'M') +
    (length ? 300 * (one.now - start) / length : 0).toFixed(1) + ' ' +
    (98 - 94 * (one.rates[chart][label] ?? 0) / (most || 1)).toFixed(1)).join('');
  const last = label => rate(samples[samples.length - 1].rates[chart][label] ?? 0);
  const words = shown.length ? shown.map(label => label.replaceAll('_', ' ') + ' ' + last(label)).join(', ') : 'none';
  return h('figure', {class: 'card'}, h('figcaption', {}, chart),
    s('svg', {class: 'plot', viewBox: '0 0 300 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': chart + ' each second, now: ' + words},
      ...shown.map(label => s('path', {class: style(label), d: line(label)}))),
    h('p', {class: 'axis'}, h('span', {}, length ? 'last ' + span(Math.round(length / 1000)) : 'just opened'), h('span', {}, 'most ' + rate(most))),
    shown.length ? h('ul', {}, ...shown.map(label => h('li', {},
      s('svg', {class: 'key', viewBox: '0 0 30 10', 'aria-hidden': 'true'}, s('path', {class: style(label), d: 'M0 5L30 5'})),
      label.replaceAll('_', ' ') + ' ' + last(label)))) : h('p', {class: 'faint'}, 'none so far'));
}

function show(view) {
  $('version').textContent = view.version;
  $('vm').replaceChildren(
    meter('Sessions of all endpoints', view.vm.active, view.vm.reserved, view.vm.limit),
    h('p', {class: 'faint'}, 'The table takes ' + count(Math.ceil(view.vm.table_bytes / 1024)) + ' KiB.'));
  $('of-fleet').hidden = !view.fleet;
  if (view.fleet) $('fleet').replaceChildren(...fleet(view.fleet));
  $('endpoints').replaceChildren(...view.endpoints.length ? view.endpoints.map(card) : [h('p', {class: 'faint'}, 'No endpoint is governed.')]);
  $('rates').replaceChildren(...['Opened', 'Ended', 'Refused'].map(plot));
  $('partial').hidden = !view.partial;
  for (const list of ['oldest', 'most_idle']) $(list).replaceChildren(table(view[list]));
}

async function read() {
  if (reading) return;
  reading = true;
  try {
    const answer = await fetch(location.pathname, {headers: {accept: 'application/json'}, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS)});
    if (!answer.ok) throw new Error('the answer is ' + answer.status);
    const view = await answer.json();
    sample(view);
    show(view);
    seen = new Date();
    $('state').textContent = 'as of ' + clock(seen);
    $('trouble').hidden = true;
  } catch (error) {
    const since = seen ? 'The numbers are those of ' + clock(seen) + '.' : 'There are no numbers yet.';
    const text = 'No answer from the gateway: ' + error.message + '. ' + since + ' The page goes on trying.';
    if ($('trouble').hidden || $('trouble').textContent !== text) $('trouble').textContent = text;
    $('trouble').hidden = false;
  }
  reading = false;
}

async function go() {
  clearTimeout(timer);
  if (!document.hidden) await read();
  clearTimeout(timer);
  if (!paused) timer = setTimeout(go, EVERY_MS);
}

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', paused);
  if (paused) clearTimeout(timer);
  else go();
});
document.addEventListener('visibilitychange', () => { if (!document.hidden && !paused) go(); });
$('curl').textContent = 'curl ' + location.origin + location.pathname;
go();
