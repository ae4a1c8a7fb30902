//! REST and the pages, over real HTTP: a gateway with the three services in process, on SQLite.

mod auth;
mod conversations;
mod messages;
mod messenger;
mod operations;
#[path = "../transport/server.rs"]
#[expect(dead_code, reason = "shared with the tests of the transports, which use the rest")]
mod server;
mod sync;
