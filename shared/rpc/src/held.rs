//! Answers that hold a permit until they are read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

/// A body, and what is given back when it has ended or is dropped.
pub(crate) struct Held<B, P> {
    body: B,
    _permit: P,
}

impl<B, P> Held<B, P> {
    pub(crate) fn new(body: B, permit: P) -> Self {
        Self { body, _permit: permit }
    }
}

impl<B: Body + Unpin, P: Unpin> Body for Held<B, P> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
