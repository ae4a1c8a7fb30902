//! The message service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger-message", messenger_message::run)
}
