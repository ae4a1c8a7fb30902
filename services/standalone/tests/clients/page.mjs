// Two people on the page the messenger serves, in two tabs of a browser: they register, chat, and meet a restricted
// group.
import assert from 'node:assert/strict';
import { field, finish, makeGroup, newWindow, open, register, says, shows, talkTo, unique, write } from './browser.mjs';

const context = await newWindow();
const [annName, bobName] = [unique('Ann'), unique('Bob')];
const [ann, bob] = [await register(annName, context), await register(bobName, context)];
assert.equal(await ann.evaluate(() => document.activeElement.id), 'new-conversation');

await talkTo(ann, bobName);
await write(ann, 'Hello Bob <b>✓</b>');
await says(ann, 'Hello Bob <b>✓</b>');
await open(bob, annName);
await says(bob, 'Hello Bob <b>✓</b>');

// What somebody has selected stays so while messages come.
await ann.getByText('Hello Bob <b>✓</b>', { exact: true }).last().selectText();
await write(bob, 'Hello Ann 😀');
await says(ann, 'Hello Ann 😀');
await ann.getByText('✓✓ Seen').waitFor();
assert.equal(await ann.evaluate(() => getSelection().toString()), 'Hello Bob <b>✓</b>');

await makeGroup(ann, 'Announcements', bobName, true);
await write(ann, 'For all of you');
await open(bob, 'Announcements');
await says(bob, 'For all of you');
await bob.getByText('Only admins can post messages here').waitFor();
assert.equal(await field(bob).count(), 0);

// What is half typed stays in its conversation.
await field(ann).fill('Half a word for all');
await open(ann, bobName);
assert.equal(await field(ann).inputValue(), '');
await write(ann, 'For Bob alone');
await says(ann, 'For Bob alone');
await open(ann, 'Announcements');
assert.equal(await field(ann).inputValue(), 'Half a word for all');

// A page that is loaded again is where it was.
await bob.reload();
await open(bob, annName);
await says(bob, 'Hello Bob <b>✓</b>');
await finish();
