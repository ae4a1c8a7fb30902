//! One process under test: started, stopped, frozen, killed. Its output goes to a file.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ENDED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How to start it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What the report calls it.
    pub name: String,
    /// The program and what stands before it (`setpriv` and the like).
    pub command: Vec<String>,
    /// Beside `PATH`.
    pub environment: Vec<(&'static str, String)>,
    /// What its output contains when it can be used.
    pub ready: &'static str,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A process, running or not.
pub struct Process {
    launch: Launch,
    child: Option<Child>,
}

impl Process {
    /// Started and ready.
    pub async fn start(launch: Launch) -> anyhow::Result<Self> {
        let mut process = Self { launch, child: None };
        process.restart().await?;
        Ok(process)
    }

    pub fn name(&self) -> &str {
        &self.launch.name
    }

    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it again after it has ended; waits until it is ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let before = length(&self.launch.log);
        let output = File::options().create(true).append(true).open(&self.launch.log)?;
        let (program, arguments) = self.launch.command.split_first().context("a command has a program")?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "RUST_BACKTRACE"))
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A terminal's Ctrl-C is for the run alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let child = self.child.insert(child);
        let began = Instant::now();
        while !since(&self.launch.log, before)?.contains(self.launch.ready) {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}: {}", self.launch.name, since(&self.launch.log, before)?);
            }
            anyhow::ensure!(began.elapsed() < READY_WITHIN, "{} did not become ready", self.launch.name);
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.take().context("not running")?.kill().await?)
    }

    /// Sends a signal (`STOP`, `CONT`, ...).
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} does not run", self.name()))?;
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().await?;
        anyhow::ensure!(status.success(), "{} cannot be signalled", self.name());
        Ok(())
    }

    /// Sends a signal that ends it, and waits until it has ended by itself; gives its exit code.
    pub async fn end(&mut self, signal: &str) -> anyhow::Result<Option<i32>> {
        self.signal(signal).await?;
        let mut child = self.child.take().context("not running")?;
        let ended = timeout(ENDED_WITHIN, child.wait()).await;
        let status = ended.with_context(|| format!("{} goes on after SIG{signal}", self.launch.name))??;
        Ok(status.code())
    }
}

fn length(path: &Path) -> usize {
    path.metadata().map_or(0, |metadata| metadata.len() as usize)
}

/// What was written to a log since it was so long.
fn since(path: &Path, length: usize) -> anyhow::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(bytes.get(length..).unwrap_or_default()).into_owned())
}
