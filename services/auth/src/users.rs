//! Users: how they register, prove who they are, are found and described.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use messenger_core::{Clock, Error, ErrorKind, Result, SessionId, UserId, limits, page};
use messenger_identity::{Admission, ForeignUser};
use messenger_telemetry::Audit;
use uuid::Uuid;

use crate::{
    guesses::Guesses,
    model::{
        self, Account, Client, Digest, Email, ForeignProfile, Password, PasswordChange, Profile, ProfileChange, User,
    },
    passwords::{HashPermit, Passwords},
    search::{WordRange, words},
    sessions::{Sessions, SignedIn},
    store::{Known, Store},
};

/// A user about to be.
pub struct Registration {
    /// Must be free.
    pub email: Email,
    /// Will be hashed.
    pub password: Password,
    /// What it says about itself.
    pub profile: Profile,
    /// Where its first session begins.
    pub client: Client,
}

/// Part of a search's result.
#[derive(Debug)]
pub struct UserPage {
    /// By the word they were found by.
    pub users: Vec<User>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// In place of an account that is not there.
const NOBODY: UserId = UserId::from_uuid(Uuid::nil());

/// All users.
pub struct Users {
    store: Store,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    guesses: Guesses,
    sessions: Arc<Sessions>,
}

impl Users {
    /// Its parts.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        (passwords, guesses): (Passwords, Guesses),
        sessions: Arc<Sessions>,
    ) -> Self {
        Self { store, clock, passwords, guesses, sessions }
    }

    /// A new user with its first session.
    ///
    /// # Errors
    /// EMAIL_TAKEN, also when another registers the address at the same time; RATE_LIMITED.
    pub async fn register(&self, registration: Registration) -> Result<SignedIn> {
        let outcome = self.write_registration(registration).await;
        Audit::of("user.registered").by(outcome.as_ref().ok().map(|made| made.user.id)).outcome(outcome)
    }

    async fn write_registration(&self, registration: Registration) -> Result<SignedIn> {
        let Registration { email, password, profile, client } = registration;
        let password_hash = self.passwords.hash(password).await?;
        let now = self.clock.now();
        let words = words(&profile.full_name);
        let user = User { id: UserId::new(now), email, profile, created_at: now };
        let place = self.place(Some(user.id), &client);
        let (session, tokens) = self.sessions.begin(user.id, (client.user_agent, place))?;
        self.store.register(Account { user: user.clone(), password_hash }, words, session).await?;
        Ok(SignedIn { user, tokens })
    }

    /// A further session of a user.
    ///
    /// # Errors
    /// INVALID_CREDENTIALS, the same and after the same time for an unknown account and a wrong password; RATE_LIMITED.
    pub async fn login(&self, email: &Email, password: Password, client: Client) -> Result<SignedIn> {
        let account = self.store.account_by_email(email).await?;
        let user_id = account.as_ref().map(|account| account.user.id);
        let place = self.place(user_id, &client);
        // Only a try that is looked at is counted. Not recorded: whoever has many addresses could fill the disk.
        let admission = self.passwords.admit().await?;
        self.admit_try(email, user_id, place).await?;
        let outcome = self.begin_session(account, (password, admission), (client.user_agent, place)).await;
        Audit::of("user.logged_in").by(user_id).outcome(outcome)
    }

    /// The same steps for an unknown account.
    async fn admit_try(&self, email: &Email, user_id: Option<UserId>, place: Option<Digest>) -> Result<()> {
        let Some(place) = place else { return Ok(()) };
        let is_known = self.store.knows_place(user_id.unwrap_or(NOBODY), &place).await?;
        if is_known { Ok(()) } else { self.guesses.count(email) }
    }

    fn place(&self, user_id: Option<UserId>, client: &Client) -> Option<Digest> {
        let is_said = !client.address.is_empty();
        is_said.then(|| self.guesses.place(user_id.unwrap_or(NOBODY), &client.address))
    }

    async fn begin_session(
        &self,
        account: Option<Account>,
        (password, permit): (Password, HashPermit),
        from: (String, Option<Digest>),
    ) -> Result<SignedIn> {
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let is_right = self.passwords.verify(password, hash, permit).await?;
        let account = account.filter(|_| is_right).ok_or_else(|| refused("unknown account or wrong password"))?;
        let (session, tokens) = self.sessions.begin(account.user.id, from)?;
        if !self.store.begin_session(session, &account.password_hash).await? {
            return Err(refused("unknown account or wrong password"));
        }
        Ok(SignedIn { user: account.user, tokens })
    }

    /// Replaces the password and ends every session but `keep`.
    ///
    /// # Errors
    /// INVALID_CREDENTIALS when `current` is not the password, RATE_LIMITED.
    pub async fn change_password(
        &self,
        (user_id, keep): (UserId, SessionId),
        current: Password,
        new: Password,
    ) -> Result<()> {
        let outcome = self.write_password((user_id, keep), current, new).await;
        Audit::of("user.password_changed").by(user_id).session(keep).outcome(outcome)
    }

