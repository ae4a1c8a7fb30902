//! What no process may print: the contents, passwords, addresses and tokens of test users. Every log is looked through
//! when its process is over, in every test that starts one.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::api::PASSWORD;

/// Characters of a text that is looked for: shorter ones stand in a log by chance.
const CHARS_MIN: usize = 9;
/// The domain of every test user's address, how access tokens begin (`{"typ":`, `{"alg":`), the password of all.
const ALWAYS: [&str; 4] = ["@example.com", "eyJ0eXAi", "eyJhbGci", PASSWORD];

/// What this test process sent.
static SENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Looks for the texts of a request from now on: content, passwords, tokens.
pub(crate) fn remember(request: &Value) {
    const PRIVATE: [&str; 7] =
        ["content", "password", "currentPassword", "newPassword", "token", "refreshToken", "email"];
    for text in PRIVATE.iter().filter_map(|field| request[field].as_str()) {
        if text.chars().count() >= CHARS_MIN {
            SENT.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned());
        }
    }
}

/// The first private text in what a process has printed, with the line it is in.
#[must_use]
pub fn find_private(printed: &str) -> Option<(String, String)> {
    let sent = SENT.lock().unwrap_or_else(PoisonError::into_inner);
    let private = ALWAYS.into_iter().chain(sent.iter().map(String::as_str));
    private.into_iter().find_map(|text| {
        let line = printed.lines().find(|line| line.contains(text))?;
        Some((text.to_owned(), line.to_owned()))
    })
}
