// The list of conversations.

import { avatar, byId, h, shortTime, update } from './dom.js';
import * as store from './state.js';
import { me } from './api.js';

/** Draws the list; `open` is called with the id of the one chosen. */
export function drawList(open) {
  update(byId('conversations'), store.sorted().map((conversation) => item(conversation, open)));
  byId('no-conversations').hidden = store.state.conversations.size > 0;
  byId('more-conversations').hidden = !store.state.nextCursor;
}

function item(conversation, open) {
  const name = store.title(conversation);
  const { unreadCount, lastMessage } = conversation;
  const isCurrent = conversation.id === store.state.currentId;
  return h(
    'li',
    { 'data-key': conversation.id },
    h(
      'button',
      {
        type: 'button',
        class: 'conversation',
        'aria-current': isCurrent ? 'true' : null,
        onclick: () => open(conversation.id),
      },
      avatar(conversation.peer?.id ?? conversation.id, name),
      h(
        'span',
        { class: 'about' },
        h('span', { class: 'name' }, name),
        h('span', { class: 'last' }, preview(conversation)),
      ),
      h(
        'span',
        { class: 'aside' },
        lastMessage && h('time', { datetime: lastMessage.createdAt }, shortTime(lastMessage.createdAt)),
        unreadCount > 0 &&
          h('span', { class: 'badge' }, String(unreadCount), h('span', { class: 'for-readers' }, ' unread')),
      ),
    ),
  );
}

function preview({ type, lastMessage }) {
  if (!lastMessage) return type === 'GROUP' ? 'New group' : 'No messages yet';
  const line = lastMessage.content.slice(0, 120);
  return lastMessage.senderId === me()?.id ? `You: ${line}` : line;
}
