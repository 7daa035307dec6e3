// A target for sockrates in Node: see docs/TARGET.md.
//
// Whatever keeps to that page can be measured. This does, with `node:http` and `ws`, but for the floor, the flags and
// the report of usage; of the rules for slow subscribers it has what keeps them from filling the memory.

import { createServer, ServerResponse } from 'node:http';
import { parseArgs } from 'node:util';
import { WebSocket, WebSocketServer } from 'ws';

const MESSAGE_LIMIT = 1 << 20;
const HISTORY_BYTES = 4 << 20;
const HISTORY_UPDATES = 4096;
const MOST = 16_384;
const MOST_GAMES = 1024;
const LARGEST = 2n ** 64n - 1n;
const TEXT = { 'content-type': 'text/plain' };
const BINARY = { 'content-type': 'application/octet-stream' };

const now = () => process.hrtime.bigint();
const refusal = (status, message, headers = {}) => Object.assign(new Error(message), { status, headers });
const headOf = (sequence) => ({ 'x-sockrates-head': sequence });

// Returns a BigInt: not every seed is exact in another number.
function number(text, name, least, most, headers) {
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (value >= least && value <= most) return value;
  throw refusal(400, `${name} must be a whole number from ${least} to ${most}`, headers);
}

function checkName(name) {
  if (!/^[\w.-]{1,64}$/.test(name)) throw refusal(400, 'a name is 1 to 64 letters, digits, `-`, `_` and `.`');
}

// The words that the quarter rounds of ChaCha mix: columns, then diagonals.
const QUARTERS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

// The key stream of ChaCha8 that belongs to a purpose.
function keyStream(seed, index, purpose, length) {
  const start = Buffer.alloc(64);
  start.write('expand 32-byte k');
  start.writeBigUInt64LE(seed, 16);
  start.writeBigUInt64LE(BigInt(index), 24);
  start.write(purpose, 32);
  const input = Uint32Array.from({ length: 16 }, (_, word) => start.readUInt32LE(4 * word));
  const words = new Uint32Array(16);
  const mix = (to, from, turned, bits) => {
    words[to] += words[from];
    const word = words[turned] ^ words[to];
    words[turned] = (word << bits) | (word >>> (32 - bits));
  };
  const stream = Buffer.alloc(Math.ceil(length / 64) * 64);
  // The counter's upper word would be needed from 256 GiB on.
  for (let offset = 0; offset < length; offset += 64, input[12] += 1) {
    words.set(input);
    for (let rounds = 0; rounds < 8; rounds += 2) {
      for (const [a, b, c, d] of QUARTERS) {
        mix(a, b, d, 16);
        mix(c, d, b, 12);
        mix(a, b, d, 8);
        mix(c, d, b, 7);
      }
    }
    for (let word = 0; word < 16; word += 1) stream.writeUInt32LE((words[word] + input[word]) >>> 0, offset + 4 * word);
  }
  return stream.subarray(0, length);
}

const fixedPayload = keyStream(0n, 0, 'payload', MESSAGE_LIMIT);

function textPayload(seed, index, length) {
  return keyStream(seed, index, 'payload', length).map((byte) => 0x30 + (byte & 63)).toString('latin1');
}

// What the clock publishes and clients wait for: the updates of a topic, the ticks of a game.
class Publication {
  start = now();
  isOver = false;
  listeners = new Set();

  constructor(name, specification) {
    Object.assign(this, { name, specification });
  }

  wakeAll() {
    for (const wake of this.listeners) wake();
  }

  end() {
    this.isOver = true;
    this.wakeAll();
  }

  run() {
    const { bytes, seed } = this.specification;
    let next, due, payload;
    // Made before it is due, so that making it does not delay it.
    const prepare = (number) => {
      next = number;
      // The slowest are due at infinity, which no `BigInt` holds.
      due = this.start + BigInt(Math.floor(Math.min(this.dueAfterNs(next), Number.MAX_SAFE_INTEGER)));
      payload = textPayload(seed, next, bytes);
    };
    const turn = () => {
      if (this.isOver) return;
      // However much is overdue, others have a turn in between.
      for (let count = 0; count < 64 && due <= now(); count += 1) {
        if (this.latestDue?.() > next) prepare(this.latestDue());
        this.publish(next, due, payload);
        prepare(next + 1);
      }
      const leftMs = Number(due - now()) / 1e6;
      // A timer counts whole milliseconds, up to 31 bits of them, and may ring too early by less than one.
      if (leftMs > 0) setTimeout(turn, Math.min(Math.ceil(leftMs), 2 ** 31 - 1));
      else setImmediate(turn);
    };
    prepare(1);
    turn();
  }
}

