//! HTTP/1.1 on one kept connection, for GET answers of known length: cheaper than what is measured.

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::target::Target;

/// A connection; one request at a time.
pub struct Http {
    stream: TcpStream,
    headers: String,
    buffer: Vec<u8>,
}

impl Http {
    /// Connects; requests will carry this access token.
    pub async fn connect(target: &Target, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address()).await?;
        stream.set_nodelay(true)?;
        let headers = format!("HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n", target.address());
        Ok(Self { stream, headers, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// The body of a successful answer.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<&[u8]> {
        self.stream.write_all(format!("GET {path} {}", self.headers).as_bytes()).await?;
        self.buffer.clear();
        let body = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = std::str::from_utf8(&self.buffer[..body])?.to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 200"), "GET {path}: {}", head.lines().next().unwrap_or_default());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer without its length")?.parse()?;
        while self.buffer.len() < body + length {
            self.read().await?;
        }
        Ok(&self.buffer[body..body + length])
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        Ok(())
    }
}
