//! The whole messenger as one process: the gateway and the three services, on SQLite or PostgreSQL.

mod backend;
mod config;
mod run;

use std::process::ExitCode;

use crate::config::CommandLine;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger", CommandLine::run)
}
