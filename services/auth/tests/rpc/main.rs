//! The service over its wire: in process and over TCP, as services and as end users call it.

mod access;
mod accounts;
#[path = "../common/mod.rs"]
mod common;
mod floods;
mod foreign;
mod keys;
mod process;
mod refresh;
mod revocations;
mod server;
