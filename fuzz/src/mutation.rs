//! Changes to an input, from one byte to a nesting thousands deep.

use std::ops::Range;

use fastrand::Rng;

/// Bytes of an input, at most: a little more than a frame may have.
const INPUT_BYTES_MAX: usize = 80 * 1024;
/// How often a piece is repeated, at most.
const REPEATS_MAX: usize = 20_000;

/// What formats are made of and what breaks them.
const TOKENS: [&str; 41] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\n",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "1e999",
    "-0",
    "-1",
    "0",
    "9007199254740993",
    "18446744073709551616",
    "9223372036854775807",
    "253402300800",
    "\u{1e}",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "👩‍👩‍👧",
    " ",
    "\n",
    ".",
    "=",
    "-",
    "_",
    "__proto__",
    "$serde_json::private::RawValue",
    "/",
    "'",
    "%00",
];

/// An input made of one of the pool by a few changes; now and then of a second one.
#[must_use]
pub fn mutated(random: &mut Rng, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[random.usize(..pool.len())].clone();
    for _ in 0..1 + random.usize(..4) {
        change(random, &mut input, pool);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(random: &mut Rng, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    match random.u8(..100) {
        0..15 => replace_byte(random, input),
        15..30 => {
            let at = random.usize(..=input.len());
            input.insert(at, byte(random));
        }
        30..50 => {
            let token = TOKENS[random.usize(..TOKENS.len())];
            splice(random, input, token.as_bytes());
        }
        50..65 => drop(input.drain(range(random, input.len()))),
        65..75 => {
            let piece = input[range(random, input.len())].to_vec();
            splice(random, input, &piece);
        }
        75..90 => {
            let other = &pool[random.usize(..pool.len())];
            let piece = range(random, other.len());
            splice(random, input, &other[piece]);
        }
        90..98 => number(random, input),
        _ => repeat(random, input),
    }
}

fn replace_byte(random: &mut Rng, input: &mut [u8]) {
    if !input.is_empty() {
        let at = random.usize(..input.len());
        input[at] = if random.bool() { byte(random) } else { input[at] ^ (1 << random.u8(..8)) };
    }
}

/// Mostly text.
fn byte(random: &mut Rng) -> u8 {
    if random.u8(..8) == 0 { random.u8(..) } else { random.u8(0x20..0x7f) }
}

/// A piece, mostly a short one.
fn range(random: &mut Rng, length: usize) -> Range<usize> {
    let from = random.usize(..=length);
    let longest = if random.bool() { 8.min(length - from) } else { length - from };
    from..from + random.usize(..=longest)
}

/// Puts a piece in, sometimes over what was there.
fn splice(random: &mut Rng, input: &mut Vec<u8>, piece: &[u8]) {
    let from = random.usize(..=input.len());
    let to = if random.bool() { from } else { input.len().min(from + piece.len()) };
    input.splice(from..to, piece.iter().copied());
}

/// Another number where there is one.
fn number(random: &mut Rng, input: &mut Vec<u8>) {
    let Some(from) = input.iter().position(u8::is_ascii_digit) else { return };
    let digits = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = random.u64(..) >> random.u8(..64);
    input.splice(from..from + digits, value.to_string().into_bytes());
}

/// One piece over and over: depth, length, many of the same.
fn repeat(random: &mut Rng, input: &mut Vec<u8>) {
    let piece = range(random, input.len());
    let times = 1 + (random.usize(..REPEATS_MAX) >> random.u8(..14));
    let times = times.min(INPUT_BYTES_MAX / piece.len().max(1));
    let repeated = input[piece.clone()].repeat(times);
    input.splice(piece, repeated);
}
