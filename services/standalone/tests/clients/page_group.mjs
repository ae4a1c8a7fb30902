// A group on the page: many participants, a search that fails, what a restriction and a role change at once, and leaving.
import assert from 'node:assert/strict';
import { field, finish, makeGroup, newWindow, open, register, says, unique } from './browser.mjs';

const [annName, bobName] = [unique('Ann'), unique('Bob')];
const [ann, bob] = [await register(annName, await newWindow()), await register(bobName, await newWindow())];
const dialog = ann.getByRole('dialog');

// A search that fails does not say that there is nobody.
await ann.route('**/users?*', (route) => route.fulfill({ status: 503, json: { detail: 'Come back later' } }));
await ann.getByRole('button', { name: 'New conversation' }).click();
await ann.getByLabel('Find a person').fill(bobName);
await dialog.getByRole('alert').getByText('Come back later').waitFor();
assert.equal(await dialog.getByText('Nobody found').count(), 0);
await ann.unroute('**/users?*');
await ann.getByRole('button', { name: 'Close' }).click();

// More participants than a page of them, which is made short here. Those shown stay so when something changes.
await ann.route('**/participants?limit=100*', (route) => route.continue({ url: route.request().url().replace('limit=100', 'limit=1') }));
await makeGroup(ann, 'News', bobName, false);
await ann.getByRole('button', { name: 'Participants' }).click();
await dialog.getByRole('listitem').first().waitFor();
assert.equal(await dialog.getByRole('listitem').count(), 1);
await dialog.getByRole('button', { name: 'Show more' }).click();
await dialog.getByRole('listitem').nth(1).waitFor();
await dialog.getByRole('button', { name: 'Show more' }).waitFor({ state: 'hidden' });

// Who may post follows restriction and role at once; what was typed meanwhile is still there.
const makeAdmin = dialog.getByRole('button', { name: `Make admin: ${bobName}` });
const makeMember = dialog.getByRole('button', { name: `Make member: ${bobName}` });
const onlyAdmins = bob.getByText('Only admins can post messages here');
await open(bob, 'News');
await field(bob).fill('May I?');
await ann.getByLabel('Only admins may post').last().check();
await onlyAdmins.waitFor();
assert.equal(await field(bob).count(), 0);
await makeAdmin.focus();
await ann.keyboard.press('Enter');
await field(bob).waitFor();
assert.equal(await field(bob).inputValue(), 'May I?');
await makeMember.and(ann.locator(':focus')).waitFor();
await ann.keyboard.press('Enter');
await onlyAdmins.waitFor();

// A message that is refused, here from a page that has not heard, says so once, and is offered again to those who may.
await bob.route('**/conversations/*', async (route) => {
  const conversation = await (await route.fetch()).json();
  await route.fulfill({ json: { ...conversation, role: 'ADMIN' } });
});
await makeAdmin.click();
await makeMember.click();
await makeAdmin.waitFor();
await bob.getByRole('button', { name: 'Send' }).click();
await bob.getByText('Not sent: Only admins can post messages here').waitFor();
assert.equal(await bob.getByText('Only admins can post').filter({ visible: true }).count(), 1);
await bob.getByRole('button', { name: 'Try again' }).waitFor();
await bob.unrouteAll({ behavior: 'wait' });
await makeAdmin.click();
await makeMember.click();
await bob.getByRole('button', { name: 'Try again' }).waitFor({ state: 'hidden' });
await ann.getByLabel('Only admins may post').last().uncheck();
await bob.getByRole('button', { name: 'Try again' }).click();
await says(ann, 'May I?');

// A change that is refused is not shown as made.
await ann.route('**/conversations/*', (route) => route.fulfill({ status: 503, json: { detail: 'Come back later' } }));
await ann.getByLabel('Only admins may post').last().click();
await dialog.getByRole('alert').getByText('Come back later').waitFor();
assert.equal(await ann.getByLabel('Only admins may post').last().isChecked(), false);
await ann.unroute('**/conversations/*');

// Nobody is removed, and nobody leaves, by a slip of the finger.
const answer = (action) => ann.once('dialog', (question) => question[action]());
const remove = dialog.getByRole('button', { name: `Remove ${bobName}` });
answer('dismiss');
await remove.click();
answer('dismiss');
await dialog.getByRole('button', { name: 'Leave the group' }).click();
await makeAdmin.waitFor();
answer('accept');
await remove.click();
await bob.getByText('No conversations yet').waitFor();
await ann.locator('#participants:focus').waitFor();
answer('accept');
await dialog.getByRole('button', { name: 'Leave the group' }).click();
await ann.getByText('No conversations yet').waitFor();
await ann.locator('#new-conversation:focus').waitFor();

await finish();
