//! The session core without sockets: real services on SQLite, the message service behind a link that can be cut.

mod client;
mod commands;
mod delivery;
mod faults;
mod lifetime;
mod statements;
mod world;
