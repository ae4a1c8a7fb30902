//! Both transports over real sockets: a real gateway with the services in process, on SQLite.
//!
//! `engine` and `packets`, with the packets nobody should send in `tests/attacks`, hold every case of the published
//! Engine.IO 4 and Socket.IO 5 suites that applies.

#[expect(dead_code, reason = "shared with the attacks, which use the rest")]
mod client;
mod engine;
mod handshake;
mod packets;
mod polling;
mod pressure;
#[expect(dead_code, reason = "shared with the attacks, which use the rest")]
mod server;
mod websocket;
