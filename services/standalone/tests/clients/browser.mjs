// What the scripts with a browser share: registering, writing, looking. CHROMIUM names another browser than Debian's.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';
import { url } from './common.mjs';

// A browser that only ever talks to the messenger.
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: quiet });
const complaints = [];

/** A window of its own. */
export async function newWindow() {
  const context = await browser.newContext();
  context.setDefaultTimeout(30_000);
  context.on('weberror', (error) => complaints.push(error.error()));
  return context;
}

/** A new user on the page, in a tab of this window. */
export async function register(name, context) {
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

/** A name nobody else has. */
export const unique = (name) => `${name} ${crypto.randomUUID().slice(0, 8)}`;

export const field = (page) => page.getByRole('textbox', { name: 'Message' });

export async function write(page, text) {
  await field(page).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

export const says = (page, text) => page.getByRole('log').getByText(text, { exact: true }).waitFor();
export const shows = (page, conversation) => page.getByRole('heading', { name: conversation }).waitFor();

export async function open(page, conversation) {
  await page.getByRole('navigation').getByRole('button', { name: conversation }).click();
  await shows(page, conversation);
}

/** Begins a conversation of two. */
export async function talkTo(page, name) {
  await page.getByRole('button', { name: 'New conversation' }).click();
  await page.getByLabel('Find a person').fill(name);
  await page.getByRole('dialog').getByRole('button', { name }).click();
  await shows(page, name);
}

/** Makes a group of two. */
export async function makeGroup(page, name, member, isRestricted) {
  await page.getByRole('button', { name: 'New conversation' }).click();
  await page.getByLabel('Name of the group').fill(name);
  await page.getByLabel('Add members').fill(member);
  await page.getByRole('dialog').getByRole('button', { name: member }).click();
  if (isRestricted) await page.getByLabel('Only admins may post').first().check();
  await page.getByRole('button', { name: 'Make the group' }).click();
  await shows(page, name);
}

/** The end: no page has thrown anything. */
export async function finish() {
  assert.deepEqual(complaints, []);
  await browser.close();
}
