// A stock client whose connection breaks gets everything it missed by itself, and says so.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { once, register, url } from './common.mjs';

for (const transports of [['websocket'], ['polling']]) {
  const [ann, bob] = [await register('ann'), await register('bob')];
  const options = (user) => ({ transports, forceNew: true, reconnectionDelay: 10, auth: { token: user.accessToken } });
  const [a, b] = [io(url, options(ann)), io(url, options(bob))];
  await Promise.all([once(a, 'connect'), once(b, 'connect')]);
  const received = [];
  b.on('new_message', (message) => received.push(message.content));

  const first = once(b, 'new_message');
  await a.emitWithAck('send_message', { receiverId: bob.user.id, content: '0' });
  await first;

  const gone = once(b, 'disconnect');
  b.io.engine.close(); // as a broken network would
  await gone;
  for (let n = 1; n <= 20; n++) await a.emitWithAck('send_message', { receiverId: bob.user.id, content: `${n}` });
  if (!b.connected) await once(b, 'connect');
  assert.equal(b.recovered, true);
  while (received.length < 21) await once(b, 'new_message');
  await a.emitWithAck('send_message', { receiverId: bob.user.id, content: '21' });
  while (received.length < 22) await once(b, 'new_message');
  assert.deepEqual(received, Array.from({ length: 22 }, (_, n) => `${n}`));
  a.close();
  b.close();
}
