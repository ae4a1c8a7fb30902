//! Asks auth, where users live, whether they exist.

use std::time::Duration;

use messenger_core::{Error, Result, UserId, limits::USERS_PER_REQUEST_MAX};
use messenger_proto::auth::v1::{BatchGetUsersRequest, auth_service_client::AuthServiceClient};
use messenger_rpc::RpcChannel;

const DEADLINE: Duration = Duration::from_secs(3);

/// The users, as auth knows them.
#[derive(Debug, Clone)]
pub struct Users {
    auth: AuthServiceClient<RpcChannel>,
}

impl Users {
    /// The users of the auth service behind this.
    #[must_use]
    pub fn new(auth: AuthServiceClient<RpcChannel>) -> Self {
        Self { auth }
    }

    /// Whether all of the users, each named once, exist. Asked for `caller`.
    ///
    /// # Errors
    /// NOT_FOUND when one does not; UNAVAILABLE or DEADLINE_EXCEEDED when auth does not answer.
    pub async fn check_exist(&self, caller: UserId, users: &[UserId]) -> Result<()> {
        for slice in users.chunks(USERS_PER_REQUEST_MAX) {
            let user_ids = slice.iter().map(UserId::to_string).collect();
            let mut request = messenger_rpc::request_as(caller, BatchGetUsersRequest { user_ids });
            messenger_rpc::with_deadline(&mut request, DEADLINE);
            let answer = self.auth.clone().batch_get_users(request).await.map_err(|status| refused(&status))?;
            if answer.into_inner().users.len() < slice.len() {
                return Err(Error::not_found("no such user"));
            }
        }
        Ok(())
    }
}

/// Whatever auth has against this service is not the caller's fault.
fn refused(status: &tonic::Status) -> Error {
    let error = messenger_rpc::from_status(status);
    if error.kind().is_retryable() { error } else { Error::internal(error) }
}
