//! Requests into values, results into answers.

use messenger_core::{Error, Result, SessionId, Timestamp, UserId};
use messenger_identity::{ForeignIssuer, ForeignUser, Revocation, SUBJECT_BYTES_MAX, TokenRules, foreign_user_id};
use messenger_proto::auth::v1 as proto;
use messenger_rpc::{Caller, Service, from_timestamp, timestamp};

use crate::{
    issuers::Issuers,
    model::{self, Client, Email, ForeignProfile, Password, Profile, Session, User},
    policy,
    revocations::Page,
    tokens::Tokens,
    users::Registration,
};

/// Rows on a page of users nobody gave a size for.
const USERS_DEFAULT: u32 = 20;

/// Every field is checked; the error names all that break a rule.
pub(crate) fn registration(request: &proto::RegisterRequest) -> Result<Registration> {
    let email = Email::new(&request.email);
    let password = Password::chosen("password", &request.password);
    let profile = Profile::new(&request.full_name, &request.designation);
    match (email, password, profile) {
        (Ok(email), Ok(password), Ok(profile)) => {
            let client = client(&request.user_agent, &request.address);
            Ok(Registration { email, password, profile, client })
        }
        (email, password, profile) => {
            let errors = [email.err(), password.err(), profile.err()];
            let fields = errors.into_iter().flatten().flat_map(|error| error.fields().to_vec()).collect();
            Err(Error::invalid_fields(fields))
        }
    }
}

pub(crate) fn client(user_agent: &str, address: &str) -> Client {
    Client { user_agent: model::user_agent(user_agent), address: address.to_owned() }
}

pub(crate) fn user_ids(ids: &[String]) -> Result<Vec<UserId>> {
    ids.iter().map(|id| UserId::parse("userIds", id)).collect()
}

pub(crate) fn page_rows(size: i32) -> Result<u32> {
    if size == 0 { Ok(USERS_DEFAULT) } else { messenger_core::page::PageSize::new(size).map(|size| size.rows()) }
}

/// As this caller may see it.
pub(crate) fn user(user: &User, caller: &Caller) -> proto::User {
    let email = if policy::may_see_email(caller, user.id) { user.email.as_str() } else { "" };
    proto::User {
        id: user.id.to_string(),
        email: email.to_owned(),
        full_name: user.profile.full_name.clone(),
        designation: user.profile.designation.clone(),
        created_at: Some(timestamp(user.created_at)),
    }
}

pub(crate) fn users(users: &[User], caller: &Caller) -> Vec<proto::User> {
    users.iter().map(|one| user(one, caller)).collect()
}

/// To the user itself, which has just shown who it is.
pub(crate) fn own(user: &User) -> proto::User {
    self::user(user, &Caller::Service { service: Service::Auth, on_behalf_of: Some(user.id) })
}

pub(crate) fn tokens(tokens: Tokens) -> proto::Tokens {
    let Tokens { access, refresh, expires_in } = tokens;
    let expires_in = i64::try_from(expires_in.as_secs()).unwrap_or(i64::MAX);
    proto::Tokens { access_token: access, refresh_token: refresh, expires_in }
}

pub(crate) fn session(session: Session) -> proto::Session {
    proto::Session {
        id: session.id.to_string(),
        created_at: Some(timestamp(session.created_at)),
        last_used_at: Some(timestamp(session.last_used_at)),
        user_agent: session.user_agent,
    }
}

/// A profile that is pushed; every field is checked.
pub(crate) fn foreign_profile(request: &proto::UpsertUserRequest, now: Timestamp) -> Result<ForeignProfile> {
    let subject = subject(&request.subject)?;
    Ok(ForeignProfile {
        user_id: foreign_user_id(&request.issuer, subject),
        issuer: request.issuer.clone(),
        subject: subject.to_owned(),
        email: request.email.as_deref().map(Email::new).transpose()?,
        full_name: request.full_name.as_deref().map(model::full_name).transpose()?,
        designation: request.designation.as_deref().map(model::designation).transpose()?,
        as_of: request.as_of.map_or(now, from_timestamp).min(now),
        token_at: None,
    })
}

pub(crate) fn foreign_user(request: proto::AdmitUserRequest) -> Result<ForeignUser> {
    Ok(ForeignUser {
        user_id: foreign_user_id(&request.issuer, subject(&request.subject)?),
        issuer: request.issuer,
        subject: request.subject,
        issued_at: request.issued_at.map(from_timestamp).unwrap_or_default(),
        email: request.email,
        full_name: request.full_name,
        designation: request.designation,
    })
}

fn subject(text: &str) -> Result<&str> {
    if text.is_empty() || text.len() > SUBJECT_BYTES_MAX || text.contains('\0') {
        return Err(Error::invalid("subject", "must have 1 to 255 bytes, no NUL"));
    }
    Ok(text)
}

pub(crate) fn jwks(issuers: &Issuers) -> proto::GetJwksResponse {
    let foreign_issuers = issuers.foreign_issuers().into_iter().map(|ForeignIssuer { rules, claims, jwks }| {
        let (subject_claim, email_claim) = (claims.subject, claims.email);
        let (full_name_claim, designation_claim) = (claims.full_name, claims.designation);
        let TokenRules { issuer, audience } = rules;
        proto::ForeignIssuer { issuer, audience, jwks, subject_claim, email_claim, full_name_claim, designation_claim }
    });
    let foreign_issuers = foreign_issuers.collect();
    proto::GetJwksResponse { jwks: issuers.jwks().unwrap_or_default(), foreign_issuers }
}

pub(crate) fn page(page: Page) -> proto::WatchRevocationsResponse {
    let revocations = page.revocations.iter().map(revocation).collect();
    proto::WatchRevocationsResponse { revocations, head_number: page.head_number, has_more: page.has_more }
}

fn revocation(revocation: &Revocation) -> proto::Revocation {
    let text = |session: Option<SessionId>| session.map(|session| session.to_string()).unwrap_or_default();
    proto::Revocation {
        number: revocation.number,
        user_id: revocation.user_id.to_string(),
        session_id: text(revocation.session_id),
        except_session_id: text(revocation.except_session_id),
        revoked_at: Some(timestamp(revocation.revoked_at)),
        until: Some(timestamp(revocation.until)),
    }
}