class Topic extends Publication {
  head = 0;
  history = new Map();
  afterNs = 0;

  constructor(name, specification) {
    super(name, specification);
    // Its lines are about equally long, so that their number bounds their bytes.
    this.kept = Math.max(1, Math.min(HISTORY_UPDATES, Math.floor(HISTORY_BYTES / (specification.bytes + 24))));
  }

  get oldest() {
    return Math.max(this.head - this.kept + 1, 1);
  }

  dueAfterNs(sequence) {
    const { rate, isPeriodic, seed } = this.specification;
    const random = keyStream(seed, sequence, 'instant', 6).readUIntLE(0, 6) / 2 ** 48;
    const phase = sequence === 1 ? random : 1;
    this.afterNs += ((isPeriodic ? phase : -Math.log(1 - random)) * 1e9) / rate;
    return this.afterNs;
  }

  // An update is encoded once for all who get it.
  publish(sequence, due, payload) {
    this.history.delete(sequence - this.kept);
    this.history.set(sequence, {
      line: `${sequence} ${due} ${payload}\n`,
      event: `id: ${sequence}\ndata: ${due} ${payload}\n\n`,
      message: Buffer.from(`${this.name} ${sequence} ${due} ${payload}`),
    });
    this.head = sequence;
    this.wakeAll();
  }
}

class Game extends Publication {
  tick = 0;
  players = new Map();

  dueAfterNs(tick) {
    return (tick * 1e9) / this.specification.rate;
  }

  latestDue() {
    return Math.floor((Number(now() - this.start) * this.specification.rate) / 1e9);
  }

  publish(tick, due, payload) {
    Object.assign(this, { tick, stamps: `${tick} ${due} ${now()}`, payload });
    for (const player of this.players.values()) player.acknowledged = player.largest;
    this.wakeAll();
  }

  snapshot(player) {
    return `${this.stamps} ${player.acknowledged} ${this.payload}`;
  }

  player(name) {
    if (this.players.size >= MOST && !this.players.has(name)) throw refusal(503, 'too many players');
    if (!this.players.has(name)) this.players.set(name, { largest: 0n, acknowledged: 0n, socket: undefined });
    return this.players.get(name);
  }
}

const topics = new Map([['default', new Topic('default', { rate: 0, bytes: 0 })]]);
const games = new Map();
const rooms = new Map();

// All text is ASCII, so that its length is its number of bytes.
function reply(response, status, headers = {}, body = '') {
  response.writeHead(status, status === 204 ? headers : { ...headers, 'content-length': body.length });
  response.end(body);
}

function refuse(request, response, error) {
  if (!error.status) throw error;
  const [status, text] = [error.status, `${error.message}\n`];
  if (status !== 413) return reply(response, status, { ...TEXT, ...error.headers }, text);
  // To end the response would close the socket, and what still comes be answered by a reset that overtakes the reply:
  // only this direction ends.
  response.writeHead(status, { ...TEXT, connection: 'close', 'content-length': text.length });
  response.write(text, () => request.socket.end());
  request.resume();
}

async function readBody({ request, response }) {
  const tooLong = () => refusal(413, 'body above the limit');
  if (request.headers['content-length'] > MESSAGE_LIMIT) throw tooLong();
  if (request.upgrade) throw refusal(400, 'a body cannot come with an upgrade');
  if (request.headers.expect) response.writeContinue();
  return new Promise((resolve, reject) => {
    const pieces = [];
    let length = 0;
    request.on('data', (piece) => {
      length += piece.length;
      if (length > MESSAGE_LIMIT) reject(tooLong());
      else pieces.push(piece);
    });
    request.on('end', () => resolve(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)));
  });
}

