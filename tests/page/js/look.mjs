// Opens the page of the status view in Chromium, in each theme and at each width, and says what is wrong with it.
// Usage: node look.mjs STATE ADDRESS DIRECTORY-OF-PICTURES CHROMIUM
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [state, address, pictures, executablePath] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 740 } };
// What can be reached, and what the page must say, in each state.
const SAYS = {
  empty: ['0 of 10,000', 'There are none.', 'none yet', 'none so far'],
  few: ['/mcp', '/tools', 'client delete', 'session not found', 'invalid message', 'created', '</script><img/src=x'],
  full: ['6 of 6: full', '2 of 2: full', 'capacity', 'yes'],
  million: ['of 1,000,000', 'more sessions than one look can read'],
  removed: ['No configuration names it any more.', '/tools', '2 of 50'],
};

const faults = [];
const wrong = (where, what) => faults.push(`${where}: ${what}`);

const browser = await chromium.launch({
  executablePath,
  // Root has no sandbox in a container. The only page that is opened is our own.
  args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
});
const looks = ['light', 'dark'].flatMap(colorScheme => Object.entries(WIDTHS).map(async ([name, viewport]) => {
  const reducedMotion = name === 'phone' ? 'reduce' : 'no-preference';
  const context = await browser.newContext({ colorScheme, viewport, reducedMotion });
  await look(await context.newPage(), `${state}-${colorScheme}-${name}`, reducedMotion);
  await context.close();
}));
await Promise.all(looks);
await browser.close();

for (const fault of faults) console.log(`WRONG  ${fault}`);
console.log(`${state}: ${faults.length ? `${faults.length} faults` : 'right'}, pictures in target/page`);
process.exitCode = faults.length ? 1 : 0;

async function look(page, where, reducedMotion) {
  let tolerant = false;
  page.on('console', message => {
    if (!tolerant && ['error', 'warning'].includes(message.type())) wrong(where, `the console says: ${message.text()}`);
  });
  page.on('pageerror', error => wrong(where, `the script fails: ${error.message}`));
  page.on('dialog', dialog => wrong(where, `a dialog opens: ${dialog.message()}`));
  page.on('request', request => {
    if (request.url() !== address && !request.url().startsWith('data:')) wrong(where, `a request to ${request.url()}`);
  });
  let documents = 0;
  page.on('response', response => {
    if (response.headers()['content-type'] === 'application/json') documents += 1;
  });
  await page.goto(address);
  await until(where, 'it reads the document five times', () => documents >= 5, 30_000);
  await page.waitForFunction(() => document.getElementById('state').textContent.startsWith('as of'));
  await page.screenshot({ path: `${pictures}/${where}.png`, fullPage: true });

  const text = await page.innerText('body');
  for (const words of SAYS[state]) if (!text.includes(words)) wrong(where, `it does not say "${words}"`);
  if (await page.title() !== 'MCP sessions') wrong(where, `its title is "${await page.title()}"`);
  const foreign = await page.evaluate(() => document.querySelectorAll('img, iframe, object, embed, body script ~ script').length);
  if (foreign) wrong(where, 'there are elements that came from an id');
  const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (tooWide > 0) wrong(where, `it is ${tooWide} pixels too wide`);
  const moves = await page.evaluate(() => [...document.querySelectorAll('.track i')].some(bar => getComputedStyle(bar).transitionDuration !== '0s'));
  if (reducedMotion === 'reduce' && moves) wrong(where, 'its bars move, though the reader wants no motion');

  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  for (const { id, help, nodes } of violations) {
    wrong(where, `axe ${id}: ${help}: ${nodes.slice(0, 3).map(node => node.target.join(' ')).join(', ')}`);
  }
  await keyboard(page, where);
  if (state === 'few') {
    tolerant = true;
    await silence(page, where);
  }
}

// Every element that can act, and every part that scrolls, is reached by the Tab key, and shows that it is.
async function keyboard(page, where) {
  await page.evaluate(() => { document.activeElement?.blur(); globalThis.scrollTo(0, 0); });
  const wanted = await page.evaluate(() => {
    const scrolls = element => ['auto', 'scroll'].includes(getComputedStyle(element).overflowY) &&
      (element.scrollHeight > element.clientHeight || element.scrollWidth > element.clientWidth);
    const all = [...document.querySelectorAll('body *')];
    return all.filter(element => element.matches('a[href], button, input, select, summary, [tabindex]') || scrolls(element)).map(element => element.id);
  });
  const reached = new Set();
  for (let press = 0; press < wanted.length + 2; press += 1) {
    await page.keyboard.press('Tab');
    const focus = await page.evaluate(() => {
      const { id, tagName } = document.activeElement;
      return { id, tagName, outline: getComputedStyle(document.activeElement).outlineStyle };
    });
    if (focus.tagName !== 'BODY' && focus.outline === 'none') wrong(where, `the focus on ${focus.id} does not show`);
    reached.add(focus.id);
  }
  for (const id of wanted) if (!reached.has(id)) wrong(where, `the keyboard does not reach "${id}"`);
  await page.focus('#pause');
  for (const pressed of ['true', 'false']) {
    await page.keyboard.press(pressed === 'true' ? 'Enter' : 'Space');
    const now = await page.getAttribute('#pause', 'aria-pressed');
    if (now !== pressed) wrong(where, `the key leaves Pause at ${now}`);
  }
  const list = page.locator('#oldest');
  if (await list.evaluate(element => element.scrollHeight > element.clientHeight + 40)) {
    await list.focus();
    await page.keyboard.press('PageDown');
    await until(where, 'the key scrolls the list', () => list.evaluate(element => element.scrollTop > 0), 5000);
  }
}

// The gateway gives no answer, and then it does again.
async function silence(page, where) {
  const trouble = page.locator('#trouble');
  await page.route(address, route => route.abort());
  await until(where, 'it says that there is no answer', () => trouble.isVisible(), 15_000);
  const text = (await trouble.textContent()) ?? '';
  if (!/No answer from the gateway: .*\. The numbers are those of \d\d:\d\d:\d\d\./.test(text)) wrong(where, `it says "${text}"`);
  if (where === 'few-light-desktop') await page.screenshot({ path: `${pictures}/no-answer.png`, fullPage: true });
  await page.unroute(address);
  await until(where, 'it shows that there are answers again', () => trouble.isHidden(), 15_000);
}

async function until(where, what, condition, milliseconds) {
  const end = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > end) return wrong(where, `not within ${milliseconds / 1000} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}
