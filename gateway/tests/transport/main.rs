//! Both transports over real sockets: a real gateway with the services in process, on SQLite.
//!
//! `engine` and `packets` hold every case of the published Engine.IO 4 and Socket.IO 5 suites that applies.

mod client;
mod engine;
mod handshake;
mod packets;
mod polling;
mod pressure;
mod server;
mod websocket;
