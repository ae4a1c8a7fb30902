//! The targets: a decoder each, its seeds, and what must hold for every input.

mod opaque;
mod token;
mod value;
mod wire;

use crate::{Outcome, Probe};

/// Stand in a file of seeds, one a line, for what would be invisible there.
const VISIBLE: [(char, &str); 3] = [('␞', "\u{1e}"), ('␊', "\n"), ('␀', "\0")];

/// Something that reads what strangers send.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is also that of its file of seeds.
    pub name: &'static str,
    seeds: &'static str,
    /// Panics when the input breaks it.
    pub check: fn(&[u8], &mut Probe) -> Outcome,
}

impl Target {
    /// Inputs to begin with.
    #[must_use]
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let plain = |line: &str| {
            VISIBLE.iter().fold(line.to_owned(), |text, &(visible, plain)| text.replace(visible, plain)).into_bytes()
        };
        self.seeds.lines().map(plain).chain([Vec::new()]).collect()
    }
}

macro_rules! targets {
    ($($name:ident: $check:path,)+) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            seeds: include_str!(concat!("../seeds/", stringify!($name), ".txt")),
            check: $check,
        },)+];
    };
}

targets! {
    engine_packet: wire::engine_packet,
    polling_body: wire::polling_body,
    socketio_packet: wire::socketio_packet,
    plain_frame: wire::plain_frame,
    command: wire::command,
    cursor: opaque::cursor,
    page_token: opaque::page_token,
    pid: opaque::pid,
    access_token: token::access_token,
    token_claims: token::token_claims,
    jwk_set: token::jwk_set,
    content: value::content,
    metadata: value::metadata,
    id_and_time: value::id_and_time,
}
