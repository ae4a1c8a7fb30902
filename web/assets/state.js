// What this tab knows: conversations, loaded messages, unsent drafts. Views are told when something changed.

import * as api from './api.js';

const PAGE = 50;
const PARTICIPANTS = 100;

export const state = {
  conversations: new Map(),
  nextCursor: null,
  /** conversation id -> { messages by seq, hasMore, ready, participants, nextCursor, reads: user id -> seq, names: user id -> name } */
  open: new Map(),
  currentId: null,
  /** Drafts the server has not decided yet, oldest first: { clientMessageId, conversationId, content, error? }. */
  drafts: [],
  /** conversation id -> text that has been typed there and not sent. */
  unsent: new Map(),
};

const changes = new EventTarget();

/** Calls back after every change; `detail` says what it touched. */
export function onChange(callback) {
  changes.addEventListener('change', (event) => callback(event.detail));
}

export function changed(what = 'all') {
  changes.dispatchEvent(new CustomEvent('change', { detail: what }));
}

export function reset() {
  state.conversations.clear();
  state.open.clear();
  state.unsent.clear();
  Object.assign(state, { nextCursor: null, currentId: null, drafts: [] });
  changed();
}

/** The name a conversation goes by: its own, or the other user's. */
export function title(conversation) {
  return conversation.name || conversation.peer?.fullName || 'Conversation';
}

/** Whether we may send messages there. */
export const mayPost = ({ isRestricted, role }) => !isRestricted || role === 'ADMIN';

/** Conversations, the last active first. */
export function sorted() {
  const at = (conversation) => conversation.lastMessage?.createdAt || conversation.createdAt;
  return [...state.conversations.values()].sort((a, b) => (at(a) < at(b) ? 1 : -1));
}

export const current = () => state.conversations.get(state.currentId);

const after = (cursor) => (cursor ? `&cursor=${encodeURIComponent(cursor)}` : '');

/** Loads the first page of conversations, or the next. */
export async function loadConversations(more = false) {
  const page = await api.get(`conversations?limit=${PAGE}${after(more && state.nextCursor)}`);
  if (!more) state.conversations.clear();
  for (const conversation of page.conversations) state.conversations.set(conversation.id, conversation);
  state.nextCursor = page.nextCursor;
  changed();
}

/** Fetches one conversation anew; forgets it when it is ours no more. */
export async function loadConversation(id) {
  try {
    state.conversations.set(id, await api.get(`conversations/${id}`));
  } catch (error) {
    if (error.code !== 'NOT_FOUND') throw error;
    forget(id);
  }
  changed();
}

export function forget(id) {
  state.conversations.delete(id);
  state.open.delete(id);
  state.unsent.delete(id);
  if (state.currentId === id) state.currentId = null;
}

/** Opens a conversation: its newest messages and who takes part. */
export async function openConversation(id) {
  state.currentId = id;
  const loaded = loadCurrent();
  changed();
  await loaded;
}

/** Loads the open conversation, unless it is there. */
export async function loadCurrent() {
  const id = state.currentId;
  if (id && !state.open.has(id)) await loadMessages(id);
}

async function loadMessages(id) {
  // There before the answer is, so that what arrives meanwhile has a place.
  const entry = { messages: [], hasMore: false, ready: false, reads: new Map(), names: new Map(), participants: [] };
  state.open.set(id, entry);
  try {
    const [page] = await Promise.all([
      api.get(`conversations/${id}/messages?limit=${PAGE}`),
      loadParticipants(id, entry),
    ]);
    for (const message of page.messages) insert(entry.messages, message);
    Object.assign(entry, { hasMore: page.hasMore, ready: true });
  } catch (error) {
    if (state.open.get(id) === entry) state.open.delete(id);
    throw error;
  } finally {
    changed('opened');
  }
}

