//! By what a user is found beside the whole address (part of one would let anybody find out the rest, letter by
//! letter): the beginning of the full name from any of its words on.

use std::collections::BTreeSet;

use messenger_core::{Error, Result};

const QUERY_CHARS_MAX: usize = 100;
/// Of one name: those of its other words cost every search that meets them.
const WORDS_MAX: usize = 8;

/// The words a user is stored under, each cut at the length of the longest query. A name counts from each of its
/// first eight words on ("ann lee", "lee"), so that a query of several words is a prefix too.
#[must_use]
pub fn words(full_name: &str) -> Vec<String> {
    let name = normal(full_name);
    let mut words = BTreeSet::from([cut(&name)]);
    let mut before = ' ';
    for (at, c) in name.char_indices() {
        if words.len() < WORDS_MAX && c.is_alphanumeric() && !before.is_alphanumeric() {
            words.insert(cut(&name[at..]));
        }
        before = c;
    }
    words.into_iter().collect()
}

/// The stored words that begin with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordRange {
    /// The first.
    pub from: String,
    /// Above the last.
    pub below: String,
}

impl WordRange {
    /// Of a query of 1 to 100 characters.
    ///
    /// # Errors
    /// VALIDATION_FAILED naming `search`.
    pub fn new(query: &str) -> Result<Self> {
        let from = normal(query);
        let length = query.trim().chars().take(QUERY_CHARS_MAX + 1).count();
        if from.is_empty() || length > QUERY_CHARS_MAX || from.chars().any(char::is_control) {
            return Err(Error::invalid("search", "must have 1 to 100 characters, no control characters"));
        }
        let from = cut(&from);
        // A non-character: no text goes on with it.
        let below = format!("{from}{}", char::MAX);
        Ok(Self { from, below })
    }
}

fn normal(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str) -> String {
    text.chars().take(QUERY_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str, name: &str) -> bool {
        let range = WordRange::new(query).expect("a query");
        words(name).iter().any(|word| (&range.from..&range.below).contains(&word))
    }

    #[test]
    fn any_word_by_its_beginning_in_any_case() {
        for query in ["a", "ANN", "ann  le", "lee", " Lee ", "Ann-Mar", "marie"] {
            assert!(found(query, "Ann-Marie  Lee") || found(query, "Ann Lee"), "{query}");
        }
        for (query, name) in [("ÉLI", "élise"), ("brien", "O'Brien"), ("🦀", "🦀 Ferris"), ("ferr", "🦀 Ferris")]
        {
            assert!(found(query, name), "{query}");
        }
        for query in ["nn", "e lee", "example", "%", "_", "ann lee x"] {
            assert!(!found(query, "Ann Lee"), "{query}");
        }
    }

    #[test]
    fn a_name_of_many_words_costs_no_more_than_one_of_eight() {
        let name = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10";
        assert!(words(name).len() == 8 && found("w8 w9", name) && !found("w9", name));
    }

    #[test]
    fn bounds() {
        assert!(WordRange::new(&"x".repeat(100)).is_ok());
        for query in ["", " ", "a\0", &"x".repeat(101)] {
            assert!(WordRange::new(query).is_err());
        }
        assert!(found(&"n".repeat(100), &"n".repeat(200)));
    }
}
