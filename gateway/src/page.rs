//! The pages for people: the client at `/` and the description of the API at `/docs`, embedded in the binary.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, Uri, header};
use messenger_core::Error;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::{problem::Problem, session::Gateway};

#[derive(RustEmbed)]
#[folder = "../web/"]
struct Files;

/// Scripts, styles and pictures are our own files, and only this server is talked to.
const CLIENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// RapiDoc styles itself while it runs.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";
/// Their names have the version in them.
const VENDORED: &str = "assets/vendor/";

/// `/`, `/docs` and what they load.
pub fn routes() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { file("index.html", CLIENT_POLICY, &headers) }))
        .route("/docs", get(|headers: HeaderMap| async move { file("docs.html", DOCS_POLICY, &headers) }))
        .route("/assets/{*path}", get(asset))
}

async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    file(uri.path().trim_start_matches('/'), CLIENT_POLICY, &headers)
}

fn file(path: &str, policy: &'static str, request: &HeaderMap) -> Response {
    let Some(EmbeddedFile { data, metadata }) = Files::get(path) else {
        return Problem::from(Error::not_found("there is nothing here")).into_response();
    };
    let tag = entity_tag(metadata.sha256_hash());
    let caching = if path.starts_with(VENDORED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [(header::CACHE_CONTROL, caching), (header::CONTENT_SECURITY_POLICY, policy), (header::ETAG, &tag)];
    if is_known(&tag, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, media_type(path))], data).into_response()
}

fn entity_tag(hash: [u8; 32]) -> String {
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether the browser has this very file (RFC 9110, `If-None-Match`).
fn is_known(tag: &str, request: &HeaderMap) -> bool {
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_how_it_may_be_used() {
        let page = file("index.html", CLIENT_POLICY, &HeaderMap::new());
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-cache");
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, page.headers()[header::ETAG].clone());
        assert_eq!(file("index.html", CLIENT_POLICY, &request).status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn only_files_of_ours() {
        for path in ["assets/../Cargo.toml", "assets//etc/passwd", "assets/nothing.js", ""] {
            assert_eq!(file(path, CLIENT_POLICY, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn pages_have_no_script_of_their_own() {
        for path in Files::iter().filter(|path| path.ends_with(".html")) {
            let html = Files::get(&path).expect("listed").data;
            let html = String::from_utf8_lossy(&html).into_owned();
            assert!(!html.contains(" onclick=") && !html.contains(" style=") && !html.contains("<style"), "{path}");
            assert!(
                html.match_indices("<script")
                    .all(|(at, _)| html[at..].starts_with("<script type=\"module\" src=\"/assets/"))
            );
        }
    }
}
