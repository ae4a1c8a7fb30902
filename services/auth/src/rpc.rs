//! The generated server: decode, one call of the domain, encode.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use messenger_core::{Clock, Error, Result, SessionId, UserId};
use messenger_proto::auth::v1::{auth_service_server::AuthService, *};
use messenger_rpc::{Caller, SESSION_ID, to_status};
use messenger_telemetry::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    convert,
    issuers::Issuers,
    model::{Email, Password},
    revocations::Revocations,
    sessions::Sessions,
    users::Users,
};

const PAGES_WAITING_MAX: usize = 4;

/// Answers gRPC calls.
#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) users: Arc<Users>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) issuers: Arc<Issuers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shutdown: Shutdown,
}

#[tonic::async_trait]
impl AuthService for Rpc {
    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        respond(async {
            self.issuers.require_own_accounts()?;
            let signed_in = self.users.register(convert::registration(request.get_ref())?).await?;
            let (user, tokens) = (convert::own(&signed_in.user), convert::tokens(signed_in.tokens));
            Ok(RegisterResponse { user: Some(user), tokens: Some(tokens) })
        })
        .await
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        respond(async {
            self.issuers.require_own_accounts()?;
            let request = request.get_ref();
            let (email, password) = (Email::new(&request.email)?, Password::presented("password", &request.password)?);
            let client = convert::client(&request.user_agent, &request.address);
            let signed_in = self.users.login(&email, password, client).await?;
            let (user, tokens) = (convert::own(&signed_in.user), convert::tokens(signed_in.tokens));
            Ok(LoginResponse { user: Some(user), tokens: Some(tokens) })
        })
        .await
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<RefreshTokenResponse>, Status> {
        respond(async {
            self.issuers.require_own_accounts()?;
            let signed_in = self.sessions.refresh(&request.get_ref().refresh_token).await?;
            let (user, tokens) = (convert::own(&signed_in.user), convert::tokens(signed_in.tokens));
            Ok(RefreshTokenResponse { user: Some(user), tokens: Some(tokens) })
        })
        .await
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        respond(async {
            let (user_id, session_id) = acting_session(&request)?;
            self.sessions.logout(user_id, session_id).await?;
            Ok(LogoutResponse {})
        })
        .await
    }

    async fn logout_all(&self, request: Request<LogoutAllRequest>) -> Result<Response<LogoutAllResponse>, Status> {
        respond(async {
            self.sessions.end_all(Caller::of(&request)?.user_id()?).await?;
            Ok(LogoutAllResponse {})
        })
        .await
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        respond(async {
            let acting = acting_session(&request)?;
            let request = request.get_ref();
            let current = Password::presented("currentPassword", &request.current_password)?;
            let new = Password::chosen("newPassword", &request.new_password)?;
            self.users.change_password(acting, current, new).await?;
            Ok(ChangePasswordResponse {})
        })
        .await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        respond(async {
            let sessions = self.sessions.list(Caller::of(&request)?.user_id()?).await?;
            Ok(ListSessionsResponse { sessions: sessions.into_iter().map(convert::session).collect() })
        })
        .await
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        respond(async {
            let user_id = Caller::of(&request)?.user_id()?;
            let id = SessionId::parse("sessionId", &request.get_ref().session_id)?;
            if !self.sessions.end(user_id, id).await? {
                return Err(Error::not_found("no such session"));
            }
            Ok(RevokeSessionResponse {})
        })
        .await
    }

