// Starts the page: logging in, and what belongs to it; draws whatever changed.

import * as api from './api.js';
import { listenNew, listenParticipants } from './dialogs.js';
import { byId, notice } from './dom.js';
import { drawList } from './list.js';
import { drawConversation, listen } from './messages.js';
import { connect, disconnect, whenStatusChanges } from './socket.js';
import * as store from './state.js';

const STATUS = { connecting: 'Connection lost. Reconnecting…', offline: 'No connection. Trying again…' };

function showApp() {
  byId('welcome').hidden = true;
  byId('app').hidden = false;
  byId('own-name').textContent = api.me().fullName;
  byId('new-conversation').focus();
  connect();
}

function showWelcome() {
  disconnect();
  store.reset();
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  byId('app').hidden = true;
  byId('welcome').hidden = false;
  showForm(false);
  document.title = 'Messenger';
}

function showForm(registering) {
  byId('register').hidden = !registering;
  byId('login').hidden = registering;
  byId(registering ? 'register-name' : 'login-email').focus();
}

/** What could not be loaded says so where it would be. */
const open = (id) => store.openConversation(id).catch(() => {});

function draw(what) {
  drawList(open);
  drawConversation(what);
  const unread = [...store.state.conversations.values()].reduce((sum, one) => sum + one.unreadCount, 0);
  document.title = unread > 0 ? `(${unread}) Messenger` : 'Messenger';
}

/** Submits one of the two forms of the first page. */
function listenForm(form, submit) {
  const error = form.querySelector('[role=alert]');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    notice(error, '');
    const button = form.querySelector('button[type=submit]');
    button.disabled = true;
    try {
      await submit(Object.fromEntries(new FormData(form)));
      form.reset();
      showApp();
    } catch (failure) {
      notice(error, failure.message);
    } finally {
      button.disabled = false;
    }
  });
}

function listenWelcome() {
  listenForm(byId('login'), ({ email, password }) => api.logIn(email, password));
  listenForm(byId('register'), (fields) => api.register(fields));
  byId('to-register').addEventListener('click', () => showForm(true));
  byId('to-login').addEventListener('click', () => showForm(false));
}

function start() {
  listenWelcome();
  listenNew(open);
  listenParticipants();
  listen();
  store.onChange(draw);
  api.whenLoggedOut(showWelcome);
  whenStatusChanges((status) => notice(byId('banner'), STATUS[status]));
  byId('log-out').addEventListener('click', api.logOut);
  byId('more-conversations').addEventListener('click', () => store.loadConversations(true).catch(() => {}));
  byId('back').addEventListener('click', () => {
    store.state.currentId = null;
    store.changed();
  });
  for (const button of document.querySelectorAll('[data-close]')) {
    button.addEventListener('click', () => button.closest('dialog').close());
  }
  if (api.me()) showApp();
  else byId('login-email').focus();
}

start();
