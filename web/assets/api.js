// REST: one request function, tokens kept for this tab only, one refresh at a time.

const PREFIX = '/api/v1/';
const STORED = 'messenger.session';
/** What a refresh is refused with that no other try would change. */
const ENDED = ['UNAUTHENTICATED', 'TOKEN_REVOKED', 'TOKEN_EXPIRED', 'FORBIDDEN', 'VALIDATION_FAILED'];

/** An answer that is not a success; `code` is the server's stable error code. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || 'The request failed');
    this.code = problem.code;
    this.fields = problem.fields || [];
  }
}

let session = JSON.parse(sessionStorage.getItem(STORED) || 'null');
let refreshing = null;
let onLoggedOut = () => {};

/** Called when the session has ended and the user must log in again. */
export function whenLoggedOut(callback) {
  onLoggedOut = callback;
}

/** The logged-in user, or null. */
export function me() {
  return session && session.user;
}

/** The access token to connect with, or null. */
export function accessToken() {
  return session && session.accessToken;
}

function keep(next) {
  session = next;
  if (next) sessionStorage.setItem(STORED, JSON.stringify(next));
  else sessionStorage.removeItem(STORED);
}

async function fetchJson(method, path, body, token) {
  const headers = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(PREFIX + path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch(() => {
    throw new ApiError({ code: 'UNAVAILABLE', detail: 'The server cannot be reached' });
  });
  if (response.status === 204) return null;
  // What is no JSON comes from something before the server, also when it is called a success.
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) throw new ApiError(answer ?? {});
  return answer;
}

/** Gives a fresh access token; ends the session when the refresh token works no more. */
export function refresh() {
  refreshing ??= fetchJson('POST', 'auth/refresh', { refreshToken: session?.refreshToken ?? '' })
    .then((next) => {
      keep(next);
      return next.accessToken;
    })
    .catch((error) => {
      if (ENDED.includes(error.code)) {
        keep(null);
        onLoggedOut();
      }
      throw error;
    })
    .finally(() => {
      refreshing = null;
    });
  return refreshing;
}

/** Calls as the logged-in user; an expired token is refreshed once and the call repeated. */
export async function call(method, path, body) {
  try {
    return await fetchJson(method, path, body, accessToken());
  } catch (error) {
    if (!session || !['TOKEN_EXPIRED', 'UNAUTHENTICATED', 'TOKEN_REVOKED'].includes(error.code)) throw error;
    return fetchJson(method, path, body, await refresh());
  }
}

export const get = (path) => call('GET', path);
export const post = (path, body = {}) => call('POST', path, body);
export const patch = (path, body) => call('PATCH', path, body);
export const remove = (path) => call('DELETE', path);

export async function logIn(email, password) {
  keep(await fetchJson('POST', 'auth/login', { email, password }));
}

export async function register(form) {
  keep(await fetchJson('POST', 'auth/register', form));
}

export async function logOut() {
  await post('auth/logout').catch(() => {});
  keep(null);
  onLoggedOut();
}
