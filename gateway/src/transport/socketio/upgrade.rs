//! From polling to a websocket: `2probe`, `3probe`, and `5` once the client is done polling.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    engine,
    engines::UnconnectedPermit,
    polling::{Probe, Request},
};
use crate::transport::{
    End,
    link::Received,
    socket::{Handshake, Socket},
};

/// How long the client has to finish polling.
const DEADLINE: Duration = Duration::from_secs(10);

/// Probes the websocket and hands it to the engine. If it fails, the engine goes on polling. Until then it has a place
/// among those on the way to a connection.
pub async fn run(handshake: Handshake, requests: mpsc::Sender<Request>, _permit: UnconnectedPermit) {
    let Some(mut socket) = handshake.socket().await else { return };
    match timeout(DEADLINE, probe(&mut socket, &requests)).await {
        Ok(Ok(engine)) => {
            // Fails when the engine ended meanwhile: then the websocket is dropped, too.
            let _ = engine.send(Box::new(socket));
        }
        Ok(Err(End::Gone)) => {}
        Ok(Err(_)) | Err(_) => socket.close(1002, "upgrade failed").await,
    }
}

async fn probe(socket: &mut Socket, requests: &mpsc::Sender<Request>) -> Result<oneshot::Sender<Box<Socket>>, End> {
    let (probe, answer) = engine::PROBE;
    expect(socket, probe).await?;
    let (granted, is_granted) = oneshot::channel();
    let (engine, upgraded) = oneshot::channel();
    let request = Request::Probe(Probe { granted, upgraded });
    requests.send(request).await.map_err(|_| End::Malformed)?;
    is_granted.await.map_err(|_| End::Malformed)?;
    socket.send([Bytes::from_static(answer.as_bytes())]).await?;
    expect(socket, engine::UPGRADE).await?;
    Ok(engine)
}

async fn expect(socket: &mut Socket, expected: &str) -> Result<(), End> {
    loop {
        match socket.receive().await {
            Received::Text(text) if text.as_str() == expected => return Ok(()),
            Received::Ping => {}
            Received::Ended(end) => return Err(end),
            _ => return Err(End::Malformed),
        }
    }
}
