//! HTTP/2 by hand, for what no library would send: frames over one TCP connection.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_HEADERS: u8 = 4;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Frame {
    /// The error a GOAWAY or RST_STREAM gives.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.body.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().expect("four bytes")))
    }
}

/// A connection that may send anything.
pub struct Wire {
    writer: OwnedWriteHalf,
    reader: OwnedReadHalf,
}

impl Wire {
    /// With a preface and these settings.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let (reader, mut writer) = TcpStream::connect(address).await?.into_split();
        writer.write_all(PREFACE).await?;
        let body: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        writer.write_all(&frame(SETTINGS, 0, 0, &body)).await?;
        Ok(Self { writer, reader })
    }

    /// Reads along in a task of its own, so that the server is never held up; gives the GOAWAY, if one came.
    pub fn drain(self) -> (OwnedWriteHalf, JoinHandle<Option<Frame>>, Arc<AtomicU32>) {
        let (mut reader, resets) = (self.reader, Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&resets);
        let task = tokio::spawn(async move {
            while let Ok(frame) = read(&mut reader).await {
                match frame.kind {
                    GOAWAY => return Some(frame),
                    RST_STREAM => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
            }
            None
        });
        (self.writer, task, resets)
    }
}

async fn read(reader: &mut OwnedReadHalf) -> io::Result<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    Ok(Frame { kind: head[3], body })
}

pub fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a frame's length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// Headers of a call, each a literal that is not indexed.
pub fn head(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path), ("te", "trailers")];
    let content = [("content-type", "application/grpc")];
    head.iter().chain(&content).chain(more).flat_map(|(name, value)| literal(name, value)).collect()
}

/// A header that is not put in the table.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// Length in HPACK's form with a prefix of 7 bits, then the bytes themselves.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = integer(text.len(), 7, 0);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// An integer in HPACK's form, below the flags of its first byte.
fn integer(mut value: usize, prefix_bits: u32, flags: u8) -> Vec<u8> {
    let largest = (1_usize << prefix_bits) - 1;
    if value < largest {
        return vec![flags | u8::try_from(value).expect("below the prefix")];
    }
    let mut bytes = vec![flags | u8::try_from(largest).expect("a prefix")];
    value -= largest;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).expect("seven bits") | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
    bytes
}

/// A header that goes into the table, to be named by one byte later.
pub fn indexed(name: &str, value: &str) -> Vec<u8> {
    [&[0x40][..], &text(name), &text(value)].concat()
}
