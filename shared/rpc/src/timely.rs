//! Requests that have to arrive in time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Status, codegen::Bytes, service::AxumBody};

use crate::status::{deadline_exceeded, to_status};

/// A body that breaks off at a deadline: a handler goes on when its caller has left, but does not wait for what the caller
/// never sends.
pub(crate) struct Timely {
    body: AxumBody,
    deadline: Pin<Box<Sleep>>,
}

impl Timely {
    pub(crate) fn new(body: AxumBody, within: Duration) -> Self {
        Self { body, deadline: Box::pin(sleep(within)) }
    }
}

impl Body for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))));
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(to_status(deadline_exceeded()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{future, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use messenger_core::ErrorKind;

    use super::*;
    use crate::from_status;

    #[tokio::test]
    async fn what_never_comes_is_not_waited_for() {
        let first = stream::once(future::ready(Ok::<_, Status>(Frame::data(Bytes::from_static(b"\0")))));
        let endless = AxumBody::new(StreamBody::new(futures_util::StreamExt::chain(first, stream::pending())));
        let error = Timely::new(endless, Duration::from_millis(5)).collect().await.expect_err("it never ends");
        assert_eq!(from_status(&error).kind(), ErrorKind::DeadlineExceeded);
        let whole = Timely::new(AxumBody::from("all"), Duration::ZERO).collect().await.expect("what is there is read");
        assert_eq!(whole.to_bytes(), "all");
    }
}
