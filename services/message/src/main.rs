//! The message service as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: messenger_telemetry::Allocator = messenger_telemetry::Allocator;

fn main() -> ExitCode {
    messenger_telemetry::main("messenger-message", messenger_message::run)
}
