//! The gateway as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger-gateway", messenger_gateway::run)
}