    async fn get_jwks(&self, request: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        respond(async {
            if request.get_ref().has_unknown_key {
                self.issuers.look().await?;
            }
            Ok(convert::jwks(&self.issuers))
        })
        .await
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        respond(async {
            let caller = Caller::of(&request)?;
            let user = self.users.get(UserId::parse("userId", &request.get_ref().user_id)?).await?;
            Ok(GetUserResponse { user: Some(convert::user(&user, &caller)) })
        })
        .await
    }

    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        respond(async {
            let caller = Caller::of(&request)?;
            let users = self.users.batch(&convert::user_ids(&request.get_ref().user_ids)?).await?;
            Ok(BatchGetUsersResponse { users: convert::users(&users, &caller) })
        })
        .await
    }

    async fn search_users(
        &self,
        request: Request<SearchUsersRequest>,
    ) -> Result<Response<SearchUsersResponse>, Status> {
        respond(async {
            let caller = Caller::of(&request)?;
            let request = request.get_ref();
            let rows = convert::page_rows(request.page_size)?;
            let page = self.users.search(&request.query, rows, &request.page_token).await?;
            let users = convert::users(&page.users, &caller);
            Ok(SearchUsersResponse { users, next_page_token: page.next_page_token })
        })
        .await
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        respond(async {
            let user_id = Caller::of(&request)?.user_id()?;
            let request = request.get_ref();
            let (full_name, designation) = (request.full_name.as_deref(), request.designation.as_deref());
            let user = self.users.update(user_id, full_name, designation).await?;
            Ok(UpdateUserResponse { user: Some(convert::own(&user)) })
        })
        .await
    }

    async fn upsert_user(&self, request: Request<UpsertUserRequest>) -> Result<Response<UpsertUserResponse>, Status> {
        respond(async {
            let request = request.get_ref();
            self.issuers.require_issuer(&request.issuer)?;
            let known = self.users.describe(convert::foreign_profile(request, self.clock.now())?).await?;
            Ok(UpsertUserResponse { user: Some(convert::own(&known.user)), is_active: known.is_active })
        })
        .await
    }

    async fn admit_user(&self, request: Request<AdmitUserRequest>) -> Result<Response<AdmitUserResponse>, Status> {
        respond(async {
            self.issuers.require_issuer(&request.get_ref().issuer)?;
            self.users.admit(&convert::foreign_user(request.into_inner())?).await?;
            Ok(AdmitUserResponse {})
        })
        .await
    }

    async fn deactivate_user(
        &self,
        request: Request<DeactivateUserRequest>,
    ) -> Result<Response<DeactivateUserResponse>, Status> {
        respond(async {
            self.sessions.deactivate(UserId::parse("userId", &request.get_ref().user_id)?).await?;
            Ok(DeactivateUserResponse {})
        })
        .await
    }

    async fn reactivate_user(
        &self,
        request: Request<ReactivateUserRequest>,
    ) -> Result<Response<ReactivateUserResponse>, Status> {
        respond(async {
            self.sessions.reactivate(UserId::parse("userId", &request.get_ref().user_id)?).await?;
            Ok(ReactivateUserResponse {})
        })
        .await
    }

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        respond(async {
            let after = request.get_ref().after_number;
            if after < 0 {
                return Err(Error::invalid("afterNumber", "must not be negative"));
            }
            let (pages, received) = mpsc::channel(PAGES_WAITING_MAX);
            let (revocations, token) = (Arc::clone(&self.revocations), self.shutdown.token.clone());
            self.shutdown.spawn(async move { revocations.watch(after, pages, token).await });
            let stream = ReceiverStream::new(received).map(|page| page.map(convert::page).map_err(to_status));
            Ok(Box::pin(stream) as Self::WatchRevocationsStream)
        })
        .await
    }
}

async fn respond<T>(work: impl Future<Output = Result<T>>) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(to_status)
}

/// The user acted for and the session it acts in.
fn acting_session<T>(request: &Request<T>) -> Result<(UserId, SessionId)> {
    match Caller::of(request)? {
        Caller::User(identity) => Ok((identity.user_id, identity.session_id)),
        caller @ Caller::Service { .. } => {
            let user_id = caller.user_id()?;
            let session_id = request.metadata().get(SESSION_ID).and_then(|value| value.to_str().ok());
            let session_id = session_id.ok_or_else(|| Error::invalid(SESSION_ID, "must name the session"))?;
            Ok((user_id, SessionId::parse(SESSION_ID, session_id)?))
        }
    }
}