function sendPayload({ response, query }) {
  const bytes = number(query.get('bytes'), 'bytes', 0, MESSAGE_LIMIT);
  reply(response, 200, BINARY, fixedPayload.subarray(0, Number(bytes)));
}

// Makes a topic or a game, in the place of what has its name.
function make({ response, name, query }, all, most, Kind, rateName) {
  const rate = query.get(rateName) ?? '';
  const isRate = /^[\d.]+(e-?\d+)?$/i.test(rate) && rate <= 1e6 && (rate > 0 || all === topics);
  if (!isRate) throw refusal(400, `${rateName} must be a rate up to 1000000`);
  const arrivals = query.get('arrivals') ?? 'poisson';
  if (!['poisson', 'periodic'].includes(arrivals)) throw refusal(400, 'arrivals must be poisson or periodic');
  const bytes = Number(number(query.get('bytes') ?? '64', 'bytes', 0, MESSAGE_LIMIT));
  const seed = number(query.get('seed') ?? '1', 'seed', 0, LARGEST);
  const former = all.get(name);
  if (!former && all.size >= most) throw refusal(503, 'there are too many already');
  const made = new Kind(name, { rate: Number(rate), isPeriodic: arrivals === 'periodic', bytes, seed });
  all.set(name, made);
  former?.end();
  if (rate > 0) made.run();
  reply(response, former ? 200 : 201, all === topics ? headOf(0) : {});
}

// Finds a topic, and the sequence after which a client wants its updates.
function findPlace(name, since) {
  const topic = topics.get(name ?? 'default');
  if (!topic) throw refusal(404, 'no such topic');
  const { head, oldest } = topic;
  const known = Number(number(since ?? `${head}`, 'since', 0, head, headOf(head)));
  if (known + 1 >= oldest) return { topic, known };
  throw refusal(410, 'the history does not reach back so far', { ...headOf(head), 'x-sockrates-oldest': oldest });
}

function sendNews(response, { topic, known }) {
  if (topic.isOver || topic.head === known) return reply(response, 204, headOf(known));
  let lines = '';
  for (let sequence = known + 1; sequence <= topic.head; sequence += 1) lines += topic.history.get(sequence).line;
  reply(response, 200, { ...TEXT, ...headOf(topic.head) }, lines);
}

function poll({ response, query }) {
  sendNews(response, findPlace(query.get('topic'), query.get('since')));
}

function longPoll({ response, query }) {
  const place = findPlace(query.get('topic'), query.get('since'));
  const { head, listeners } = place.topic;
  const timeout = number(query.get('timeout_ms') ?? '25000', 'timeout_ms', 1, 30_000, headOf(head));
  if (place.known < head) return sendNews(response, place);
  const answer = () => response.headersSent || sendNews(response, place);
  const timer = setTimeout(answer, Number(timeout));
  listeners.add(answer);
  response.on('close', () => {
    clearTimeout(timer);
    listeners.delete(answer);
  });
}

// Tells a client what is new in some topics, each from its history and as fast as the client reads.
function follow(connection, places, tell) {
  const silence = setInterval(tell.signOfLife, 15_000);
  const stop = () => {
    clearInterval(silence);
    for (const { topic } of places) topic.listeners.delete(wake);
    connection.off('drain', wake).off('close', stop);
  };
  const wake = () => {
    connection.cork();
    for (const place of places) {
      const { topic } = place;
      const isEnd = () => topic.isOver || place.known + 1 < topic.oldest;
      while (place.known < topic.head && !isEnd() && !connection.writableNeedDrain) {
        place.known += 1;
        tell.update(topic.history.get(place.known));
        silence.refresh();
      }
      if (isEnd()) {
        stop();
        tell.end(topic.isOver ? undefined : topic.oldest);
        break;
      }
    }
    connection.uncork();
  };
  for (const { topic } of places) topic.listeners.add(wake);
  connection.on('drain', wake).on('close', stop);
  wake();
}

