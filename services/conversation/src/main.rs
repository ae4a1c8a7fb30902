//! The conversation service as a process of its own.

use std::process::ExitCode;

use messenger_conversation::{Config, run};
use messenger_core::Result;

/// What an operator has to put right.
const EXIT_SETTINGS: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("messenger-conversation: {}", error.message());
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}

async fn start() -> Result<()> {
    let config = Config::read()?;
    if config.print_config {
        print!("{config}");
        return Ok(());
    }
    run(config).await
}
