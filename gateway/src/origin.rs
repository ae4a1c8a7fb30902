//! Which browser pages may use the sockets: those of this server's own origin and those on the allow list.
//! Programs other than browsers send no `Origin` and are let through.

use http::{HeaderMap, HeaderValue, header};

/// Reads an entry of the allow list: `*`, or what a browser sends as `Origin`, `https://app.example.com:8443` for example.
///
/// # Errors
/// What is wrong with it: it would never match.
pub fn entry(text: &str) -> Result<String, String> {
    let authority = text.split_once("://").map(|(scheme, authority)| (scheme.is_empty(), authority));
    let is_origin = authority.is_some_and(|(no_scheme, authority)| {
        !no_scheme && !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' '])
    });
    // Empty, as a variable that is set to nothing.
    if text.is_empty() || text == "*" || is_origin {
        return Ok(text.to_owned());
    }
    Err("must be scheme://host or scheme://host:port, without a path or a slash at the end".to_owned())
}

/// Whether the page this request comes from may use the sockets.
pub fn is_allowed(headers: &HeaderMap, allow_list: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    origins.next().is_none() && (is_listed(origin, allow_list) || is_own(origin, headers))
}

fn is_listed(origin: &str, allow_list: &[String]) -> bool {
    allow_list.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

/// The scheme is left out: a proxy in front of this server may have ended TLS.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Lets the page that was found allowed read the answer. With credentials, because clients are often set up so;
/// there are no cookies here.
pub fn let_read(origin: Option<HeaderValue>, response: &mut HeaderMap) {
    response.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(origins: &[&'static str], host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn entries_that_never_match_are_refused() {
        for text in ["", "*", "https://app.example.com", "http://[::1]:8080", "capacitor://localhost"] {
            assert_eq!(entry(text), Ok(text.to_owned()));
        }
        for text in ["app.example.com", "https://", "://a", "https://a/", "https://a/b", "https://u@a"] {
            assert!(entry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pages() {
        let list = ["https://app.example.com".to_owned()];
        for (origins, allowed) in [
            (&[][..], true),
            (&["https://chat.example.com:8080"], true),
            (&["http://CHAT.example.com:8080"], true),
            (&["https://app.example.com"], true),
            (&["https://chat.example.com"], false),
            (&["https://evil.example.com"], false),
            (&["https://app.example.com.evil.com"], false),
            (&["null"], false),
            (&[""], false),
            (&["https://app.example.com", "https://evil.example.com"], false),
        ] {
            assert_eq!(is_allowed(&request(origins, "chat.example.com:8080"), &list), allowed, "{origins:?}");
        }
        assert!(is_allowed(&request(&["https://evil.example.com"], "chat.example.com"), &["*".to_owned()]));
    }
}
