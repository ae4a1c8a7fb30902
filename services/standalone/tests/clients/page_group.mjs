// A group on the page: what it shows of many participants and of a search.
import assert from 'node:assert/strict';
import { finish, makeGroup, newWindow, register, unique } from './browser.mjs';

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

// More participants than a page of them: the page is made short here.
const pages = '**/participants?limit=100*';
await ann.route(pages, (route) => route.continue({ url: route.request().url().replace('limit=100', 'limit=1') }));
await makeGroup(ann, 'News', bobName, false);
await ann.getByRole('button', { name: 'Participants' }).click();
await dialog.getByRole('listitem').first().waitFor();
assert.equal(await dialog.getByRole('listitem').count(), 1);
await dialog.getByRole('button', { name: 'Show more' }).click();
await dialog.getByRole('listitem').nth(1).waitFor();
await dialog.getByRole('button', { name: 'Show more' }).waitFor({ state: 'hidden' });
await ann.unroute(pages);

await finish();
