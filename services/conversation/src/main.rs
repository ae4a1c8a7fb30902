//! The conversation service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger-conversation", messenger_conversation::run)
}