function stream({ request, response, query }) {
  const place = findPlace(query.get('topic'), request.headers['last-event-id'] ?? query.get('since'));
  const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store', ...headOf(place.topic.head) };
  response.writeHead(200, headers).flushHeaders();
  follow(request.socket, [place], {
    update: ({ event }) => response.write(event),
    signOfLife: () => response.write(': keep-alive\n\n'),
    end: (oldest) => response.end(oldest && `event: gap\ndata: ${oldest}\n\n`),
  });
}

function findPlayer(query) {
  const [gameName, playerName] = ['game', 'player'].map((name) => query.get(name) ?? '');
  [gameName, playerName].forEach(checkName);
  const game = games.get(gameName);
  if (!game) throw refusal(404, 'no such game');
  return { game, player: game.player(playerName) };
}

// Takes an input; returns whether it is one.
function take(player, input) {
  const [text] = String(input).split(' ', 1);
  const taken = /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
  if (taken > player.largest) player.largest = taken;
  return taken > 0n;
}

async function postInput(exchange) {
  const { player } = findPlayer(exchange.query);
  if (!take(player, await readBody(exchange))) throw refusal(400, 'an input begins with its number');
  reply(exchange.response, 204);
}

function sendSnapshot({ response, query }) {
  const { game, player } = findPlayer(query);
  const since = number(query.get('since') ?? '0', 'since', 0, LARGEST);
  if (game.tick > since) reply(response, 200, TEXT, `${game.snapshot(player)}\n`);
  else reply(response, 204);
}

// `ws` would wait for the client's Close before it ends the connection.
function part(socket, code, reason) {
  socket.close(code, reason);
  socket.connection.end();
}

// Like the others that open a WebSocket, it checks the request and returns what will serve the socket.
function openUpdates({ request, query }) {
  const names = query.has('topic') ? query.getAll('topic') : ['default'];
  const sinces = query.getAll('since');
  const isPaired = sinces.length === 0 || sinces.length === names.length;
  if (names.length > 1024 || !isPaired) throw refusal(400, 'up to 1024 topics, and `since` for each or for none');
  const places = names.map((name, index) => findPlace(name, sinces[index]));
  request.heads = places.map(({ topic }) => topic.head).join(',');
  return (socket) => follow(socket.connection, places, {
    update: ({ message }) => socket.send(message, { binary: false }),
    signOfLife: () => socket.ping(),
    end: (oldest) => (oldest ? part(socket, 4410, `oldest ${oldest}`) : part(socket, 1012, 'topic replaced')),
  });
}

function openRoom({ name }) {
  if (rooms.size >= MOST && !rooms.has(name)) throw refusal(503, 'too many rooms');
  return (socket) => {
    const members = rooms.get(name) ?? new Set();
    rooms.set(name, members.add(socket));
    socket.on('message', (data, binary) => {
      for (const member of members) {
        if (member.bufferedAmount > HISTORY_BYTES) part(member, 4410, 'too slow');
        else member.send(data, { binary });
      }
    });
    socket.on('close', () => {
      members.delete(socket);
      if (members.size === 0) rooms.delete(name);
    });
  };
}

function openGame({ query }) {
  const { game, player } = findPlayer(query);
  if (player.socket?.readyState === WebSocket.OPEN) throw refusal(409, 'this player is connected already');
  return (socket) => {
    player.socket = socket;
    let shown = game.tick;
    let isSending = false;
    // The next is chosen when one has gone, so that a slow player sees the latest.
    const show = () => {
      if (game.isOver) return part(socket, 1012, 'game replaced');
      if (isSending || shown === game.tick) return;
      [shown, isSending] = [game.tick, true];
      socket.send(game.snapshot(player), () => {
        isSending = false;
        show();
      });
    };
    game.listeners.add(show);
    socket.on('close', () => game.listeners.delete(show));
    socket.on('message', (data) => take(player, data) || part(socket, 1007));
  };
}