/** Loads the next page of participants, or anew as many as are there. */
async function loadParticipants(id, entry, more = false) {
  const participants = more ? [...entry.participants] : [];
  let cursor = more ? entry.nextCursor : null;
  do {
    const page = await api.get(`conversations/${id}/participants?limit=${PARTICIPANTS}${after(cursor)}`);
    participants.push(...page.participants);
    cursor = page.nextCursor;
  } while (cursor && participants.length < entry.participants.length);
  Object.assign(entry, { participants, nextCursor: cursor });
  for (const { userId, user } of participants) if (user) entry.names.set(userId, user.fullName);
}

/** Loads the page of messages before the oldest one there. */
export async function loadOlder(id) {
  const entry = state.open.get(id);
  if (!entry?.hasMore || entry.loading) return;
  entry.loading = true;
  try {
    const page = await api.get(`conversations/${id}/messages?limit=${PAGE}&before=${entry.messages[0].id}`);
    entry.messages.unshift(...page.messages.reverse());
    entry.hasMore = page.hasMore;
  } finally {
    entry.loading = false;
  }
  changed('older');
}

/** Everything anew, after a connection that could not be resumed. */
export async function refetch() {
  try {
    await loadConversations();
    if (state.currentId && !state.conversations.has(state.currentId)) await loadConversation(state.currentId);
  } finally {
    // Also without an answer: what is there has a hole now.
    state.open.clear();
    changed();
  }
  await loadCurrent();
}

/** Who takes part, anew or one page more, if the conversation is open. */
export async function reloadParticipants(id, more = false) {
  const entry = state.open.get(id);
  if (entry) await loadParticipants(id, entry, more);
  changed();
}

/** How many others have read this message of ours, as far as is known. */
export function readers(id, message) {
  const entry = state.open.get(id);
  const hasRead = ({ userId, lastReadAt }) =>
    userId !== message.senderId &&
    ((entry.reads.get(userId) ?? 0) >= message.seq || (lastReadAt && lastReadAt >= message.createdAt));
  return entry ? entry.participants.filter(hasRead).length : 0;
}

/** The name of a sender; asked for when it has left the conversation. */
export function senderName(id, userId) {
  const names = state.open.get(id)?.names;
  if (!names || names.has(userId)) return names?.get(userId) ?? '';
  names.set(userId, '…');
  api.get(`users/${userId}`).then(
    (user) => {
      names.set(userId, user.fullName);
      changed();
    },
    () => names.set(userId, 'Somebody'),
  );
  return '…';
}

function insert(messages, message) {
  if (messages.some((known) => known.id === message.id)) return;
  const index = messages.findLastIndex((known) => known.seq < message.seq);
  messages.splice(index + 1, 0, message);
}

/** A message of any conversation of ours, wherever it came from. */
export async function addMessage(message) {
  state.drafts = state.drafts.filter((draft) => draft.clientMessageId !== message.clientMessageId);
  const entry = state.open.get(message.conversationId);
  if (entry) insert(entry.messages, message);
  const conversation = state.conversations.get(message.conversationId);
  if (!conversation) return loadConversation(message.conversationId);
  if (message.seq > conversation.lastSeq) {
    conversation.lastSeq = message.seq;
    conversation.lastMessage = message;
  }
  if (message.senderId === api.me()?.id) setRead(conversation, message.seq);
  conversation.unreadCount = conversation.lastSeq - conversation.lastReadSeq;
  changed('message');
}

function setRead(conversation, seq) {
  conversation.lastReadSeq = Math.max(conversation.lastReadSeq, seq);
  conversation.unreadCount = conversation.lastSeq - conversation.lastReadSeq;
}

/** Somebody has read up to a message; ourselves on another device, too. */
export function addRead({ conversationId, userId, lastReadSeq }) {
  const conversation = state.conversations.get(conversationId);
  if (userId === api.me()?.id && conversation) setRead(conversation, lastReadSeq);
  else state.open.get(conversationId)?.reads.set(userId, lastReadSeq);
  changed();
}
