// Makes elements. Text goes in as text only: nothing here ever reads HTML.

/** An element with handlers (`onclick`, ...), attributes and children (elements or text). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element[name] = value;
    else if (name === 'class') element.className = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Gives `parent` these children and changes only what differs: focus, selection and place stay where they are. */
export function update(parent, children) {
  const focused = document.activeElement;
  updateChildren(parent, children);
  if (document.activeElement !== focused) (focused.isConnected ? focused : parent).focus({ preventScroll: true });
}

function updateChildren(parent, children) {
  const old = new Map([...parent.childNodes].map((node, index) => [keyOf(node, index), node]));
  const next = children.map((child, index) => {
    const known = old.get(keyOf(child, index));
    if (known) makeAlike(known, child);
    return known ?? child;
  });
  const stay = new Set(next);
  for (const node of [...parent.childNodes]) if (!stay.has(node)) node.remove();
  next.forEach((node, index) => {
    const there = parent.childNodes[index];
    if (there !== node) parent.insertBefore(node, there ?? null);
  });
}

/** What a node is known by among its siblings: its `data-key`, or what and where it is. */
const keyOf = (node, index) => node.dataset?.key ?? `${node.nodeName} ${index}`;

/** Two nodes of one key that look the same do the same, too. */
function makeAlike(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  old.onclick = next.onclick;
  updateChildren(old, [...next.childNodes]);
}

export const byId = (id) => document.getElementById(id);

/** Shows text in a live region, or hides it when there is none. */
export function notice(element, text) {
  element.textContent = text || '';
  element.hidden = !text;
}

/** The first letters of a name, for its round mark. */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  return [words[0], words.length > 1 ? words.at(-1) : '']
    .map((word) => [...word][0] || '')
    .join('')
    .toUpperCase();
}

/** A round mark; its colour follows from the id, so one person looks the same everywhere. */
export function avatar(id, name) {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  return h('span', { class: `avatar tone-${hash % 6}`, 'aria-hidden': 'true' }, initials(name));
}

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const fullDay = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

export const clockTime = (iso) => timeOfDay.format(new Date(iso));
export const dayName = (iso) => fullDay.format(new Date(iso));

/** The time today, the date before. */
export function shortTime(iso) {
  const date = new Date(iso);
  return date.toDateString() === new Date().toDateString() ? timeOfDay.format(date) : dayAndMonth.format(date);
}

/** A random UUID, also where the page is not served securely. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
