//! Keeps a fault from filling the disk: of what one place in the code warns of again and again, the first lines are
//! logged and the rest is counted.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Lines of one place within a while.
const LINES_MAX: u64 = 3;
/// How long a while is.
const WHILE: Duration = Duration::from_secs(10);

/// What was said lately, of warnings and errors; everything else passes. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeats(Arc<Mutex<HashMap<Identifier, Said>>>);

/// What a place in the code said within this while.
#[derive(Debug)]
struct Said {
    words: String,
    lines: u64,
}

impl Repeats {
    /// Says at the end of each while what was left out, as long as the process lives.
    pub(crate) fn report(&self) {
        let repeats = self.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(WHILE);
                repeats.end_while();
            }
        });
    }

    fn end_while(&self) {
        let ended = std::mem::take(&mut *self.lock());
        for Said { words, lines } in ended.into_values().filter(|said| said.lines > LINES_MAX) {
            tracing::warn!(left_out = lines - LINES_MAX, "repeated: {words}");
        }
    }

    fn passes(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == module_path!() {
            return true;
        }
        let mut all = self.lock();
        let said = all.entry(metadata.callsite()).or_insert_with(|| Said { words: words(event), lines: 0 });
        said.lines += 1;
        said.lines <= LINES_MAX
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repeats {
    /// The same format without the lines that are left out.
    pub(crate) fn limit<F>(&self, format: F) -> Limited<F> {
        Limited { format, repeats: self.clone() }
    }
}

/// A format that writes nothing for what is left out. (A filter of the layer cannot do it: what `event_enabled` of the
/// only layer refuses is never cleared, and the next event of the thread is lost with it.)
pub(crate) struct Limited<F> {
    format: F,
    repeats: Repeats,
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.repeats.passes(event) { self.format.format_event(context, writer, event) } else { Ok(()) }
    }
}

fn words(event: &Event<'_>) -> String {
    struct Words(String);
    impl Visit for Words {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                // A string takes everything.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut words = Words(String::new());
    event.record(&mut words);
    words.0
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics here").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_lines_and_a_count() {
        let (lines, repeats) = (Lines::default(), Repeats::default());
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .map_event_format(|format| repeats.limit(format));
        let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        for number in 0..1_000 {
            tracing::warn!(number, "the database is away");
            tracing::info!("a user came");
        }
        tracing::error!("something else");
        repeats.end_while();
        let text = String::from_utf8(lines.0.lock().expect("no test panics here").clone()).expect("text");
        let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!((count("WARN"), count("a user came"), count("something else")), (4, 1_000, 1), "{text}");
        assert_eq!(count("repeated: the database is away left_out=997"), 1, "{text}");
    }
}
