// Runs the script of the README as two people would: one listens, the other sends.
// Arguments: the script, the tokens of the two, the id of the one who listens.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';

const [script, token, otherToken, otherId] = process.argv.slice(2);
const start = (...args) => spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });

/** What a process says, up to and including this text. */
async function says(child, text) {
  let said = '';
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    said += chunk;
    if (said.includes(text)) return said;
  }
  assert.fail(`ended without "${text}": ${said}`);
}

const listening = start(otherToken);
await says(listening, 'connected');
const sending = start(token, otherId, 'hello');
console.log(await says(sending, 'stored as'));
console.log(await says(listening, 'hello'));
for (const child of [listening, sending]) child.kill();
