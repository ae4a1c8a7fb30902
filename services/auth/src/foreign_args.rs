//! Settings of other identity systems.

use std::{borrow::Cow, fmt, path::PathBuf};

use clap::Args;
use messenger_core::{Error, ErrorKind, Result};
use messenger_identity::{ClaimNames, TokenRules};

use crate::foreign::{JwksLocation, Source};

/// Other identity systems; several are named in the same order by each setting.
#[derive(Debug, Clone, Args)]
pub struct ForeignArgs {
    /// Another identity system whose tokens are accepted: their `iss`. Several are separated by commas.
    #[arg(long, env = "MESSENGER_IDENTITY_ISSUER", value_delimiter = ',')]
    pub identity_issuer: Vec<String>,
    /// Where its keys are: `https://…`, or `file:///…`; one for each issuer.
    #[arg(long, env = "MESSENGER_IDENTITY_JWKS_URL", value_delimiter = ',')]
    pub identity_jwks_url: Vec<String>,
    /// `aud` of its tokens; one for each issuer, or one for all.
    #[arg(long, env = "MESSENGER_IDENTITY_AUDIENCE", value_delimiter = ',')]
    pub identity_audience: Vec<String>,
    /// The claim that names a user for good; one for each issuer, or one for all.
    #[arg(long, env = "MESSENGER_IDENTITY_SUBJECT_CLAIM", value_delimiter = ',', default_value = "sub")]
    pub identity_subject_claim: Vec<String>,
    /// The claim with the e-mail address; one for each issuer, or one for all.
    #[arg(long, env = "MESSENGER_IDENTITY_EMAIL_CLAIM", value_delimiter = ',', default_value = "email")]
    pub identity_email_claim: Vec<String>,
    /// The claim with the full name; one for each issuer, or one for all.
    #[arg(long, env = "MESSENGER_IDENTITY_NAME_CLAIM", value_delimiter = ',', default_value = "name")]
    pub identity_name_claim: Vec<String>,
    /// The claim with the designation; one for each issuer, or one for all.
    #[arg(long, env = "MESSENGER_IDENTITY_DESIGNATION_CLAIM", value_delimiter = ',', default_value = "designation")]
    pub identity_designation_claim: Vec<String>,
    /// Fetch keys over `http://` from other machines, too: whoever can change what is on the wire can then be anybody.
    #[arg(long, env = "MESSENGER_IDENTITY_PLAIN_HTTP")]
    pub identity_plain_http: bool,
    /// Only other identity systems know users: nobody registers or logs in here, and tokens of ours are refused.
    #[arg(long, env = "MESSENGER_NO_OWN_ACCOUNTS")]
    pub no_own_accounts: bool,
}

impl Default for ForeignArgs {
    fn default() -> Self {
        let ClaimNames { subject, email, full_name, designation } = ClaimNames::default();
        Self {
            identity_issuer: Vec::new(),
            identity_jwks_url: Vec::new(),
            identity_audience: Vec::new(),
            identity_subject_claim: vec![subject],
            identity_email_claim: vec![email],
            identity_name_claim: vec![full_name],
            identity_designation_claim: vec![designation],
            identity_plain_http: false,
            no_own_accounts: false,
        }
    }
}

impl ForeignArgs {
    /// The systems.
    ///
    /// # Errors
    /// VALIDATION_FAILED, for the operator, when the settings do not fit together.
    pub(crate) fn sources(&self, own_issuer: &str) -> Result<Vec<Source>> {
        let issuers = &self.identity_issuer;
        if issuers.is_empty() && self.no_own_accounts {
            return Err(refused("--no-own-accounts needs --identity-issuer: otherwise nobody could come in"));
        }
        if self.identity_jwks_url.len() != issuers.len() {
            return Err(refused("--identity-jwks-url must be given once for each --identity-issuer"));
        }
        let mut sources: Vec<Source> = Vec::with_capacity(issuers.len());
        for (number, (issuer, url)) in issuers.iter().zip(&self.identity_jwks_url).enumerate() {
            let is_taken = issuer == own_issuer || sources.iter().any(|source| source.rules.issuer == *issuer);
            if issuer.is_empty() || is_taken {
                return Err(refused("--identity-issuer must name each system once, and none as --token-issuer"));
            }
            let audience = self.of_issuer(number, "audience", &self.identity_audience)?;
            let rules = TokenRules { issuer: issuer.clone(), audience };
            sources.push(Source { rules, claims: self.claims(number)?, jwks: self.location(url)? });
        }
        Ok(sources)
    }

    fn claims(&self, issuer: usize) -> Result<ClaimNames> {
        Ok(ClaimNames {
            subject: self.of_issuer(issuer, "subject-claim", &self.identity_subject_claim)?,
            email: self.of_issuer(issuer, "email-claim", &self.identity_email_claim)?,
            full_name: self.of_issuer(issuer, "name-claim", &self.identity_name_claim)?,
            designation: self.of_issuer(issuer, "designation-claim", &self.identity_designation_claim)?,
        })
    }

