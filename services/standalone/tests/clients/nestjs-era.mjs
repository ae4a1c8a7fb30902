// As a client of the NestJS version was written: no acks, events only, and nothing that version did not have.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { once, post, register, url } from './common.mjs';

const [ann, bob] = [await register('ann'), await register('bob')];
for (const user of [ann, bob]) {
  for (const key of ["id", "email", "fullName", "designation"]) assert.equal(typeof user.user[key], "string", key);
  assert.ok(user.refreshToken && user.expiresIn > 0);
}
const connect = (user) => io(url, { transports: ['websocket'], auth: { token: user.accessToken }, forceNew: true });
const [a, b] = [connect(ann), connect(bob)];
await Promise.all([once(a, 'connect'), once(b, 'connect')]);

const clientMessageId = crypto.randomUUID();
let [sent, got] = [once(a, 'message_sent'), once(b, 'new_message')];
a.emit('send_message', { receiverId: bob.user.id, content: 'hello', clientMessageId });
[sent, got] = [await sent, await got];
assert.equal(sent.clientMessageId, clientMessageId);
for (const key of ['id', 'senderId', 'conversationId', 'content', 'createdAt']) {
  assert.equal(typeof got[key], 'string', key);
  assert.equal(got[key], sent[key], key);
}

const group = await post(ann, 'conversations', { type: 'GROUP', name: 'All', isRestricted: true, memberIds: [bob.user.id] });
assert.deepEqual([group.type, group.name, group.isRestricted, typeof group.createdAt], ['GROUP', 'All', true, 'string']);
const error = once(b, 'error');
b.emit('send_message', { groupId: group.id, content: 'may I?', clientMessageId });
assert.deepEqual([(await error).code, (await error).clientMessageId], ['FORBIDDEN', clientMessageId]);

const everybody = Promise.all([once(a, 'new_message'), once(b, 'new_message'), once(a, 'message_sent')]);
a.emit('send_message', { groupId: group.id, content: 'to all' });
for (const message of await everybody) assert.equal(message.content, 'to all');

const history = await fetch(`${url}/api/v1/conversations/${sent.conversationId}/messages`, {
  headers: { authorization: `Bearer ${bob.accessToken}` },
});
assert.equal((await history.json()).messages[0].id, sent.id);
a.close();
b.close();
