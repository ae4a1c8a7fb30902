//! One process of the product: started, watched until it says that it is ready, ended.

use std::{
    net::{SocketAddr, TcpListener},
    ops::Range,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{self as unix, UnixListener},
    },
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};
use uuid::Uuid;

use crate::privacy::find_private;

const READY_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(30);

/// How to start one process.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Name of the binary, next to the test's own folder.
    pub binary: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside PATH.
    pub environment: Vec<(&'static str, String)>,
}

/// A running process.
pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Where cargo puts the binaries: the folder above the one of this test.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("tests run from target/<profile>/deps")?;
    let path = folder.join(name);
    anyhow::ensure!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    Ok(path)
}

impl Process {
    /// Starts it and waits until it logs that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready within a minute; the error holds its log.
    pub async fn start(launch: &Launch) -> anyhow::Result<Self> {
        let mut process = Self::spawn(launch)?;
        let (seen, mut ready) = watch::channel(false);
        let seen = Arc::new(seen);
        if let Some(output) = process.child.stdout.take() {
            process.readers.push(process.watch(output, seen.clone()));
        }
        if let Some(output) = process.child.stderr.take() {
            process.readers.push(process.watch(output, seen));
        }
        let outcome = tokio::select! {
            ready = tokio::time::timeout(READY_LIMIT, ready.wait_for(|ready| *ready)) => matches!(ready, Ok(Ok(_))),
            _ = process.child.wait() => false,
        };
        if !outcome {
            process.child.kill().await?;
            process.all_read().await?;
            bail!("{} did not become ready:\n{}", launch.binary, process.log());
        }
        Ok(process)
    }

    fn spawn(launch: &Launch) -> anyhow::Result<Self> {
        let child = Command::new(binary(launch.binary)?)
            .args(&launch.arguments)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "RUST_BACKTRACE"))
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, log: Arc::default(), readers: Vec::new() })
    }

    fn watch(
        &self,
        output: impl AsyncRead + Unpin + Send + 'static,
        ready: Arc<watch::Sender<bool>>,
    ) -> JoinHandle<()> {
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let is_ready = line.contains("ready");
                let mut log = log.lock().expect("no reader panics while it holds the log");
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if is_ready {
                    ready.send_replace(true);
                }
            }
        })
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics while it holds the log").clone()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself: its exit code, and all it has printed.
    ///
    /// # Errors
    /// When it is still there after 30 s.
    pub async fn ended(mut self) -> anyhow::Result<(Option<i32>, String)> {
        let ended = tokio::time::timeout(END_LIMIT, self.child.wait()).await;
        let status = ended.with_context(|| format!("still running:\n{}", self.log()))??;
        self.all_read().await?;
        Ok((status.code(), self.log()))
    }

    /// Its last words are often read after its end is known.
    async fn all_read(&mut self) -> anyhow::Result<()> {
        for reader in self.readers.drain(..) {
            reader.await?;
        }
        Ok(())
    }

    /// Sends it a signal, `INT` for example.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().context("already ended")?;
        Command::new("kill").args(["-s", name, &id.to_string()]).status().await?;
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits until it has ended by itself.
    ///
    /// # Errors
    /// When it is still there after 30 s.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let id = self.id().context("already ended")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        let ended = tokio::time::timeout(END_LIMIT, self.child.wait()).await;
        Ok(ended.with_context(|| format!("still running after SIGTERM:\n{}", self.log()))??)
    }
}

/// Whatever ended it: what it printed is nobody's business but an operator's, and holds nothing of users'.
impl Drop for Process {
    fn drop(&mut self) {
        if let Some((text, line)) = find_private(&self.log()).filter(|_| !thread::panicking()) {
            panic!("{text:?} is private and was printed: {line}");
        }
    }
}

/// Below the ports the kernel gives to connecting sockets: a client that calls a process that is being restarted would
/// otherwise now and then be given the very port it calls, and be connected with itself.
const PORTS: Range<u16> = 10_240..32_000;

/// The ports this process was given: an abstract socket each, which the kernel lets one process of the machine have.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// An address nobody listens on, and no other test is given while this one runs.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    // Tests run side by side, each in a process of its own: they begin to look at different places.
    let begin = usize::from(Uuid::new_v4().as_fields().1) % PORTS.len();
    let mut ports = PORTS.skip(begin).chain(PORTS.take(begin));
    let (reservation, listener) = ports.find_map(reserve).context("no port is free")?;
    RESERVED.lock().expect("nobody panics while it holds the list").push(reservation);
    Ok(listener.local_addr()?)
}

fn reserve(port: u16) -> Option<(UnixListener, TcpListener)> {
    let name = unix::SocketAddr::from_abstract_name(format!("messenger-test-{port}")).ok()?;
    Some((UnixListener::bind_addr(&name).ok()?, TcpListener::bind(("127.0.0.1", port)).ok()?))
}
