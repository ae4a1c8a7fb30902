//! Who a request is made for.

use std::{future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use messenger_core::{Error, UserId};
use messenger_identity::{Identity, Verifier};
use messenger_tls::Name;
use tokio::time::sleep;
use tonic::{Request, metadata::MetadataValue};

use crate::{ServerAuth, Service, accept::Peer, credential::SERVICE};

/// How long a stream goes on at most after the token it was opened with has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ON_BEHALF_OF: &str = "x-on-behalf-of";
/// The session a service acts for, beside `x-on-behalf-of`: the gateway sends it with Logout and ChangePassword. An end
/// user's own token names its session.
pub const SESSION_ID: &str = "x-session-id";

/// Who a request is made for, as the server authenticated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// An end user, by its access token.
    User(Identity),
    /// A service.
    Service {
        /// Which one.
        service: Service,
        /// The user it acts for, if any.
        on_behalf_of: Option<UserId>,
    },
}

impl Caller {
    /// The caller of this request.
    ///
    /// # Errors
    /// UNAUTHENTICATED when the request did not come through [`routes`](crate::routes).
    pub fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        request.extensions().get().copied().ok_or_else(|| Error::unauthenticated("no credential"))
    }

    /// For streams, which outlive the check of a token: ready when the caller's has expired or was revoked, with what it
    /// would be refused with. Never for services, which answer for their users themselves.
    pub fn ended<T>(request: &Request<T>) -> BoxFuture<'static, Error> {
        let verifier = request.extensions().get::<Arc<Verifier>>().cloned();
        let (Ok(Self::User(identity)), Some(verifier)) = (Self::of(request), verifier) else {
            return Box::pin(future::pending());
        };
        Box::pin(async move {
            loop {
                if let Err(error) = verifier.in_force(identity) {
                    return error;
                }
                sleep(LOOK_EVERY).await;
            }
        })
    }

    /// The user acted for.
    ///
    /// # Errors
    /// UNAUTHENTICATED for a service that names none.
    pub fn user_id(&self) -> Result<UserId, Error> {
        match self {
            Self::User(identity) => Ok(identity.user_id),
            Self::Service { on_behalf_of, .. } => {
                on_behalf_of.ok_or_else(|| Error::unauthenticated("no user is named"))
            }
        }
    }

    /// What the request shows: the token of a user; a service in this process or on an encrypted connection is known by
    /// where it comes from, elsewhere by the secret.
    pub(crate) fn shown<'a>(auth: &ServerAuth, request: &'a Parts) -> Result<Shown<'a>, Error> {
        let headers = &request.headers;
        let on_behalf_of = single(headers, ON_BEHALF_OF)?;
        let shown = single(headers, AUTHORIZATION.as_str())?;
        let service = match shown.map(|shown| shown.split_once(' ').unwrap_or((shown, ""))) {
            None => of_connection(auth, request).ok_or_else(|| Error::unauthenticated("no credential"))?,
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                if on_behalf_of.is_some() {
                    return Err(Error::unauthenticated("only services act for others"));
                }
                return Ok(Shown::Token(token));
            }
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("service") => {
                let name = single(headers, SERVICE.as_str())?.unwrap_or_default();
                let service = auth.trust.by_secret(secret, name);
                service.ok_or_else(|| Error::unauthenticated("not the credential of a service"))?
            }
            Some(_) => return Err(Error::unauthenticated("the credential must be Bearer or Service")),
        };
        let on_behalf_of = on_behalf_of.map(|user| UserId::parse(ON_BEHALF_OF, user)).transpose();
        let on_behalf_of = on_behalf_of.map_err(|_| Error::unauthenticated("x-on-behalf-of is not a UUID"))?;
        Ok(Shown::Service(Self::Service { service, on_behalf_of }))
    }

    /// What a service is called that was believed: by its certificate, or as it says itself beside the secret. None in
    /// this process, and for what is no name.
    pub(crate) fn service_name(request: &Parts) -> Option<Name> {
        let certified = request.extensions.get::<Peer>().and_then(|peer| peer.name.clone());
        certified.or_else(|| request.headers.get(SERVICE)?.to_str().ok()?.parse().ok())
    }
}

/// What a request shows of its caller.
pub(crate) enum Shown<'a> {
    /// A token, not looked at yet.
    Token(&'a str),
    /// A service that was believed.
    Service(Caller),
}

/// Set by the channel in this process, or by the connection; nothing that comes over a network can set it.
fn of_connection(auth: &ServerAuth, request: &Parts) -> Option<Service> {
    let certified = || {
        let name = request.extensions.get::<Peer>()?.name.as_ref()?;
        Some(auth.trust.certified(name.as_str()))
    };
    request.extensions.get::<Service>().copied().or_else(certified)
}

/// The only value of a header; two of them may be read differently by others on the way.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let invalid = || Error::unauthenticated(format!("{name} must be given once, in ASCII"));
    if second.is_some() {
        return Err(invalid());
    }
    first.map(|value| value.to_str().map_err(|_| invalid())).transpose()
}

/// A request a service makes for a user.
#[must_use]
pub fn request_as<T>(user: UserId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let value = MetadataValue::try_from(&*user.uuid().hyphenated().encode_lower(&mut text));
    request.metadata_mut().insert(ON_BEHALF_OF, value.expect("a UUID is ASCII"));
    request
}

/// Lets the call fail with DEADLINE_EXCEEDED after `deadline`; the server knows it too.
pub fn with_deadline<T>(request: &mut Request<T>, deadline: Duration) {
    request.set_timeout(deadline);
}
