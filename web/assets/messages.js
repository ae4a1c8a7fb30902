// The open conversation: its header, messages and composer.

import { avatar, byId, clockTime, dayName, h, update, uuid } from './dom.js';
import * as store from './state.js';
import { markRead, send, sendAgain } from './socket.js';
import { me } from './api.js';

const SCROLL_SLACK = 80;

let drawnId = null;

/** Draws the open conversation; keeps the reader's place unless it is at the end. */
export function drawConversation(what) {
  const conversation = store.current();
  byId('app').dataset.view = conversation ? 'conversation' : 'list';
  byId('conversation').hidden = !conversation;
  byId('nothing-open').hidden = Boolean(conversation);
  if (!conversation) {
    if (drawnId) (document.querySelector(`[data-key="${drawnId}"] button`) ?? byId('new-conversation')).focus();
    drawnId = null;
    byId('log').replaceChildren();
    byId('conversation-title').textContent = byId('composer-text').value = '';
    return;
  }
  drawHeader(conversation);
  const log = byId('log');
  const isNew = drawnId !== conversation.id;
  const fromEnd = log.scrollHeight - log.scrollTop;
  const wasAtEnd = isNew || what === 'opened' || fromEnd - log.clientHeight < SCROLL_SLACK;
  update(log, rows(conversation));
  log.setAttribute('aria-busy', String(!store.state.open.get(conversation.id)?.ready));
  log.scrollTop = wasAtEnd ? log.scrollHeight : what === 'older' ? log.scrollHeight - fromEnd : log.scrollTop;
  if (isNew) {
    drawnId = conversation.id;
    const field = byId('composer-text');
    field.value = store.state.unsent.get(drawnId) ?? '';
    fit(field);
  }
  drawComposer(conversation, isNew);
  readIfSeen();
}

/** The composer, for those who may use it; what has been typed waits for those who may again. */
function drawComposer(conversation, isNew) {
  const composer = byId('composer');
  const mayPost = store.mayPost(conversation);
  const hadFocus = isNew || composer.contains(document.activeElement);
  composer.hidden = !mayPost;
  byId('only-admins').hidden = mayPost;
  if (isNew && mayPost) byId('composer-text').focus();
  else if (hadFocus && !mayPost) byId('log').focus();
}

function drawHeader(conversation) {
  const name = store.title(conversation);
  const mark = avatar(conversation.peer?.id ?? conversation.id, name);
  const count = conversation.participantCount;
  const people = `${count} ${count === 1 ? 'participant' : 'participants'}`;
  const about =
    conversation.type === 'P2P'
      ? conversation.peer?.designation || 'Direct conversation'
      : people + (conversation.isRestricted ? ' · only admins post' : '');
  byId('conversation-mark').replaceChildren(mark);
  byId('conversation-title').textContent = name;
  byId('conversation-about').textContent = about;
  byId('show-participants').hidden = conversation.type === 'P2P';
}

function rows(conversation) {
  const entry = store.state.open.get(conversation.id);
  if (!entry) return [notLoaded()];
  if (!entry.ready) return [h('p', { class: 'hint' }, 'Loading…')];
  const result = [];
  if (entry.hasMore) result.push(h('p', { class: 'hint', 'data-key': 'older' }, 'Scroll up for older messages'));
  let before = null;
  for (const message of entry.messages) {
    const isNewDay = !before || new Date(before.createdAt).toDateString() !== new Date(message.createdAt).toDateString();
    if (isNewDay) result.push(h('p', { class: 'day', 'data-key': `day ${message.id}` }, dayName(message.createdAt)));
    const continues = !isNewDay && before.senderId === message.senderId;
    result.push(row(conversation, message, continues));
    before = message;
  }
  const drafts = store.state.drafts.filter((draft) => draft.conversationId === conversation.id);
  result.push(...drafts.map((draft) => draftRow(conversation, draft)));
  if (result.length === 0) result.push(h('p', { class: 'hint' }, 'No messages yet. Say hello!'));
  return result;
}

function notLoaded() {
  const load = () => store.loadCurrent().catch(() => {});
  const again = h('button', { type: 'button', class: 'link', onclick: load }, 'Try again');
  return h('p', { class: 'hint' }, 'The messages could not be loaded.', again);
}

function row(conversation, message, continues) {
  const isOwn = message.senderId === me()?.id;
  const name = isOwn ? 'You' : store.senderName(conversation.id, message.senderId);
  const showName = conversation.type === 'GROUP' && !isOwn && !continues;
  return h(
    'div',
    {
      class: `row ${isOwn ? 'own' : 'other'}${continues ? ' continues' : ''}`,
      // Only our own: somebody else's may be one of ours, too.
      'data-key': (isOwn && message.clientMessageId) || message.id,
    },
    h(
      'div',
      { class: 'bubble' },
      h('span', { class: showName ? 'sender' : 'for-readers' }, showName ? name : `${name}: `),
      h('span', { class: 'text', dir: 'auto' }, message.content),
      h(
        'span',
        { class: 'meta' },
        h('time', { datetime: message.createdAt }, clockTime(message.createdAt)),
        isOwn && receipt(conversation, message),
      ),
    ),
  );
}

function receipt(conversation, message) {
  const count = store.readers(conversation.id, message);
  if (count === 0) return ' ✓ Sent';
  return conversation.type === 'P2P' ? ' ✓✓ Seen' : ` ✓✓ Seen by ${count}`;
}

function draftRow(conversation, draft) {
  const discard = () => {
    store.state.drafts = store.state.drafts.filter((other) => other !== draft);
    store.changed('message');
  };
  const action = (label, onclick) => h('button', { type: 'button', class: 'link', onclick }, label);
  return h(
    'div',
    { class: `row own ${draft.error ? 'refused' : 'waiting'}`, 'data-key': draft.clientMessageId },
    h(
      'div',
      { class: 'bubble' },
      h('span', { class: 'for-readers' }, 'You: '),
      h('span', { class: 'text', dir: 'auto' }, draft.content),
      h('span', { class: 'meta' }, draft.error ? `Not sent: ${draft.error}` : 'Sending…'),
      draft.error && store.mayPost(conversation) && action('Try again', () => sendAgain(draft)),
      draft.error && action('Discard', discard),
    ),
  );
}

/** Says what is on the screen has been read, if somebody looks at it. */
function readIfSeen() {
  const conversation = store.current();
  const isReady = store.state.open.get(conversation?.id)?.ready;
  if (isReady && document.visibilityState === 'visible' && document.hasFocus()) markRead(conversation);
}

function submit() {
  const field = byId('composer-text');
  const conversation = store.current();
  if (!conversation || field.value.trim() === '') return;
  const draft = { clientMessageId: uuid(), conversationId: conversation.id, content: field.value };
  field.value = '';
  typed(field);
  send(draft);
  byId('log').scrollTop = byId('log').scrollHeight;
}

/** Each conversation keeps the text typed there until it is sent. */
function typed(field) {
  store.state.unsent.set(store.state.currentId, field.value);
  fit(field);
}

/** As tall as its text, up to the limit of the style sheet. */
function fit(field) {
  field.rows = Math.min(6, field.value.split('\n').length);
}

/** Connects the composer and scrolling. */
export function listen() {
  const field = byId('composer-text');
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  field.addEventListener('input', () => typed(field));
  byId('log').addEventListener('scroll', () => {
    if (byId('log').scrollTop < SCROLL_SLACK && drawnId) store.loadOlder(drawnId).catch(() => {});
  });
  for (const name of ['visibilitychange', 'focus']) window.addEventListener(name, readIfSeen, true);
}