    /// What is given for each issuer, or once for all.
    fn of_issuer(&self, number: usize, setting: &str, values: &[String]) -> Result<String> {
        let value = match values {
            [one] => Some(one),
            each if each.len() == self.identity_issuer.len() => each.get(number),
            _ => None,
        };
        value.filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
            refused(format!("--identity-{setting} must be given once, or once for each --identity-issuer"))
        })
    }

    fn location(&self, text: &str) -> Result<JwksLocation> {
        if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
            return Ok(JwksLocation::File(PathBuf::from(path)));
        }
        let url = reqwest::Url::parse(text).ok().filter(|url| url.has_host());
        let url = url.ok_or_else(|| refused("--identity-jwks-url must be of the form https://… or file:///…"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("--identity-jwks-url must not hold a user or a password: it is shown in logs"));
        }
        let is_here = ["127.0.0.1", "[::1]", "localhost"].contains(&url.host_str().unwrap_or_default());
        match url.scheme() {
            "https" => Ok(JwksLocation::Url(text.to_owned())),
            "http" if is_here || self.identity_plain_http => Ok(JwksLocation::Url(text.to_owned())),
            "http" => Err(refused("--identity-jwks-url: http:// to another machine needs --identity-plain-http")),
            _ => Err(refused("--identity-jwks-url must be of the form https://… or file:///…")),
        }
    }
}

impl fmt::Display for ForeignArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "identity-issuer = {}", self.identity_issuer.join(","))?;
        writeln!(f, "identity-jwks-url = {}", self.identity_jwks_url.join(","))?;
        writeln!(f, "identity-audience = {}", self.identity_audience.join(","))?;
        writeln!(f, "identity-subject-claim = {}", self.identity_subject_claim.join(","))?;
        writeln!(f, "identity-email-claim = {}", self.identity_email_claim.join(","))?;
        writeln!(f, "identity-name-claim = {}", self.identity_name_claim.join(","))?;
        writeln!(f, "identity-designation-claim = {}", self.identity_designation_claim.join(","))?;
        writeln!(f, "identity-plain-http = {}", self.identity_plain_http)?;
        writeln!(f, "no-own-accounts = {}", self.no_own_accounts)
    }
}

fn refused(line: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::ValidationFailed, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(issuers: &[&str], urls: &[&str], audiences: &[&str]) -> Result<Vec<Source>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = ForeignArgs {
            identity_issuer: texts(issuers),
            identity_jwks_url: texts(urls),
            identity_audience: texts(audiences),
            ..ForeignArgs::default()
        };
        args.sources("messenger")
    }

    #[test]
    fn each_issuer_has_its_keys_and_an_audience() {
        let both = sources(&["https://a", "b"], &["https://a/jwks", "file:///etc/b.json"], &["chat"]).expect("two");
        assert_eq!(both[1].jwks, JwksLocation::File(PathBuf::from("/etc/b.json")));
        assert_eq!((both[0].rules.audience.as_str(), both[1].rules.audience.as_str()), ("chat", "chat"));
        let own = sources(&["a", "b"], &["http://127.0.0.1:1/x", "http://[::1]/y"], &["one", "two"]).expect("two");
        assert_eq!((own[0].rules.audience.as_str(), own[1].rules.audience.as_str()), ("one", "two"));
        assert!(sources(&[], &[], &[]).expect("none").is_empty());
    }

    #[test]
    fn each_issuer_may_have_names_of_its_own_for_claims() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let args = |emails: &[&str], subjects: &[&str]| ForeignArgs {
            identity_issuer: texts(&["a", "b"]),
            identity_jwks_url: texts(&["https://a/jwks", "https://b/jwks"]),
            identity_audience: texts(&["chat"]),
            identity_email_claim: texts(emails),
            identity_subject_claim: texts(subjects),
            ..ForeignArgs::default()
        };
        let both = args(&["mail", "upn"], &["oid"]).sources("messenger").expect("two");
        let names = both.iter().map(|Source { claims, .. }| (claims.email.as_str(), claims.subject.as_str()));
        assert_eq!(names.collect::<Vec<_>>(), [("mail", "oid"), ("upn", "oid")]);
        assert_eq!(both[1].claims.full_name, "name");
        for (emails, subjects) in [(&["mail", "upn", "x"][..], &["sub"][..]), (&["mail"], &["sub", ""])] {
            let error = args(emails, subjects).sources("messenger").expect_err("neither once nor for each");
            assert!(error.message().contains("-claim must be given once, or once for each"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let url = "https://a/jwks";
        for (issuers, urls, audiences) in [
            (&["a"][..], &[][..], &["chat"][..]),
            (&["a"], &[url], &[]),
            (&[], &[url], &["chat"]),
            (&["a", "b"], &[url], &["chat"]),
            (&["a", "b", "c"], &[url, url, url], &["one", "two"]),
            (&["a", "b"], &[url, url], &["one", ""]),
            (&["a", "a"], &[url, url], &["chat"]),
            (&["messenger"], &[url], &["chat"]),
            (&[""], &[url], &["chat"]),
            (&["a"], &["http://keys.example/jwks"], &["chat"]),
            (&["a"], &["ftp://a/jwks"], &["chat"]),
            (&["a"], &["https://user@a/jwks"], &["chat"]),
            (&["a"], &["https://:secret@a/jwks"], &["chat"]),
            (&["a"], &["file://relative"], &["chat"]),
            (&["a"], &["jwks.json"], &["chat"]),
        ] {
            assert!(sources(issuers, urls, audiences).is_err(), "{issuers:?} {urls:?} {audiences:?}");
        }
        let alone = ForeignArgs { no_own_accounts: true, ..ForeignArgs::default() };
        assert!(alone.sources("messenger").is_err());
    }
}
