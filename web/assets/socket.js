// The live connection: stock socket.io-client. It resumes by itself; what it cannot resume is fetched anew.

import { io } from './vendor/socket.io-client-4.8.4.esm.min.js';
import * as api from './api.js';
import * as store from './state.js';
import { state } from './state.js';

const ANSWER_MS = 10_000;
const RETRY_MS = 2_000;
const RENEW_MS_MIN = 1_000;
const RENEW_MS_MAX = 20_000;

let socket = null;
let renewal = 0;
let renewed = null;
let onStatus = () => {};

/** Told of every change: 'connected', 'connecting' or 'offline'. */
export function whenStatusChanges(callback) {
  onStatus = callback;
}

export function connect() {
  socket = io({ auth: (give) => give({ token: api.accessToken() }), reconnectionDelayMax: 5_000 });
  socket.on('connect', connected);
  socket.on('connect_error', refused);
  socket.on('disconnect', (reason) => {
    onStatus('connecting');
    // The server ended the session: only a token that still works brings it back.
    if (reason === 'io server disconnect') renew(0);
  });
  const events = {
    new_message: store.addMessage,
    message_sent: store.addMessage,
    message_read: store.addRead,
    conversation_created: (conversation) => store.loadConversation(conversation.id),
    conversation_updated: updated,
    participant_added: ({ conversationId }) => participantsChanged(conversationId),
    participant_updated: ({ conversationId }) => participantsChanged(conversationId),
    participant_removed: removed,
    resync_required: store.refetch,
    sync_completed: ({ limited }) => limited?.length && store.refetch(),
    token_expiring: renewInTime,
  };
  for (const [name, handle] of Object.entries(events)) {
    socket.on(name, (body) => Promise.resolve(handle(body)).catch(report));
  }
}

export function disconnect() {
  clearTimeout(renewal);
  socket?.disconnect();
  socket = null;
}

async function connected() {
  onStatus('connected');
  await (socket.recovered ? store.loadCurrent() : store.refetch()).catch(report);
  for (const draft of state.drafts.filter((draft) => !draft.error)) deliver(draft);
}

function refused(error) {
  onStatus('offline');
  const code = error.data?.code;
  // A new token that is refused at once is no reason to hurry for the next.
  const isNew = api.accessToken() === renewed;
  if (['TOKEN_EXPIRED', 'TOKEN_REVOKED', 'UNAUTHENTICATED'].includes(code)) renew(isNew ? RETRY_MS : 0);
  else if (!socket.active) setTimeout(() => socket?.connect(), error.data?.retryAfterMs ?? RETRY_MS);
}

/** Takes a new token after a pause, and tries for as long as the server has not ended the session. */
function renew(pauseMs) {
  clearTimeout(renewal);
  renewal = setTimeout(() => api.refresh().then(useToken, () => api.me() && renew(RETRY_MS)), pauseMs);
}

function useToken(token) {
  renewed = token;
  if (socket?.connected) socket.emit('refresh_token', { token });
  else socket?.connect();
}

/** Takes a new token halfway to the end of the old one, so that a short life is no reason to hurry. */
function renewInTime({ expiresAt }) {
  const half = (Date.parse(expiresAt) - Date.now()) / 2;
  renew(Math.min(RENEW_MS_MAX, Math.max(RENEW_MS_MIN, half)));
}

function updated(conversation) {
  const known = state.conversations.get(conversation.id);
  if (known) Object.assign(known, conversation);
  store.changed();
}

async function participantsChanged(id) {
  await store.loadConversation(id);
  await store.reloadParticipants(id);
}

async function removed({ conversationId, userId }) {
  if (userId !== api.me()?.id) return participantsChanged(conversationId);
  store.forget(conversationId);
  store.changed();
}

/** Sends a draft now, or as soon as there is a connection. A repeat of its id stores nothing twice. */
export function send(draft) {
  state.drafts.push(draft);
  store.changed('message');
  deliver(draft);
}

/** Sends a refused draft once more, under the same id. */
export function sendAgain(draft) {
  draft.error = null;
  store.changed('message');
  deliver(draft);
}

function deliver(draft) {
  if (!socket?.connected) return;
  const { conversationId, clientMessageId, content } = draft;
  socket.timeout(ANSWER_MS).emit('send_message', { conversationId, clientMessageId, content }, (late, answer) => {
    if (late) return;
    if (!answer.error) return store.addMessage(answer).catch(report);
    if (answer.error.code === 'RATE_LIMITED' || answer.error.code === 'UNAVAILABLE') {
      setTimeout(() => state.drafts.includes(draft) && deliver(draft), answer.error.retryAfterMs ?? 1_000);
      return;
    }
    draft.error = answer.error.message;
    store.changed('message');
  });
}

/** Says that everything up to this message has been read. */
export function markRead(conversation) {
  if (!socket?.connected || conversation.unreadCount === 0) return;
  const seq = conversation.lastSeq;
  socket.timeout(ANSWER_MS).emit('mark_read', { conversationId: conversation.id, seq }, (late, answer) => {
    if (!late && !answer.error) store.addRead({ ...answer, userId: api.me()?.id });
  });
}

function report(error) {
  console.error('messenger:', error.message);
}
