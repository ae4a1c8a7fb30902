//! Bugs that a build made for it has on demand, one at a time: `scripts/faults --bugs` shows with them that its checker
//! finds what it is there to find. In any other build [`is_seeded`] is false before the program runs, and a release build
//! with the feature does not compile.

#[cfg(all(feature = "seeded-bugs", not(debug_assertions)))]
compile_error!("seeded bugs are for debug builds only");

/// Whether this build can have any.
pub const IS_SEEDABLE: bool = cfg!(feature = "seeded-bugs");

/// The environment variable that names the one bug a process has.
pub const SEEDED_BUG: &str = "MESSENGER_SEEDED_BUG";

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A send is answered while its transaction is still open.
    AckBeforeCommit,
    /// One publication in 1,000 entries is not sent, and nobody minds a gap.
    LostPublication,
    /// The sender's rights are those of before the wait for the journal's lock.
    RightsBeforeLock,
    /// The client message id is not stored: a repeat is known only beside its first send.
    IdempotencyInMemory,
    /// Each event of a connection is handled by a task of its own.
    ConcurrentHandlers,
    /// What does not fit into the queue of a connection is dropped, and the connection stays.
    FullQueueIgnored,
    /// The journal's lock is released once it has given out positions.
    PositionBeforeCommit,
    /// A replay leaves out the position after its cursor.
    ReplayOffByOne,
    /// A connection that comes back is given what was delivered meanwhile, whether or not its user takes part.
    ResumeWithoutMembership,
    /// Whoever is removed stays in the room.
    EmitAfterRemove,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AckBeforeCommit,
        Self::LostPublication,
        Self::RightsBeforeLock,
        Self::IdempotencyInMemory,
        Self::ConcurrentHandlers,
        Self::FullQueueIgnored,
        Self::PositionBeforeCommit,
        Self::ReplayOffByOne,
        Self::ResumeWithoutMembership,
        Self::EmitAfterRemove,
    ];
}

/// Whether this process has the bug that [`SEEDED_BUG`] names.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub fn is_seeded(bug: Bug) -> bool {
    static SEEDED: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let named = || {
        let name = std::env::var(SEEDED_BUG).ok()?;
        Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    };
    *SEEDED.get_or_init(named) == Some(bug)
}

/// Never, in this build.
#[cfg(not(feature = "seeded-bugs"))]
#[must_use]
pub const fn is_seeded(_: Bug) -> bool {
    false
}
