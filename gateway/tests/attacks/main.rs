//! Hostile input over the wire, a row of docs/security.md in each test, with two well-behaved users beside it who must
//! not notice: a real gateway with the services in process, on SQLite.
//!
//! What is sent stands in lists (`row_43` and the like), so that the inputs can be counted: `rows` compares the numbers
//! with the document.

mod accounts;
mod bodies;
#[path = "../transport/client.rs"]
mod client;
mod connections;
mod events;
mod framing;
mod load;
mod packets;
mod polling;
mod rights;
mod rows;
#[path = "../transport/server.rs"]
#[expect(dead_code, reason = "shared with the tests of the transports, which use the rest")]
mod server;
mod tokens;
mod world;
