//! Packets and frames of both transports, and the commands in them.

use bytes::Bytes;
use messenger_core::Error;
use messenger_gateway::wire::{Body, Command, EnginePacket, Envelope, Event, Packet, Posts, SEPARATOR, join, packets};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{Outcome, Probe};

/// The text of an input: what is none never comes this far.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

const NO_TEXT: &str = "no text";

/// What is read is written as it came.
pub fn engine_packet(input: &[u8], probe: &mut Probe) -> Outcome {
    let Some(text) = text(input) else { return Outcome::of(NO_TEXT) };
    match probe.read(text.len(), || EnginePacket::decode(text)) {
        Ok(packet) => {
            assert_eq!(engine_text(&packet), text);
            Outcome::sized("packet", text.len())
        }
        Err(error) => Outcome::of(error),
    }
}

fn engine_text(packet: &EnginePacket<'_>) -> String {
    match packet {
        EnginePacket::Close => "1".to_owned(),
        EnginePacket::Pong => "3".to_owned(),
        EnginePacket::Message(message) => format!("4{message}"),
    }
}

/// A body that is taken comes out packet by packet, all of it, and is answered well; another one is answered badly.
pub fn polling_body(input: &[u8], probe: &mut Probe) -> Outcome {
    let is_taken = probe.read(input.len(), || {
        let (done, mut answer) = oneshot::channel();
        let mut posts = Posts::default();
        let is_taken = posts.push(Bytes::copy_from_slice(input), done);
        posts.by_ref().for_each(drop);
        assert_eq!(answer.try_recv(), Ok(is_taken));
        is_taken
    });
    if !is_taken {
        return Outcome::of("refused");
    }
    let mut posts = Posts::default();
    posts.push(Bytes::copy_from_slice(input), oneshot::channel().0);
    let read: Vec<_> = posts.collect();
    assert!(read.iter().all(|packet| EnginePacket::decode(packet).is_ok()));
    assert_eq!(join(read.iter().map(|packet| packet.as_bytes())), input);
    let body = text(input).expect("it was taken");
    assert!(packets(body).eq(read.iter().map(|packet| packet.as_str())));
    assert!(read.iter().all(|packet| !packet.contains(SEPARATOR)));
    Outcome::sized("taken", read.len())
}

/// What is read and written again means the same.
pub fn socketio_packet(input: &[u8], probe: &mut Probe) -> Outcome {
    let Some(text) = text(input) else { return Outcome::of(NO_TEXT) };
    match probe.read(text.len(), || Packet::decode(text)) {
        Ok(packet) => {
            let written = packet_text(&packet);
            let again = Packet::decode(&written).unwrap_or_else(|error| panic!("{written} is no packet: {error}"));
            assert_eq!(packet_text(&again), written);
            Outcome::sized(&packet_shape(&packet), written.len())
        }
        Err(error) => Outcome::of(error),
    }
}

fn packet_text(packet: &Packet<'_>) -> String {
    let namespace = packet.namespace;
    match &packet.body {
        Body::Connect(auth) => {
            let [token, pid, offset] = [&auth.token, &auth.pid, &auth.offset].map(|text| text.as_str());
            format!("0{namespace},{}", serde_json::json!({ "token": token, "pid": pid, "offset": offset }))
        }
        Body::Disconnect => format!("1{namespace},"),
        Body::Event(Event { ack, name, data }) => {
            let ack = ack.map(|ack| ack.to_string()).unwrap_or_default();
            let data = data.map(|data| format!(",{}", data.get())).unwrap_or_default();
            format!("2{namespace},{ack}[{}{data}]", serde_json::json!(name))
        }
        Body::Ignored => format!("3{namespace},0[]"),
    }
}

fn packet_shape(packet: &Packet<'_>) -> String {
    let body = match &packet.body {
        Body::Connect(auth) => {
            format!("connect {:?}", [&auth.token, &auth.pid, &auth.offset].map(|text| text.as_str().is_some()))
        }
        Body::Disconnect => "disconnect".to_owned(),
        Body::Event(event) => {
            let first = event.data.and_then(|data| data.get().chars().next());
            format!("event {} {first:?}", event.ack.is_some())
        }
        Body::Ignored => "ignored".to_owned(),
    };
    format!("{body} {}", packet.namespace.len() > 1)
}

/// What is read and written again means the same.
pub fn plain_frame(input: &[u8], probe: &mut Probe) -> Outcome {
    let Some(text) = text(input) else { return Outcome::of(NO_TEXT) };
    match probe.read(text.len(), || Envelope::decode(text)) {
        Ok(frame) => {
            let written = frame_text(&frame);
            let again = Envelope::decode(&written).unwrap_or_else(|error| panic!("{written} is no frame: {error}"));
            assert_eq!(frame_text(&again), written);
            let shape = format!("{:?} {}", frame.data.and_then(|data| data.get().chars().next()), frame.id.is_some());
            Outcome::sized(&shape, text.len())
        }
        Err(error) => Outcome::of(error),
    }
}

fn frame_text(frame: &Envelope<'_>) -> String {
    let [data, id] = [frame.data, frame.id].map(|value| value.map_or("null", RawValue::get));
    format!(r#"{{"event":{},"data":{data},"id":{id}}}"#, serde_json::json!(frame.event))
}

/// The event's name, a blank, and its data. Whatever is wrong is said in few words.
pub fn command(input: &[u8], probe: &mut Probe) -> Outcome {
    let Some(text) = text(input) else { return Outcome::of(NO_TEXT) };
    let (event, json) = text.split_once(' ').unwrap_or((text, ""));
    let data: Option<&RawValue> = serde_json::from_str(json).ok();
    match probe.read(text.len(), || Command::decode(event, data)) {
        Ok(command) => Outcome::of(command_shape(&command)),
        Err(error) => {
            assert!(error_bytes(&error) < 512, "a long answer to a short mistake");
            Outcome::of(error)
        }
    }
}

fn command_shape(command: &Command<'_>) -> &'static str {
    match command {
        Command::SendMessage(_) => "send_message",
        Command::MarkRead(_) => "mark_read",
        Command::Sync(_) => "sync",
        Command::RefreshToken(_) => "refresh_token",
    }
}

fn error_bytes(error: &Error) -> usize {
    error.message().len() + error.fields().iter().map(|field| field.field.len() + field.message.len()).sum::<usize>()
}
