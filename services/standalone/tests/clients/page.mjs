// Two people on the page the messenger serves, in two tabs of a browser: they register, chat, and meet a restricted
// group. CHROMIUM names another browser than Debian's.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { url } from './common.mjs';

// A browser that only ever talks to the messenger.
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: quiet });
const context = await browser.newContext();
context.setDefaultTimeout(30_000);
const complaints = [];
context.on('weberror', (error) => complaints.push(error.error()));

async function register(name) {
  const page = await context.newPage();
  await page.goto(url);
  await page.getByRole('button', { name: 'Make an account' }).click();
  const form = page.getByRole('form', { name: 'Make an account' });
  await form.getByLabel('Full name').fill(name);
  await form.getByLabel('Designation').fill('Tester');
  await form.getByLabel('E-mail').fill(`${crypto.randomUUID()}@example.com`);
  await form.getByLabel('Password').fill('correct horse battery');
  await form.getByRole('button', { name: 'Register' }).click();
  await page.getByRole('button', { name: 'New conversation' }).waitFor();
  return page;
}

async function write(page, text) {
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

const says = (page, text) => page.getByRole('log').getByText(text, { exact: true }).waitFor();
const shows = (page, conversation) => page.getByRole('heading', { name: conversation }).waitFor();
const open = async (page, conversation) => {
  await page.getByRole('navigation').getByRole('button', { name: conversation }).click();
  await shows(page, conversation);
};

const [annName, bobName] = ['Ann', 'Bob'].map((name) => `${name} ${crypto.randomUUID().slice(0, 8)}`);
const [ann, bob] = [await register(annName), await register(bobName)];

await ann.getByRole('button', { name: 'New conversation' }).click();
await ann.getByLabel('Find a person').fill(bobName);
await ann.getByRole('dialog').getByRole('button', { name: bobName }).click();
await shows(ann, bobName);
await write(ann, 'Hello Bob <b>✓</b>');
await says(ann, 'Hello Bob <b>✓</b>');
await open(bob, annName);
await says(bob, 'Hello Bob <b>✓</b>');
await write(bob, 'Hello Ann 😀');
await says(ann, 'Hello Ann 😀');

await ann.getByRole('button', { name: 'New conversation' }).click();
await ann.getByLabel('Name of the group').fill('Announcements');
await ann.getByLabel('Add members').fill(bobName);
await ann.getByRole('dialog').getByRole('button', { name: bobName }).click();
await ann.getByLabel('Only admins may post').first().check();
await ann.getByRole('button', { name: 'Make the group' }).click();
await shows(ann, 'Announcements');
await write(ann, 'For all of you');
await open(bob, 'Announcements');
await says(bob, 'For all of you');
await write(bob, 'May I?');
await bob.getByRole('alert').getByText('Only admins can post messages here').waitFor();

// What is half typed stays in its conversation.
const field = ann.getByRole('textbox', { name: 'Message' });
await field.fill('Half a word for all');
await open(ann, bobName);
assert.equal(await field.inputValue(), '');
await write(ann, 'For Bob alone');
await says(ann, 'For Bob alone');
await open(ann, 'Announcements');
assert.equal(await field.inputValue(), 'Half a word for all');

// A page that is loaded again is where it was.
await bob.reload();
await open(bob, annName);
await says(bob, 'Hello Bob <b>✓</b>');
assert.equal(await ann.getByText('May I?').count(), 0);
assert.deepEqual(complaints, []);
await browser.close();
