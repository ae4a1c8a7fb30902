//! Publications on the bus that no process of the messenger made: noise, true ones cut off or changed, and old ones again.

use std::net::SocketAddr;

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, Instant, timeout_at},
};
use uuid::Uuid;

use crate::{random::Random, resp};

/// How many there are.
pub const PUBLICATIONS: usize = 100_000;
const AT_ONCE: usize = 1_000;
/// True ones that are heard first, to be forged.
const HEARD: usize = 20;
const HEARD_BYTES_MAX: usize = 1_000;
const HEARD_WITHIN: Duration = Duration::from_secs(1);
const NOISE_BYTES: usize = 64;

/// Publishes all of it where the processes of this database listen.
pub async fn redis(address: SocketAddr, database: &str, random: &mut Random) -> anyhow::Result<()> {
    let feed = format!("messenger:{}", journal(database).await?);
    let heard = hear(address, &feed).await?;
    let mut socket = TcpStream::connect(address).await?;
    let mut answers = vec![0; 64 * 1024];
    for _ in 0..PUBLICATIONS / AT_ONCE {
        let commands: Vec<u8> =
            (0..AT_ONCE).flat_map(|_| command(&[b"PUBLISH", feed.as_bytes(), &junk(&heard, random)])).collect();
        let (mut reader, mut writer) = socket.split();
        // Each is answered by one line.
        let answered = async {
            let mut lines = 0;
            while lines < AT_ONCE {
                let length = reader.read(&mut answers).await?;
                anyhow::ensure!(length > 0, "Redis closed the connection");
                lines += answers[..length].iter().filter(|byte| **byte == b'\n').count();
            }
            Ok(())
        };
        tokio::try_join!(async { Ok(writer.write_all(&commands).await?) }, answered)?;
    }
    Ok(())
}

/// The same by NOTIFY, where the bus is PostgreSQL.
pub async fn postgres(database: &str) -> anyhow::Result<()> {
    let feed = format!("messenger_{}", journal(database).await?.simple());
    let mut connection = PgConnection::connect(database).await?;
    let query = "SELECT count(pg_notify($1, md5(n::text) || repeat(n::text, n % 40))) FROM generate_series(1, $2) AS n";
    sqlx::query(query).bind(feed).bind(PUBLICATIONS as i32).execute(&mut connection).await?;
    Ok(())
}

async fn journal(database: &str) -> anyhow::Result<Uuid> {
    let mut connection = PgConnection::connect(database).await?;
    Ok(sqlx::query("SELECT identity FROM message.journal").fetch_one(&mut connection).await?.get(0))
}

/// Some true publications; none while the bus is down.
async fn hear(address: SocketAddr, feed: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(&[command(&[b"HELLO", b"3"]), command(&[b"SUBSCRIBE", feed.as_bytes()])].concat()).await?;
    let (mut waiting, mut heard) = (Vec::new(), Vec::new());
    let until = Instant::now() + HEARD_WITHIN;
    while heard.len() < HEARD {
        let Ok(length) = timeout_at(until, socket.read_buf(&mut waiting)).await else { break };
        anyhow::ensure!(length? > 0, "Redis closed the connection");
        while let Some(end) = resp::end(&waiting) {
            let message: Vec<u8> = waiting.drain(..end).collect();
            heard.extend(resp::published(&message).filter(|publication| publication.len() <= HEARD_BYTES_MAX));
        }
    }
    Ok(heard)
}

fn junk(heard: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let Some(publication) = heard.get(random.below(HEARD as u64) as usize) else {
        return (0..NOISE_BYTES).map(|_| random.below(256) as u8).collect();
    };
    let mut bytes = publication.clone();
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(3) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1,
        // As it was: old news.
        _ => {}
    }
    bytes
}

fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
