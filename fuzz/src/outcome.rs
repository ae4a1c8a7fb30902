//! What is learnt from one input: the shape of its result, and what reading it cost.

use std::{
    fmt::Display,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Bytes that reading an input may hold at once for each of its own, and besides. Most need one or two. serde quotes a text
/// of the wrong type in its error, and an invisible one (one byte) as `\u{7f}`, in a string that doubles as it grows;
/// metadata (4 KiB at most) becomes a tree of 32 bytes for each number (two bytes), in lists that double.
const HELD: (u64, u64) = (64, 16 * 1024);
/// Bytes that it may allocate in all, however soon it gives them back.
const ALLOCATED: (u64, u64) = (128, 64 * 1024);

/// The shape of a result: inputs of the same shape went the same way through the decoder, as far as one can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome(u64);

impl Outcome {
    /// From words about it; numbers in them (lengths, columns of an error) make no difference.
    #[must_use]
    pub fn of(words: impl Display) -> Self {
        let mut hasher = DefaultHasher::new();
        words.to_string().chars().filter(|char| !char.is_ascii_digit()).for_each(|char| char.hash(&mut hasher));
        Self(hasher.finish())
    }

    /// Of something read, by how much of it there is: 0, 1, 2-3, 4-7, …
    #[must_use]
    pub fn sized(words: &str, size: usize) -> Self {
        Self::of(format_args!("{words} {}", "+".repeat((usize::BITS - size.leading_zeros()) as usize)))
    }
}

/// Watches what a decoder allocates.
#[derive(Debug, Default)]
pub struct Probe {
    /// The most bytes that were held at once for an input, in percent of what is allowed.
    pub held_percent_max: u64,
    /// The most bytes that were allocated in all for an input, in percent of what is allowed.
    pub allocated_percent_max: u64,
}

impl Probe {
    /// Runs a decoder over an input of so many bytes.
    ///
    /// # Panics
    /// When it allocates more than the input explains.
    pub fn read<T>(&mut self, input_bytes: usize, decode: impl FnOnce() -> T) -> T {
        let mut decoded = None;
        let cost = allocation_counter::measure(|| decoded = Some(decode()));
        let percent = |bytes: u64, (each, besides)| 100 * bytes / (each * input_bytes as u64 + besides);
        let (held, allocated) = (percent(cost.bytes_max, HELD), percent(cost.bytes_total, ALLOCATED));
        self.held_percent_max = self.held_percent_max.max(held);
        self.allocated_percent_max = self.allocated_percent_max.max(allocated);
        assert!(held <= 100, "{} bytes held for {input_bytes}", cost.bytes_max);
        assert!(allocated <= 100, "{} bytes allocated for {input_bytes}", cost.bytes_total);
        decoded.expect("it was just run")
    }
}
