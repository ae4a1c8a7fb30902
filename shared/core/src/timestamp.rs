//! Points in time, as every store and wire of ours has them.

use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::Error;

/// The years 0 to 9999, in microseconds: what RFC 3339 can show. An offset can lead out of them.
const SHOWN: RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

/// Microseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339 UTC with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This much later; the last point there is when that overflows.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 with any offset; `field` names it in the error.
    ///
    /// # Errors
    /// VALIDATION_FAILED when it is none.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, Error> {
        let time =
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Error::invalid(field, "must be an RFC 3339 time"))?;
        let micros = i64::try_from(time.unix_timestamp_nanos() / 1_000).ok().filter(|micros| SHOWN.contains(micros));
        micros.map(Self).ok_or_else(|| Error::invalid(field, "is out of range"))
    }

    /// Seconds and nanoseconds, as protobuf has them.
    #[must_use]
    pub const fn to_parts(self) -> (i64, i32) {
        (self.0.div_euclid(1_000_000), (self.0.rem_euclid(1_000_000) * 1_000) as i32)
    }

    /// From seconds and nanoseconds; saturates.
    #[must_use]
    pub const fn from_parts(seconds: i64, nanos: i32) -> Self {
        Self(seconds.saturating_mul(1_000_000).saturating_add(nanos as i64 / 1_000))
    }
}

/// What is shown of a time.
type Text = [u8; 24];

impl Timestamp {
    /// By hand: formatting costs ten times as much, and every message shows one. Beyond what RFC 3339 can show, the first or
    /// last time it can.
    fn text(self) -> Text {
        let shown = Self(self.0.clamp(*SHOWN.start(), *SHOWN.end()));
        let time = OffsetDateTime::from_unix_timestamp(shown.as_secs()).expect("a year of four digits");
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: usize, mut number: u32| {
            for digit in text[at..at + digits].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, time.year().unsigned_abs());
        put(5, 2, u8::from(time.month()).into());
        put(8, 2, time.day().into());
        put(11, 2, time.hour().into());
        put(14, 2, time.minute().into());
        put(17, 2, time.second().into());
        put(20, 3, shown.as_millis().rem_euclid(1_000) as u32);
        text
    }
}

/// What is shown is ASCII.
fn ascii(text: &Text) -> &str {
    str::from_utf8(text).expect("digits and signs")
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.text()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ascii(&self.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_micros(1_500).to_string(), "1970-01-01T00:00:00.001Z");
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_micros(1_795_662_307_089_000).to_string(), "2026-11-26T03:05:07.089Z");
    }

    #[test]
    fn what_cannot_be_shown_is_shown_as_the_nearest_that_can() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn read_with_any_offset() {
        let time = Timestamp::parse("at", "2026-01-02T03:04:05.678+01:00").expect("valid");
        assert_eq!(time.to_string(), "2026-01-02T02:04:05.678Z");
        assert!(Timestamp::parse("at", "yesterday").is_err());
    }

    #[test]
    fn none_that_cannot_be_shown() {
        for text in ["0000-01-01T00:00:00.9+02:00", "9999-12-31T23:59:59-23:59"] {
            assert!(Timestamp::parse("at", text).is_err(), "{text}");
        }
    }

    #[test]
    fn protobuf_parts_and_back() {
        for micros in [0, 1, -1, 1_700_000_000_123_456] {
            let time = Timestamp::from_micros(micros);
            let (seconds, nanos) = time.to_parts();
            assert_eq!(Timestamp::from_parts(seconds, nanos), time);
        }
    }
}
