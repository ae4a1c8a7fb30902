//! The whole messenger as one process: the gateway and the three services, on SQLite or PostgreSQL.

mod backend;
mod config;
mod run;

use std::process::ExitCode;

use messenger_core::Result;

use crate::config::Config;

/// What an operator has to put right.
const EXIT_SETTINGS: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("messenger: {}", error.message());
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
    run::run(config).await
}
