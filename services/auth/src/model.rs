//! What this context knows: users, sessions, tokens' keys, revocations; and the values of requests, made valid once.

use std::fmt;

use messenger_core::{
    Error, Result, SessionId, Timestamp, UserId,
    content::short_text,
    limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN},
};

const EMAIL_BYTES_MAX: usize = 254;
/// Characters of a name or a designation.
pub const NAME_CHARS_MAX: usize = 200;
const USER_AGENT_CHARS_MAX: usize = 200;

/// An address: trimmed, lower case, at most 254 bytes, `something@some.where`. Whether mail arrives is not known.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Trims, lowers, checks the shape.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming `email`.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > EMAIL_BYTES_MAX || !has_email_shape(text) {
            return Err(Error::invalid("email", "must be an e-mail address of at most 254 characters"));
        }
        let lower = text.to_lowercase();
        if lower.len() > EMAIL_BYTES_MAX {
            return Err(Error::invalid("email", "must be an e-mail address of at most 254 characters"));
        }
        Ok(Self(lower))
    }

    /// As a store has it, which checked it before.
    #[must_use]
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn has_email_shape(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    let labels_are_filled = domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    !local.is_empty() && labels_are_filled && !text.chars().any(is_odd) && !domain.contains('@')
}

/// Addresses never reach a log.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// A password as it was typed. Never shown.
pub struct Password(String);

impl Password {
    /// For an account: 8 to 128 characters.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming `field`.
    pub fn chosen(field: &'static str, text: &str) -> Result<Self> {
        let password = Self::presented(field, text)?;
        if text.chars().count() < PASSWORD_CHARS_MIN {
            return Err(Error::invalid(field, "must have 8 to 128 characters"));
        }
        Ok(password)
    }

    /// To be compared: any that is not too long to hash.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming `field`.
    pub fn presented(field: &'static str, text: &str) -> Result<Self> {
        if text.chars().take(PASSWORD_CHARS_MAX + 1).count() > PASSWORD_CHARS_MAX {
            return Err(Error::invalid(field, "must have 8 to 128 characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// What is hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What a user says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// 1 to 200 characters.
    pub full_name: String,
    /// At most 200 characters, may be empty.
    pub designation: String,
}

impl Profile {
    /// Trims and checks both.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming the first field that breaks its rule.
    pub fn new(full_name: &str, designation: &str) -> Result<Self> {
        Ok(Self { full_name: self::full_name(full_name)?, designation: self::designation(designation)? })
    }
}

/// Trimmed, 1 to 200 characters.
///
/// # Errors
/// VALIDATION_FAILED naming `fullName`.
pub fn full_name(text: &str) -> Result<String> {
    short_text("fullName", text, NAME_CHARS_MAX)
}

/// Trimmed, at most 200 characters.
///
/// # Errors
/// VALIDATION_FAILED naming `designation`.
pub fn designation(text: &str) -> Result<String> {
    if text.trim().is_empty() { Ok(String::new()) } else { short_text("designation", text, NAME_CHARS_MAX) }
}

/// What is to be replaced of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// The new full name with the words its user is found by.
    pub full_name: Option<(String, Vec<String>)>,
    /// The new designation.
    pub designation: Option<String>,
}

/// Where a session begins.
#[derive(Clone)]
pub struct Client {
    /// See [`user_agent`].
    pub user_agent: String,
    /// Its address or network; empty: not said.
    pub address: String,
}

/// How a client names itself at login: control characters left out, cut at 200 characters.
#[must_use]
pub fn user_agent(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect()
}

/// A user, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Names it.
    pub id: UserId,
    /// Unique among users with a password here; empty when another identity system does not say.
    pub email: Email,
    /// What it says about itself.
    pub profile: Profile,
    /// When it registered.
    pub created_at: Timestamp,
}

/// A user of another identity system, as it is described at some time.
#[derive(Clone)]
pub struct ForeignProfile {
    /// Of issuer and subject, see [`messenger_identity::foreign_user_id`].
    pub user_id: UserId,
    /// The system.
    pub issuer: String,
    /// Names the user there.
    pub subject: String,
    /// None: not said, as the others.
    pub email: Option<Email>,
    /// 1 to 200 characters.
    pub full_name: Option<String>,
    /// At most 200 characters.
    pub designation: Option<String>,
    /// When it was so.
    pub as_of: Timestamp,
    /// When the token was issued that says it; none: it was pushed.
    pub token_at: Option<Timestamp>,
}

impl ForeignProfile {
    /// What a user is called that nobody described.
    #[must_use]
    pub fn name_unless_described(&self) -> String {
        let id = self.user_id.uuid().simple().to_string();
        format!("User {}", &id[..8])
    }
}

/// A user with the hash of its password.
#[derive(Clone)]
pub struct Account {
    /// The user.
    pub user: User,
    /// PHC string.
    pub password_hash: String,
}

/// A session that begins, with its first refresh token.
#[derive(Clone)]
pub struct NewSession {
    /// Names it.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// See [`user_agent`].
    pub user_agent: String,
    /// See [`crate::guesses::Guesses::place`].
    pub place: Option<Digest>,
    /// Now.
    pub created_at: Timestamp,
    /// When it ends unless it is used.
    pub expires_at: Timestamp,
    /// SHA-256 of the refresh token.
    pub token_digest: Digest,
}

/// SHA-256 of a refresh token.
pub type Digest = [u8; 32];

/// A live session, as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names it.
    pub id: SessionId,
    /// When the user logged in.
    pub created_at: Timestamp,
    /// When its tokens were last refreshed.
    pub last_used_at: Timestamp,
    /// How the client named itself.
    pub user_agent: String,
}

/// What a store knows of a session when one of its refresh tokens is presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshState {
    /// Whose session it is.
    pub user_id: UserId,
    /// Of the newest refresh token, from 0.
    pub generation: i64,
    /// Of the newest refresh token.
    pub token_digest: Digest,
    /// When the presented generation was used, if that was in the last seconds.
    pub used_at: Option<Timestamp>,
    /// When the session ends unless it is used.
    pub expires_at: Timestamp,
    /// Whether it was ended before.
    pub is_ended: bool,
}

