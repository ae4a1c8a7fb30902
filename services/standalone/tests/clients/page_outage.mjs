// The page while the server, or something before it, fails: it goes on by itself afterwards.
import assert from 'node:assert/strict';
import { finish, newWindow, open, register, says, talkTo, unique, write } from './browser.mjs';

const [annName, bobName] = [unique('Ann'), unique('Bob')];
const [ann, bob] = [await register(annName, await newWindow()), await register(bobName, await newWindow())];
await talkTo(ann, bobName);
await write(ann, 'Before');
await open(bob, annName);
await says(bob, 'Before');

// A token that is not accepted any more while the new ones are asked of a proxy that has nobody behind it.
const answers = [
  { status: 502, contentType: 'text/html', body: '<h1>Bad gateway</h1>' },
  { status: 200, contentType: 'text/html', body: '<h1>Please log in to this network</h1>' },
];
await bob.route('**/auth/refresh', (route) => (answers.length > 0 ? route.fulfill(answers.shift()) : route.continue()));
await bob.evaluate(() => {
  const session = JSON.parse(sessionStorage.getItem('messenger.session'));
  sessionStorage.setItem('messenger.session', JSON.stringify({ ...session, accessToken: 'worn out' }));
});
await bob.reload();
await open(bob, annName);
await says(bob, 'Before');
assert.equal(answers.length, 0);
await bob.unroute('**/auth/refresh');

// A conversation that is opened without a connection says so, and is loaded once there is one again.
await ann.reload();
await ann.getByRole('navigation').getByRole('button', { name: bobName }).waitFor();
await ann.context().setOffline(true);
await open(ann, bobName);
await ann.getByRole('log').getByText('The messages could not be loaded').waitFor();
await ann.context().setOffline(false);
await says(ann, 'Before');

// So is one that the server could not give at first.
await ann.reload();
await ann.route('**/messages?*', (route) => route.fulfill({ status: 503, body: '' }));
await open(ann, bobName);
await ann.getByRole('log').getByText('The messages could not be loaded').waitFor();
await ann.unroute('**/messages?*');
await ann.getByRole('button', { name: 'Try again' }).click();
await says(ann, 'Before');

await finish();
