//! The whole messenger as one process: the gateway and the three services, on SQLite or PostgreSQL.

mod backend;
mod certs;
mod config;
mod run;

use std::process::ExitCode;

use crate::config::CommandLine;

#[global_allocator]
static ALLOCATOR: messenger_telemetry::Allocator = messenger_telemetry::Allocator;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger", CommandLine::run)
}
