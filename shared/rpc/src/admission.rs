//! Users of other identity systems, admitted by a call to auth.

use std::time::Duration;

use async_trait::async_trait;
use messenger_core::Error;
use messenger_identity::{Admission, ForeignUser};
use messenger_proto::auth::v1::{AdmitUserRequest, auth_service_client::AuthServiceClient};
use tonic::Request;

use crate::{RpcChannel, from_status, timestamp, with_deadline};

const ADMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks auth over a channel.
#[derive(Debug)]
pub(crate) struct ByCall(pub(crate) AuthServiceClient<RpcChannel>);

#[async_trait]
impl Admission for ByCall {
    async fn admit(&self, user: &ForeignUser) -> Result<(), Error> {
        let mut request = Request::new(AdmitUserRequest {
            issuer: user.issuer.clone(),
            subject: user.subject.clone(),
            email: user.email.clone(),
            full_name: user.full_name.clone(),
            designation: user.designation.clone(),
            issued_at: Some(timestamp(user.issued_at)),
        });
        with_deadline(&mut request, ADMIT_TIMEOUT);
        self.0.clone().admit_user(request).await.map(drop).map_err(|status| from_status(&status))
    }
}
