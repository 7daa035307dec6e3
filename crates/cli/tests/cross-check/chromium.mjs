// Chromium as a client of our server: `node chromium.mjs CHROMIUM HOST:PORT` prints, as one line of JSON, how many
// demands are met and which are not.
//
// The server has no pages, and a page of another origin is refused: DevTools answer a request for `/page` in its place.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { conversations } from './conversations.mjs';

const [, , chromium, host] = process.argv;
const port = host.split(':')[1];
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
  '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update',
  '--remote-debugging-port=0',
  // A page that DevTools answer for is of no network, and would not be let into this machine's.
  '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets'];

// Everything but the echo, in the page.
async function requests(host) {
  const problems = [];
  let passed = 0;
  const demand = (name, found, wanted) => {
    if (found === wanted) passed += 1;
    else problems.push(`${name}: ${found}, not ${wanted}`);
  };
  const WANTED = 50;
  const row = Array.from({ length: WANTED }, (_, index) => index + 1).join();

  for (const length of [0, 1, 65_536, 1 << 20]) {
    const bytes = Uint8Array.from({ length }, (_, index) => index * 31 + (index >> 8));
    const reply = await fetch('/echo', { method: 'POST', body: bytes });
    const echoed = new Uint8Array(await reply.arrayBuffer());
    const isSame = echoed.length === length && echoed.every((byte, index) => byte === bytes[index]);
    demand(`fetch: ${length} bytes come back`, isSame, true);
  }
  const made = await fetch('/updates/topics/checked?rate=500&bytes=16', { method: 'PUT' });
  demand('a topic is made', made.status, 201);

  const events = await new Promise((resolve) => {
    const ids = [];
    const source = new EventSource('/updates/stream?topic=checked&since=0');
    source.onmessage = ({ data, lastEventId }) => {
      ids.push(/^\d+ [0-o]{16}$/.test(data) ? lastEventId : `wrong data ${data}`);
      if (ids.length === WANTED) {
        source.close();
        resolve(ids.join());
      }
    };
    source.onerror = () => resolve(`an error after ${ids.length} events`);
  });
  demand('EventSource: events in order', events, row);

  const abort = new AbortController();
  const headers = { 'Last-Event-ID': '10' };
  const stream = await fetch('/updates/stream?topic=checked&since=0', { headers, signal: abort.signal });
  demand('fetch: type of the stream', stream.headers.get('content-type'), 'text/event-stream');
  const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (text.split('\n\n').length < 5) text += (await reader.read()).value;
  demand('fetch: the stream goes on after Last-Event-ID', /^id: 11\ndata: \d+ [0-o]{16}\n\nid: 12\n/.test(text), true);
  abort.abort();

  for (const path of ['/updates/poll?topic=checked&since=0', '/updates/long-poll?topic=checked&since=0']) {
    const reply = await fetch(path);
    const lines = (await reply.text()).trimEnd().split('\n');
    demand(`fetch: ${path}`, lines.slice(0, WANTED).map((line) => line.split(' ')[0]).join(), row);
  }
  const pushed = await new Promise((resolve) => {
    const sequences = [];
    const socket = new WebSocket(`ws://${host}/ws/updates?topic=checked&since=0`);
    socket.onmessage = ({ data }) => {
      sequences.push(data.split(' ')[1]);
      if (sequences.length === WANTED) resolve(sequences.join());
    };
    socket.onclose = ({ code }) => resolve(`closed with ${code}`);
  });
  demand('WebSocket: updates in order', pushed, row);
  return { passed, problems };
}

// Whether a page may open a WebSocket.
function knock(url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve('opened');
    socket.onerror = () => resolve('refused');
  });
}

async function main() {
  const profile = await mkdtemp(join(tmpdir(), 'cross-check-'));
  const stdio = ['ignore', 'ignore', 'pipe'];
  const browser = spawn(chromium, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], { stdio });
  const ended = new Promise((resolve) => browser.on('exit', resolve));
  try {
    const page = await attach(await devTools(browser));
    const results = [];
    await page.visit(`http://${host}/page`);
    results.push(await page.evaluate(`(${conversations})(WebSocket, 'ws://${host}/ws/echo')`));
    results.push(await page.evaluate(`(${requests})('${host}')`));
    for (const [origin, wanted] of [[`http://${host}`, 'opened'], [`http://localhost:${port}`, 'refused']]) {
      await page.visit(`${origin}/page`);
      const found = await page.evaluate(`(${knock})('ws://${host}/ws/echo')`);
      const problems = found === wanted ? [] : [`a WebSocket of a page of ${origin} is ${found}, not ${wanted}`];
      results.push({ passed: 1 - problems.length, problems });
    }
    const passed = results.reduce((sum, result) => sum + result.passed, 0);
    console.log(JSON.stringify({ passed, problems: results.flatMap((result) => result.problems) }));
  } finally {
    browser.kill();
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

// Returns the address of the browser's DevTools.
function devTools(browser) {
  return new Promise((resolve, reject) => {
    let said = '';
    browser.on('error', reject);
    browser.on('exit', (code) => reject(new Error(`Chromium ended with ${code}: ${said}`)));
    browser.stderr.on('data', (data) => {
      said += data;
      const found = /DevTools listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
  });
}

// Opens a tab, in which every page called `/page` is an empty one.
async function attach(address) {
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
  const waiting = new Map();
  let number = 0;
  let sessionId;
  let loaded = () => {};
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    number += 1;
    waiting.set(number, { resolve, reject });
    socket.send(JSON.stringify({ id: number, method, params, sessionId }));
  });
  socket.on('message', (data) => {
    const { id, error, result, method, params } = JSON.parse(data);
    if (method === 'Page.loadEventFired') loaded();
    if (method === 'Fetch.requestPaused') {
      const { requestId } = params;
      const responseHeaders = [{ name: 'content-type', value: 'text/html' }];
      send('Fetch.fulfillRequest', { requestId, responseCode: 200, responseHeaders, body: btoa('<p>page</p>') });
    }
    if (!waiting.has(id)) return;
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  });
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  sessionId = (await send('Target.attachToTarget', { targetId, flatten: true })).sessionId;
  await send('Page.enable');
  await send('Fetch.enable', { patterns: [{ urlPattern: '*/page' }] });
  return {
    async visit(url) {
      const isLoaded = new Promise((resolve) => { loaded = resolve; });
      const { errorText } = await send('Page.navigate', { url });
      if (errorText) throw new Error(`${url}: ${errorText}`);
      await isLoaded;
    },
    async evaluate(expression) {
      const asked = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails: thrown } = await send('Runtime.evaluate', asked);
      if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
      return result.value;
    },
  };
}

await main();
process.exit();