const ROUTES = {
  '/echo': ['POST', async (exchange) => reply(exchange.response, 200, BINARY, await readBody(exchange))],
  '/payload': ['GET', sendPayload],
  '/updates/poll': ['GET', poll],
  '/updates/long-poll': ['GET', longPoll],
  '/updates/stream': ['GET', stream],
  '/updates/topics/': ['PUT', (exchange) => make(exchange, topics, MOST, Topic, 'rate')],
  '/duplex/games/': ['PUT', (exchange) => make(exchange, games, MOST_GAMES, Game, 'hz')],
  '/duplex/input': ['POST', postInput],
  '/duplex/snapshot': ['GET', sendSnapshot],
  '/healthz': ['GET', ({ response }) => reply(response, 200, TEXT, 'ok')],
  '/ws/echo': ['GET', () => (socket) => socket.on('message', (data, binary) => socket.send(data, { binary }))],
  '/ws/updates': ['GET', openUpdates],
  '/ws/room/': ['GET', openRoom],
  '/ws/duplex': ['GET', openGame],
};

// Has what belongs to a path answer; returns what serves the socket, if it takes a WebSocket.
function route(request, response) {
  const [path, query] = request.url.split('?', 2);
  const [prefix] = /^\/(updates\/topics|duplex\/games|ws\/room)\//.exec(path) ?? [path];
  if (!Object.hasOwn(ROUTES, prefix)) throw refusal(404, 'no such path');
  const [method, answer] = ROUTES[prefix];
  if (request.method !== method) throw refusal(405, 'wrong method, see Allow', { allow: method });
  const name = path.slice(prefix.length);
  if (prefix.endsWith('/')) checkName(name);
  return answer({ request, response, name, query: new URLSearchParams(query) });
}

const UPGRADE = { connection: 'upgrade, close', upgrade: 'websocket', 'sec-websocket-version': '13' };
const upgradeNeeded = () => refusal(426, 'WebSocket version 13 only', UPGRADE);

async function answer(request, response) {
  try {
    if (await route(request, response)) throw upgradeNeeded();
  } catch (error) {
    refuse(request, response, error);
  }
}

// Key and subprotocols are left to `ws`.
function checkHandshake({ httpVersion, headers, headersDistinct }) {
  const { upgrade, origin, 'sec-websocket-version': version } = headers;
  if (upgrade.toLowerCase() !== 'websocket' || version !== '13') throw upgradeNeeded();
  if (httpVersion !== '1.1' || headersDistinct.host?.length !== 1) throw refusal(400, 'bad handshake');
  const isHere = origin?.toLowerCase().replace(/^https?:/, '') === `//${headers.host.toLowerCase()}`;
  if (origin !== undefined && !isHere) throw refusal(403, 'origin is not this server');
}

// Once a client has asked for an upgrade, Node leaves the connection to this.
function upgrade(request, connection, early) {
  const respond = (answerWith) => {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(connection.resume());
    response.on('finish', () => connection.end());
    answerWith(request, response);
  };
  connection.on('error', () => connection.destroy());
  if (!request.url.startsWith('/ws/')) return respond(answer);
  try {
    const serve = route(request);
    checkHandshake(request);
    webSockets.handleUpgrade(request, connection, early, (socket) => {
      // `ws` has told the client what it did wrong.
      socket.on('error', () => {});
      serve(Object.assign(socket, { connection }));
    });
  } catch (error) {
    respond((_, response) => refuse(request, response, error));
  }
}

const webSockets = new WebSocketServer({
  noServer: true,
  maxPayload: MESSAGE_LIMIT,
  // Any number of them: their bytes are limited.
  maxFragments: 0,
  perMessageDeflate: false,
  handleProtocols: () => false,
});
webSockets.on('headers', (headers, { heads }) => heads && headers.push(`x-sockrates-head: ${heads}`));

const server = createServer({ noDelay: true, keepAliveTimeout: 75_000 }, answer);
server.on('checkContinue', answer).on('upgrade', upgrade);

// Replies under way get a second.
function stop() {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  for (const socket of webSockets.clients) socket.terminate();
  setTimeout(() => process.exit(0), 1000);
}

const { values } = parseArgs({ options: { port: { type: 'string' }, 'stop-with-stdin': { type: 'boolean' } } });
process.on('SIGTERM', stop).on('SIGINT', stop);
if (values['stop-with-stdin']) process.stdin.resume().on('close', stop);
server.listen({ host: '127.0.0.1', port: Number(values.port ?? 0), backlog: 4096 }, () => {
  console.log(JSON.stringify({ ready: true, http: `127.0.0.1:${server.address().port}` }));
});
