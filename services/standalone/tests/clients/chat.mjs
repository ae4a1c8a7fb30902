// Two stock clients chat over the transports named by the second argument.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { once, post, register, url } from './common.mjs';

const transports = process.argv[3].split(',');
const [ann, bob] = [await register('ann'), await register('bob')];
const connect = (token) => io(url, { transports, auth: { token }, forceNew: true });

const refused = connect('nonsense');
const error = await once(refused, 'connect_error');
assert.equal(error.data?.code, 'UNAUTHENTICATED', error.message);
refused.close();

const [a, b] = [connect(ann.accessToken), connect(bob.accessToken)];
await Promise.all([once(a, 'connect'), once(b, 'connect')]);
const isUpgraded = (socket) => socket.io.engine.transport.name === transports.at(-1);
const upgraded = (socket) => isUpgraded(socket) || new Promise((done) => socket.io.engine.once('upgrade', done));
await Promise.all([upgraded(a), upgraded(b)]);

const received = [];
b.on('new_message', (message) => received.push(message));
const acks = [];
for (let n = 0; n < 300; n++) acks.push(a.emitWithAck('send_message', { receiverId: bob.user.id, content: `${n} ✓ 😀` }));
const stored = await Promise.all(acks);
stored.forEach((message, n) => assert.equal(message.content, `${n} ✓ 😀`));
while (received.length < 300) await once(b, 'new_message');
received.forEach((message, n) => assert.equal(message.id, stored[n].id));

const refusedSend = await a.emitWithAck('send_message', { receiverId: bob.user.id, content: '' });
assert.equal(refusedSend.error.code, 'VALIDATION_FAILED');

const group = await post(ann, 'conversations', { type: 'GROUP', name: 'g', isRestricted: true, memberIds: [bob.user.id] });
const denied = await b.emitWithAck('send_message', { groupId: group.id, content: 'x' });
assert.equal(denied.error.message, 'Only admins can post messages here');
const heard = once(b, 'new_message');
await a.emitWithAck('send_message', { groupId: group.id, content: 'for all' });
assert.equal((await heard).content, 'for all');

a.close();
b.close();
