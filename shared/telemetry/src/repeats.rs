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
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    filter::LevelFilter,
    layer::{Context, Filter},
};

/// Lines of one place within a while.
const LINES_MAX: u64 = 3;
/// How long a while is.
const WHILE: Duration = Duration::from_secs(10);

/// A filter of warnings and errors; everything else passes. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repeats(Arc<Mutex<HashMap<Identifier, Place>>>);

/// What a place in the code said within this while.
#[derive(Debug)]
struct Place {
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
        let places = std::mem::take(&mut *self.lock());
        for Place { words, lines } in places.into_values().filter(|place| place.lines > LINES_MAX) {
            tracing::warn!(left_out = lines - LINES_MAX, "repeated: {words}");
        }
    }

    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == module_path!() {
            return true;
        }
        let mut places = self.lock();
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place { words: words(event), lines: 0 });
        place.lines += 1;
        place.lines <= LINES_MAX
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event)
    }

    /// Without it, what the other filter turns off everywhere would be asked about each time.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
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
    use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> tracing_subscriber::Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("no test panics here").push(words(event));
        }
    }

    #[test]
    fn the_first_lines_and_a_count() {
        let (lines, repeats) = (Lines::default(), Repeats::default());
        let subscriber = tracing_subscriber::registry().with(lines.clone().with_filter(repeats.clone()));
        let _subscriber = tracing::subscriber::set_default(subscriber);
        for number in 0..1_000 {
            tracing::warn!(number, "the database is away");
            tracing::info!("a user came");
        }
        tracing::error!("something else");
        repeats.end_while();
        tracing::warn!("the database is away");
        let said = lines.0.lock().expect("no test panics here").clone();
        let count = |words: &str| said.iter().filter(|line| *line == words).count();
        assert_eq!(count("the database is away"), 4);
        assert_eq!(count("a user came"), 1_000);
        assert_eq!((count("something else"), count("repeated: the database is away")), (1, 1));
    }
}
