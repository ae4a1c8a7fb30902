//! Calls over the network: to whichever address is up, within their deadline, a second time only where that is harmless.

use std::error::Error as StdError;

use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use messenger_core::ErrorKind;
use tokio::time::timeout;
use tonic::{Status, body::Body};

use crate::{
    balance::{Balance, Chosen},
    call::deadline,
    from_status,
    status::{deadline_exceeded, to_status},
};

/// A request that no connection took is handed to so many others at most.
const HANDOVERS_MAX: usize = 3;
/// Calls of which a second does nothing that the first did not: by the beginnings of their names. `GetOrCreateP2p` gives
/// the one conversation two users have; change sets are known by their versions; read positions only rise.
const REPEATABLE: [&str; 7] = ["Get", "List", "BatchGet", "Search", "Replay", "AppendChanges", "MarkRead"];

/// Calls whose requests come by and by: they cannot be made again from here.
const STREAMED: [&str; 2] = ["Follow", "SendMessages"];

/// Sends a call; its `grpc-timeout` bounds everything up to the head of the answer.
pub(crate) async fn call(balance: &Balance, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(limit) = deadline(request.headers()) else { return send(balance, request).await };
    timeout(limit, send(balance, request)).await.unwrap_or_else(|_| Err(to_status(deadline_exceeded())))
}

async fn send(balance: &Balance, request: Request<Body>) -> Result<Response<Body>, Status> {
    let method = method(request.uri().path());
    if STREAMED.contains(&method) {
        let chosen = balance.choose().await.map_err(to_status)?;
        return hand_over(balance, chosen, request).await;
    }
    let is_repeatable = is_repeatable(method);
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let request = || Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
    let chosen = balance.choose().await.map_err(to_status)?;
    let mut first = chosen.address;
    let mut answer = hand_over(balance, chosen, request()).await;
    for _ in 1..HANDOVERS_MAX {
        if !is_unprocessed(&answer) {
            break;
        }
        let chosen = balance.choose().await.map_err(to_status)?;
        first = chosen.address;
        answer = hand_over(balance, chosen, request()).await;
    }
    if is_repeatable
        && is_unavailable(&answer)
        && let Some(other) = balance.choose_up(Some(first))
    {
        return hand_over(balance, other, request()).await;
    }
    answer
}

/// Gives a request to a connection; when that has ended before it took it, to the next.
async fn hand_over(
    balance: &Balance,
    mut chosen: Chosen,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    for _ in 1..HANDOVERS_MAX {
        match try_send(&mut chosen, request).await? {
            Ok(response) => return Ok(response),
            Err(untaken) => request = untaken,
        }
        chosen = balance.choose().await.map_err(to_status)?;
    }
    let unavailable = |_| Status::unavailable("no connection takes the request");
    try_send(&mut chosen, request).await?.map_err(unavailable)
}

/// The answer, or the request when the connection did not take it.
async fn try_send(
    chosen: &mut Chosen,
    mut request: Request<Body>,
) -> Result<Result<Response<Body>, Request<Body>>, Status> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    (uri.scheme, uri.authority) = (Some(chosen.scheme.clone()), Some(chosen.authority.clone()));
    *request.uri_mut() = Uri::from_parts(uri).expect("with a path, scheme and authority are complete");
    match chosen.sender.try_send_request(request).await {
        Ok(response) => Ok(Ok(response.map(Body::new))),
        Err(mut error) => match error.take_message() {
            Some(request) => Ok(Err(request)),
            None => Err(Status::from_error(error.into_error().into())),
        },
    }
}

fn method(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, method)| method)
}

fn is_repeatable(method: &str) -> bool {
    REPEATABLE.iter().any(|name| method.starts_with(name))
}

/// Whether the server said, as it sent the connection away, that it had not looked at the call: it crossed the GOAWAY.
fn is_unprocessed(answer: &Result<Response<Body>, Status>) -> bool {
    let mut cause = answer.as_ref().err().and_then(StdError::source);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        cause = error.source();
    }
    false
}

fn is_unavailable(answer: &Result<Response<Body>, Status>) -> bool {
    match answer {
        Ok(response) => {
            refused(response.headers()).is_some_and(|status| from_status(&status).kind() == ErrorKind::Unavailable)
        }
        Err(status) => from_status(status).kind() == ErrorKind::Unavailable,
    }
}

/// The refusal that stands in the head when there is nothing else in the answer.
fn refused(head: &HeaderMap) -> Option<Status> {
    Status::from_header_map(head).filter(|status| status.code() != tonic::Code::Ok)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn only_harmless_calls_are_repeated() {
        for path in ["auth.v1.AuthService/GetUser", "message.v1.MessageService/AppendChanges"] {
            assert!(is_repeatable(method(&format!("/messenger.{path}"))), "{path}");
        }
        for name in ["RefreshToken", "CreateGroup", "SendMessage", "SendMessages", "Follow", "RemoveParticipant"] {
            assert!(!is_repeatable(method(&format!("/messenger.any.v1.AnyService/{name}"))), "{name}");
        }
    }

    #[test]
    fn calls_that_come_by_and_by_are_known() {
        let files = FileDescriptorSet::decode(messenger_proto::FILE_DESCRIPTOR_SET).expect("our own");
        let methods = files.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let mut streamed: Vec<&str> =
            methods.filter(|method| method.client_streaming()).map(|method| method.name()).collect();
        streamed.sort_unstable();
        assert_eq!(streamed, STREAMED);
    }
}
