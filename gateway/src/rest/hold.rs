//! A call's place among those of its user: taken before anything is done for it, and given back when the last byte of its
//! answer is written or its connection is gone. So what waits for readers that do not read is bounded for each user.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use messenger_core::{Error, UserId};
use messenger_rpc::Turn;

use crate::session::Gateway;

/// The place of one call; empty while nobody has shown a token.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold(Arc<Mutex<Option<Turn<UserId>>>>);

impl Hold {
    /// Takes the place, waiting for one if need be.
    ///
    /// # Errors
    /// RATE_LIMITED when none is free in time.
    pub(super) async fn take(&self, gateway: &Gateway, user_id: UserId) -> Result<(), Error> {
        let turn = gateway.calls.turn(user_id).await?;
        self.replace(Some(turn));
        Ok(())
    }

    /// Gives it back, for a call that only waits; it is to be taken again before it is answered.
    pub(super) fn give_back(&self) {
        self.replace(None);
    }

    fn replace(&self, turn: Option<Turn<UserId>>) -> Option<Turn<UserId>> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), turn)
    }
}

/// Offers the call a place, and leaves it with the answer.
pub(super) async fn hold(mut request: Request, next: Next) -> Response {
    let hold = Hold::default();
    request.extensions_mut().insert(hold.clone());
    let response = next.run(request).await;
    let Some(turn) = hold.replace(None) else { return response };
    response.map(|body| Body::new(Held { body, turn: Arc::new(turn) }))
}

/// A body whose bytes hold the place, wherever they wait to be written.
struct Held {
    body: Body,
    turn: Arc<Turn<UserId>>,
}

struct HeldBytes {
    bytes: Bytes,
    _turn: Arc<Turn<UserId>>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let held = |bytes| Bytes::from_owner(HeldBytes { bytes, _turn: Arc::clone(&self.turn) });
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
