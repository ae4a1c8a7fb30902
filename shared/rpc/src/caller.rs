//! Who a request is made for.

use std::time::Duration;

use http::{HeaderMap, header::AUTHORIZATION};
use messenger_core::{Error, UserId};
use messenger_identity::Identity;
use tonic::{Request, metadata::MetadataValue};

use crate::ServerAuth;

const ON_BEHALF_OF: &str = "x-on-behalf-of";

/// Who a request is made for, as the server authenticated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// An end user, by its access token.
    User(Identity),
    /// One of our services, by the shared credential.
    Service {
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

    /// The user acted for.
    ///
    /// # Errors
    /// UNAUTHENTICATED for a service that names none.
    pub fn user_id(&self) -> Result<UserId, Error> {
        match self {
            Self::User(identity) => Ok(identity.user_id),
            Self::Service { on_behalf_of } => on_behalf_of.ok_or_else(|| Error::unauthenticated("no user is named")),
        }
    }

    /// For what only services may do.
    ///
    /// # Errors
    /// FORBIDDEN for end users.
    pub fn require_service(&self) -> Result<(), Error> {
        match self {
            Self::User(_) => Err(Error::forbidden("for services only")),
            Self::Service { .. } => Ok(()),
        }
    }

    pub(crate) fn authenticate(auth: &ServerAuth, headers: &HeaderMap) -> Result<Self, Error> {
        let credential =
            single(headers, AUTHORIZATION.as_str())?.ok_or_else(|| Error::unauthenticated("no credential"))?;
        let on_behalf_of = single(headers, ON_BEHALF_OF)?;
        match credential.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                if on_behalf_of.is_some() {
                    return Err(Error::unauthenticated("only services act for others"));
                }
                auth.verifier.verify(token).map(Self::User)
            }
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("service") => {
                if !auth.credential.is(secret) {
                    return Err(Error::unauthenticated("not the credential of a service"));
                }
                let on_behalf_of = on_behalf_of.map(|user| UserId::parse(ON_BEHALF_OF, user)).transpose();
                let on_behalf_of = on_behalf_of.map_err(|_| Error::unauthenticated("x-on-behalf-of is not a UUID"))?;
                Ok(Self::Service { on_behalf_of })
            }
            _ => Err(Error::unauthenticated("the credential must be Bearer or Service")),
        }
    }
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