/// One step from a refresh token to its successor.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The session.
    pub session_id: SessionId,
    /// Of the token that is used.
    pub generation: i64,
    /// Of the token that is used.
    pub from: Digest,
    /// Of its successor.
    pub to: Digest,
    /// Now.
    pub used_at: Timestamp,
    /// When the session now ends unless it is used again.
    pub expires_at: Timestamp,
    /// Uses before this no longer matter.
    pub forget_before: Timestamp,
}

/// A changed password.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user_id: UserId,
    /// The hash that was verified, so that of two changes at once one is refused.
    pub from: String,
    /// The new hash.
    pub to: String,
    /// The session that goes on.
    pub keep: SessionId,
}

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Encrypted, if sealed.
    pub bytes: Vec<u8>,
    /// Fingerprint of the secret it is encrypted with.
    pub sealed_by: Option<String>,
}

/// An Ed25519 key that signs access tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its name in tokens and in the JWK set.
    pub kid: String,
    /// PKCS#8 version 1.
    pub private_key: StoredSecret,
    /// It is published before, and signs from then on until the next one does.
    pub signs_from: Timestamp,
}

/// The keys that every process of this context shares.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// At least one, in the order in which they sign.
    pub signing: Vec<SigningKey>,
    /// By which a refresh token follows from the one before.
    pub refresh_secret: StoredSecret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let email = |text: &str| Email::new(text).map(|email| email.as_str().to_owned()).ok();
        assert_eq!(email(" Ann@Example.ORG\n").as_deref(), Some("ann@example.org"));
        assert_eq!(email("ä@b.c").as_deref(), Some("ä@b.c"));
        let long = format!("{}@b.co", "a".repeat(250));
        for text in
            ["", "a", "@b.c", "a@", "a@b", "a@b.", "a@.b", "a b@c.d", "a@b@c.d", "a\0@b.c", "' OR 1=1 --", &long]
        {
            assert_eq!(email(text), None, "{text:?}");
        }
    }

    #[test]
    fn passwords_are_bounded_in_characters() {
        assert!(Password::chosen("password", &"ä".repeat(8)).is_ok());
        assert!(Password::chosen("password", &"ä".repeat(128)).is_ok());
        for text in ["", "1234567", &"a".repeat(129)] {
            assert!(Password::chosen("password", text).is_err());
        }
        assert!(Password::presented("password", "short").is_ok());
        assert!(Password::presented("password", &"a".repeat(1 << 20)).is_err());
    }

    #[test]
    fn profiles() {
        let profile = Profile::new(" Ann Lee ", " ").expect("valid");
        assert_eq!((profile.full_name.as_str(), profile.designation.as_str()), ("Ann Lee", ""));
        for (name, designation) in [("", ""), ("a\0b", ""), ("Ann", "x\u{1b}"), ("Ann", &"d".repeat(201))] {
            assert!(Profile::new(name, designation).is_err());
        }
        assert_eq!(user_agent(&format!(" a\0b{}", "c".repeat(300))).len(), 200);
    }
}
