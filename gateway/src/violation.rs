//! Which field of a client's JSON is wrong, and how: the same words over REST and sockets.

use messenger_core::Error;
use serde::Deserialize;
use serde_path_to_error::Track;

/// Bytes of an explanation: what a client sent may be in it.
const EXPLANATION_BYTES_MAX: usize = 160;

/// Reads a JSON object, which is known to begin as one.
///
/// # Errors
/// VALIDATION_FAILED with the field that is missing, given twice or of another type; none when the text is no JSON.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Option<Error>> {
    let (mut track, mut deserializer) = (Track::new(), serde_json::Deserializer::from_slice(json));
    let read = T::deserialize(serde_path_to_error::Deserializer::new(&mut deserializer, &mut track));
    let value = read.map_err(|error| violation(&track.path().to_string(), &error))?;
    deserializer.end().map_err(|_| None)?;
    Ok(value)
}

fn violation(path: &str, error: &serde_json::Error) -> Option<Error> {
    if error.classify() != serde_json::error::Category::Data {
        return None;
    }
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let named = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    if let Some(field) = named("missing field `") {
        return Some(Error::invalid(field.to_owned(), "is required"));
    }
    if let Some(field) = named("duplicate field `") {
        return Some(Error::invalid(field.to_owned(), "is given twice"));
    }
    let explanation = &text[..text.floor_char_boundary(EXPLANATION_BYTES_MAX)];
    Some(Error::invalid(path.to_owned(), explanation.to_owned()))
}
