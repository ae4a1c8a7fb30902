//! `messenger certs`: the authority of one installation, and certificates for its services.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use messenger_core::{Error, ErrorKind, Result, SystemClock};
use messenger_rpc::Service;
use messenger_tls::{Authority, Name};

/// Care for the certificates by which services know each other.
#[derive(Subcommand)]
pub enum CertsCommand {
    /// Make an authority, once for an installation. Its key (`ca/ca.key`) makes services: keep it where no service runs.
    Ca(FolderArgs),
    /// Make the certificate of a service, or a new one: a folder of its name, for --certificates.
    Issue(IssueArgs),
}

/// Where certificates are kept.
#[derive(Args)]
pub struct FolderArgs {
    /// Folder of the authority and of what it makes.
    #[arg(long, default_value = "./certificates")]
    folder: PathBuf,
}

/// What to certify.
#[derive(Args)]
pub struct IssueArgs {
    /// Services: auth, conversation, message, gateway, or one of your own.
    #[arg(required = true)]
    names: Vec<Name>,
    /// A name or address by which other programs than our own services reach it; may be given again.
    #[arg(long)]
    host: Vec<String>,
    /// Days it is good for. A new one is taken over without a restart.
    #[arg(long, default_value = "365", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    folder: FolderArgs,
}

impl CertsCommand {
    /// Does it, and says where the result is.
    ///
    /// # Errors
    /// VALIDATION_FAILED with one line that names what is wrong.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Ca(FolderArgs { folder }) => {
                Authority::create(&folder, &SystemClock)?;
                println!("{}", folder.join("ca").display());
            }
            Self::Issue(IssueArgs { names, host, days, folder }) => {
                let is_ours = |host: &&String| Service::OURS.iter().any(|ours| ours.name().eq_ignore_ascii_case(host));
                if let Some(taken) = host.iter().find(is_ours) {
                    let line = format!("--host {taken}: that is the name of a service, which would be taken for it");
                    return Err(Error::new(ErrorKind::ValidationFailed, line));
                }
                let authority = Authority::open(&folder.folder, &SystemClock)?;
                let life = Duration::from_secs(u64::from(days) * 86_400);
                for name in &names {
                    println!("{}", authority.issue(name, &host, life, &SystemClock)?.display());
                }
            }
        }
        Ok(())
    }
}
