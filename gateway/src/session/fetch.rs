//! Pages of replays, read from the message service.

use std::{pin::Pin, time::Duration};

use messenger_core::{Error, UserId};
use messenger_proto::message::v1::{ReplayRequest, ReplayResponse, message_service_client::MessageServiceClient};
use messenger_rpc::{RpcChannel, from_status, request_as};

type Page = Result<ReplayResponse, Error>;

/// The page a session is reading, if it is reading one.
#[derive(Default)]
pub(super) struct Fetch(Option<Pin<Box<dyn Future<Output = Page> + Send>>>);

impl Fetch {
    /// Begins to read a page after a pause.
    pub(super) fn start(
        &mut self,
        service: MessageServiceClient<RpcChannel>,
        user_id: UserId,
        (request, pause): (ReplayRequest, Duration),
    ) {
        self.0 = Some(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            read(service, user_id, request).await
        }));
    }

    /// The page; pending while none is read. May be dropped and called again.
    pub(super) async fn page(&mut self) -> Page {
        let Some(page) = &mut self.0 else { return std::future::pending().await };
        let page = page.await;
        self.0 = None;
        page
    }
}

/// Reads a page.
pub(super) async fn read(
    mut service: MessageServiceClient<RpcChannel>,
    user_id: UserId,
    request: ReplayRequest,
) -> Page {
    let page = service.replay(request_as(user_id, request)).await;
    page.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}
