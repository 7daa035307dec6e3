// What a WebSocket with the browser's interface says to an echo, and what it demands. `ws.mjs` runs this in Node, and
// `chromium.mjs` its text in a page: it may use nothing from outside.

export async function conversations(WebSocket, url) {
  const problems = [];
  let passed = 0;
  const demand = (name, found, wanted) => {
    if (found === wanted) passed += 1;
    else problems.push(`${name}: ${found}, not ${wanted}`);
  };
  const open = () => new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error(`no WebSocket at ${url}`));
  });
  const next = (socket) => new Promise((resolve) => {
    socket.onmessage = ({ data }) => resolve(data);
    socket.onclose = ({ code }) => resolve(`closed with ${code}`);
  });
  const ended = (socket) => new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve(`${code} ${reason} ${wasClean ? 'clean' : 'cut'}`);
  });
  const isSame = (one, other) => one.length === other.length && one.every((byte, index) => byte === other[index]);
  const letters = (length) => 'sockrates '.repeat(length / 10 + 1).slice(0, length);

  const socket = await open();
  demand('extensions', socket.extensions, '');
  demand('subprotocol', socket.protocol, '');
  for (const length of [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) {
    const text = letters(length);
    socket.send(text);
    demand(`text of ${length} bytes comes back`, await next(socket) === text, true);
    const bytes = Uint8Array.from({ length }, (_, index) => index * 31 + (index >> 8));
    socket.send(bytes);
    const echoed = await next(socket);
    demand(`${length} binary bytes are binary`, echoed instanceof ArrayBuffer, true);
    demand(`${length} binary bytes come back`, isSame(new Uint8Array(echoed), bytes), true);
  }
  for (const text of ['grüß €uch 𝄞', '\u0000\uffff']) {
    socket.send(text);
    demand('text beyond ASCII', await next(socket), text);
  }
  const many = Array.from({ length: 1000 }, (_, index) => `message ${index}`);
  const received = [];
  const all = new Promise((resolve) => {
    socket.onmessage = ({ data }) => received.push(data) === many.length && resolve();
    socket.onclose = resolve;
  });
  many.forEach((message) => socket.send(message));
  await all;
  demand('messages at once come back in order', received.join(), many.join());
  const end = ended(socket);
  socket.close();
  // Without a code there is none to come back (RFC 6455, 7.1.5).
  demand('close without a code', await end, '1005  clean');

  for (const code of [1000, 3000, 3999, 4000, 4999]) {
    const closing = await open();
    const over = ended(closing);
    closing.close(code, 'enough');
    demand(`close with ${code}`, await over, `${code} enough clean`);
  }
  return { passed, problems };
}
