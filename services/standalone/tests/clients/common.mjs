// What the scripts share: registering users and waiting for events.
import assert from 'node:assert/strict';

export const url = process.argv[2];

export async function register(name) {
  const answer = await fetch(`${url}/api/v1/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      email: `${name}-${crypto.randomUUID()}@example.com`,
      password: 'correct horse battery',
      fullName: name,
      designation: 'Tester',
    }),
  });
  assert.equal(answer.status, 201, await answer.clone().text());
  return answer.json();
}

export async function post(user, path, body) {
  const answer = await fetch(`${url}/api/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${user.accessToken}` },
    body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

export const once = (socket, event) => new Promise((resolve) => socket.once(event, resolve));

// Nothing here may hang: the suite would wait for it.
setTimeout(() => {
  console.error('took over 180 s');
  process.exit(1);
}, 180_000).unref();