    async fn write_password(
        &self,
        (user_id, keep): (UserId, SessionId),
        current: Password,
        new: Password,
    ) -> Result<()> {
        let from = self.store.account(user_id).await?.map(|account| account.password_hash);
        let admission = self.passwords.admit().await?;
        let is_right = self.passwords.verify(current, from.clone(), admission).await?;
        let from = from.filter(|_| is_right).ok_or_else(|| refused("wrong password"))?;
        let to = self.passwords.hash(new).await?;
        let is_changed = self.sessions.change_password(PasswordChange { user_id, from, to, keep }).await?;
        if is_changed { Ok(()) } else { Err(refused("wrong password")) }
    }

    /// Makes or updates a user of another identity system; what is older than what is known changes nothing.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn describe(&self, profile: ForeignProfile) -> Result<Known> {
        self.store.describe(profile, self.clock.now()).await
    }

    /// The user of another system's valid token, described as far as the token can be believed to be meant so.
    ///
    /// # Errors
    /// TOKEN_REVOKED for a deactivated user; UNAVAILABLE when the store is away.
    pub async fn admit(&self, user: &ForeignUser) -> Result<()> {
        let name = |text: &Option<String>| text.as_deref().and_then(|name| model::full_name(cut(name)).ok());
        let profile = ForeignProfile {
            user_id: user.user_id,
            issuer: user.issuer.clone(),
            subject: user.subject.clone(),
            email: user.email.as_deref().and_then(|email| Email::new(email).ok()),
            full_name: name(&user.full_name),
            designation: name(&user.designation),
            as_of: user.issued_at,
            token_at: Some(user.issued_at),
        };
        match self.describe(profile).await? {
            Known { is_active: true, .. } => Ok(()),
            Known { is_active: false, .. } => Err(Error::new(ErrorKind::TokenRevoked, "the user is deactivated")),
        }
    }

    /// One user.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn get(&self, id: UserId) -> Result<User> {
        self.store.users(&[id]).await?.pop().ok_or_else(no_such_user)
    }

    /// Those of at most 1,000 ids that exist, each once.
    ///
    /// # Errors
    /// VALIDATION_FAILED for more.
    pub async fn batch(&self, ids: &[UserId]) -> Result<Vec<User>> {
        if ids.len() > limits::USERS_PER_REQUEST_MAX {
            return Err(Error::invalid("userIds", format!("must be at most {}", limits::USERS_PER_REQUEST_MAX)));
        }
        let ids: Vec<UserId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if ids.is_empty() { Ok(Vec::new()) } else { self.store.users(&ids).await }
    }

    /// The user with this address, or users whose name has a word with this beginning, `rows` of them after a token.
    ///
    /// # Errors
    /// VALIDATION_FAILED for a query or token that is none.
    pub async fn search(&self, query: &str, rows: u32, token: &str) -> Result<UserPage> {
        if let Ok(email) = Email::new(query) {
            let users = self.store.users_by_email(&email, i64::from(rows)).await?;
            return Ok(UserPage { users, next_page_token: String::new() });
        }
        let range = WordRange::new(query)?;
        let (word, after) = self.search_start(&range, token).await?;
        let mut users = self.store.search(&range, (&word, after), i64::from(rows) + 1).await?;
        let has_more = users.len() > rows as usize;
        users.truncate(rows as usize);
        let last = match users.last().filter(|_| has_more) {
            Some(last) => Some((last.id, 0)),
            None => self.store.search_end(&range, (&word, after)).await?,
        };
        let token = |(id, lower)| page::encode_token(&format!("{id} {lower}"));
        Ok(UserPage { users, next_page_token: last.map_or_else(String::new, token) })
    }

    /// A token names the user whose word was the last that was looked at, and which word that was: it may have changed.
    async fn search_start(&self, range: &WordRange, token: &str) -> Result<(String, UserId)> {
        let Some(token) = page::decode_token(token)? else {
            return Ok((range.from.clone(), UserId::from_uuid(Uuid::nil())));
        };
        let invalid = || Error::invalid("cursor", "is not a page token of this list");
        let (id, lower) = token.split_once(' ').ok_or_else(invalid)?;
        let id = UserId::parse("cursor", id).map_err(|_| invalid())?;
        let lower: u8 = lower.parse().map_err(|_| invalid())?;
        Ok((self.store.word(id, range, i64::from(lower)).await?.ok_or_else(invalid)?, id))
    }

    /// Replaces what is given of a user's profile.
    ///
    /// # Errors
    /// VALIDATION_FAILED, NOT_FOUND.
    pub async fn update(&self, id: UserId, full_name: Option<&str>, designation: Option<&str>) -> Result<User> {
        let full_name = full_name.map(model::full_name).transpose()?;
        let designation = designation.map(model::designation).transpose()?;
        let full_name = full_name.map(|name| {
            let words = words(&name);
            (name, words)
        });
        self.store.update_profile(id, ProfileChange { full_name, designation }).await
    }
}

/// For this process's own verifier.
#[async_trait]
impl Admission for Users {
    async fn admit(&self, user: &ForeignUser) -> Result<()> {
        Self::admit(self, user).await
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

/// What a claim has beyond a name's length is left out.
fn cut(text: &str) -> &str {
    text.char_indices().nth(model::NAME_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidCredentials, message)
}

fn no_such_user() -> Error {
    Error::not_found("no such user")
}
