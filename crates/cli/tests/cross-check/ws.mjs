// The library `ws` as a client of our server: `node ws.mjs HOST:PORT` prints, as one line of JSON, how many demands
// are met and which are not.

import { WebSocket } from 'ws';
import { conversations } from './conversations.mjs';

const url = `ws://${process.argv[2]}/ws/echo`;
const result = await conversations(WebSocket, url);

const socket = new WebSocket(url);
await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
for (const payload of ['', 'ping', 'p'.repeat(125)]) {
  const pong = new Promise((resolve) => {
    socket.once('pong', (data) => resolve(`${data}`));
    socket.once('close', (code) => resolve(`closed with ${code}`));
  });
  socket.ping(payload);
  const answer = await pong;
  if (answer === payload) result.passed += 1;
  else result.problems.push(`ping of ${payload.length} bytes: ${answer}`);
}
// Fragments: a ping between them is answered, and the message comes back as one.
const answers = [];
socket.on('pong', () => answers.push('pong'));
const echoed = new Promise((resolve) => socket.once('message', (data) => resolve(`${data}`)));
socket.send('frag', { fin: false });
socket.ping('between');
socket.send('ment', { fin: true });
answers.push(await echoed);
if (answers.join() === 'pong,fragment') result.passed += 1;
else result.problems.push(`fragments: ${answers}`);
socket.terminate();
console.log(JSON.stringify(result));
