// Dialogs: a new conversation (find a person, make a group), and the participants of a group.

import * as api from './api.js';
import { avatar, byId, h, notice, update } from './dom.js';
import * as store from './state.js';

const SEARCH_PAUSE_MS = 200;

/** Turns a field into a search for people; `choose` gets the user picked, `error` says why nobody can be searched for. */
function searchPeople(field, list, error, choose) {
  let timer = 0;
  let asked = '';
  const show = (users) => {
    const others = users.filter((user) => user.id !== api.me().id);
    list.replaceChildren(...others.map((user) => person(user, choose)));
    if (others.length === 0) list.append(h('li', { class: 'hint' }, 'Nobody found'));
  };
  field.addEventListener('input', () => {
    clearTimeout(timer);
    asked = field.value.trim();
    notice(error, '');
    if (!asked) return list.replaceChildren();
    const query = asked;
    timer = setTimeout(async () => {
      try {
        const { users } = await api.get(`users?limit=20&search=${encodeURIComponent(query)}`);
        if (query === asked) show(users);
      } catch (failure) {
        if (query !== asked) return;
        list.replaceChildren();
        notice(error, failure.message);
      }
    }, SEARCH_PAUSE_MS);
  });
  return () => {
    field.value = asked = '';
    list.replaceChildren();
  };
}

function person(user, choose) {
  return h(
    'li',
    {},
    h(
      'button',
      { type: 'button', class: 'person', onclick: () => choose(user) },
      avatar(user.id, user.fullName),
      h('span', { class: 'about' }, h('span', { class: 'name' }, user.fullName), h('span', { class: 'last' }, user.designation)),
    ),
  );
}

/** The dialog that begins a conversation; `open` gets the id of the conversation. */
export function listenNew(open) {
  const dialog = byId('new-dialog');
  const error = byId('new-error');
  const chosen = new Map();
  const form = byId('group-form');

  async function begin(body) {
    try {
      const conversation = await api.post('conversations', body);
      store.state.conversations.set(conversation.id, conversation);
      dialog.close();
      await open(conversation.id);
    } catch (failure) {
      notice(error, failure.message);
    }
  }

  function drawChosen() {
    const chip = (user) => {
      const drop = () => {
        chosen.delete(user.id);
        drawChosen();
      };
      return h('li', {}, user.fullName, h('button', { type: 'button', 'aria-label': `Remove ${user.fullName}`, onclick: drop }, '×'));
    };
    byId('group-chosen').replaceChildren(...[...chosen.values()].map(chip));
  }

  const clearPerson = searchPeople(byId('person-search'), byId('person-results'), error, (user) =>
    begin({ type: 'P2P', userId: user.id }),
  );
  const clearMembers = searchPeople(byId('member-search'), byId('member-results'), error, (user) => {
    chosen.set(user.id, user);
    clearMembers();
    drawChosen();
    byId('member-search').focus();
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const isRestricted = fields.get('restricted') === 'on';
    begin({ type: 'GROUP', name: fields.get('name'), isRestricted, memberIds: [...chosen.keys()] });
  });
  byId('new-conversation').addEventListener('click', () => {
    clearPerson();
    clearMembers();
    chosen.clear();
    drawChosen();
    form.reset();
    notice(error, '');
    dialog.showModal();
    byId('person-search').focus();
  });
}

/** The dialog with a group's participants: everybody sees it, ADMINs change it. */
export function listenParticipants() {
  const dialog = byId('participants-dialog');
  const error = byId('participants-error');
  /** The restriction that has been asked for and not decided yet. */
  let asked = null;

  async function change(action) {
    notice(error, '');
    const id = store.state.currentId;
    try {
      await action(`conversations/${id}/participants`);
      await store.loadConversation(id);
      await store.reloadParticipants(id);
    } catch (failure) {
      notice(error, failure.message);
    }
  }

  const clear = searchPeople(byId('add-search'), byId('add-results'), error, (user) => {
    clear();
    change((path) => api.post(path, { userIds: [user.id] }));
  });

  function draw() {
    const conversation = store.current();
    if (!conversation) dialog.close();
    if (!dialog.open) return;
    const isAdmin = conversation.role === 'ADMIN';
    byId('add-participant').hidden = !isAdmin;
    byId('restrict').hidden = !isAdmin;
    byId('restricted-now').checked = asked ?? conversation.isRestricted;
    const { participants = [], nextCursor } = store.state.open.get(conversation.id) ?? {};
    byId('more-participants').hidden = !nextCursor;
    update(byId('participants'), participants.map((participant) => row(participant, isAdmin, change)));
  }

  byId('more-participants').addEventListener('click', () =>
    store.reloadParticipants(store.state.currentId, true).catch((failure) => notice(error, failure.message)),
  );
  byId('show-participants').addEventListener('click', () => {
    clear();
    notice(error, '');
    dialog.showModal();
    draw();
  });
  byId('restricted-now').addEventListener('change', async (event) => {
    asked = event.target.checked;
    await change(() => api.patch(`conversations/${store.state.currentId}`, { isRestricted: asked }));
    asked = null;
    draw();
  });
  byId('leave').addEventListener('click', () => {
    const group = store.current();
    if (confirm(`Leave ${store.title(group)}?`)) change(() => api.post(`conversations/${group.id}/leave`));
  });
  store.onChange(draw);
}

function row(participant, isAdmin, change) {
  const { userId, role, user } = participant;
  const name = user?.fullName ?? 'Somebody';
  const other = role === 'ADMIN' ? 'MEMBER' : 'ADMIN';
  const label = role === 'ADMIN' ? 'Make member' : 'Make admin';
  const changeRole = () => change((path) => api.patch(`${path}/${userId}`, { role: other }));
  const remove = () => confirm(`Remove ${name} from the group?`) && change((path) => api.remove(`${path}/${userId}`));
  const mayChange = isAdmin && userId !== api.me().id;
  return h(
    'li',
    { class: 'participant', 'data-key': userId },
    avatar(userId, name),
    h(
      'span',
      { class: 'about' },
      h('span', { class: 'name' }, userId === api.me().id ? `${name} (you)` : name),
      h('span', { class: 'last' }, role === 'ADMIN' ? 'Admin' : 'Member'),
    ),
    mayChange && h('button', { type: 'button', class: 'link', 'aria-label': `${label}: ${name}`, onclick: changeRole }, label),
    mayChange && h('button', { type: 'button', class: 'link danger', 'aria-label': `Remove ${name}`, onclick: remove }, 'Remove'),
  );
}
