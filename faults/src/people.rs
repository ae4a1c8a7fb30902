//! Who takes part in a run, and with whom they talk.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use messenger_testkit::{Api, User};

use crate::{
    client::{Habits, Role},
    link::Wire,
    rights::Member,
};

/// Pairs who write to each other one message after the other: their answers tell how long a fault is felt.
const PROBING_PAIRS: usize = 6;
/// Writers of the busy group.
const GROUP_WRITERS: usize = 20;
/// Of them those without a socket.
const REST_WRITERS: usize = 2;
/// Pairs of whom one sends bursts; one more pair has large ones.
const BURSTING_PAIRS: usize = 2;
/// Messages of a burst.
const BURST: usize = 300;
/// Messages of a burst that does not fit into what may wait for one connection, and characters of each.
const LARGE_BURST: usize = 250;
const LARGE: usize = 9_000;
/// Readers of the group whose rights change; theirs do not.
const WATCHERS: usize = 2;
/// Registrations at once.
const REGISTERING: usize = 4;

/// Everybody.
pub struct People {
    /// In the order of their numbers; the probing ones first.
    pub roles: Vec<Role>,
    /// How many of them probe.
    pub probes: usize,
    /// The admin of the group whose rights change.
    pub admin: User,
    /// That group.
    pub group: String,
    /// Those whose rights change.
    pub members: Vec<Member>,
}

/// How many there are of those whose number is the run's.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Readers of the busy group.
    pub readers: usize,
    /// Writers of the group whose rights change.
    pub restrained: usize,
}

/// Registers everybody and makes the groups.
pub async fn gather(api: &Api, crowd: Crowd) -> anyhow::Result<People> {
    let probes = 2 * PROBING_PAIRS;
    let (busy, bursting) = (GROUP_WRITERS + crowd.readers, 2 * (BURSTING_PAIRS + 1));
    let count = probes + busy + bursting + crowd.restrained + WATCHERS + 1;
    let names = (0..count).map(|number| format!("client{number}"));
    let registering = stream::iter(names).map(|name| async move { api.register(&name).await });
    let mut users: Vec<User> = registering.buffered(REGISTERING).try_collect().await?;
    let admin = users.pop().expect("there is one more than the others");

    let first_restrained = probes + busy + bursting;
    let busy_users: Vec<&User> = users[probes + 1..probes + busy].iter().collect();
    let busy_group = api.group(&users[probes], false, &busy_users).await?;
    let group = api.group(&admin, false, &users[first_restrained..].iter().collect::<Vec<_>>()).await?;

    let mut roles = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let (target, habits) = if number < probes {
            (Some(("receiverId", users[number ^ 1].id.clone())), Habits::probing())
        } else if number < probes + busy {
            let writes = number < probes + GROUP_WRITERS;
            (writes.then(|| ("groupId", busy_group.clone())), Habits::in_group(number, writes))
        } else if number < first_restrained {
            let bursts = number.is_multiple_of(2);
            let is_large = number >= first_restrained - 2;
            (bursts.then(|| ("receiverId", users[number ^ 1].id.clone())), Habits::bursting(bursts, is_large))
        } else {
            let writes = number < first_restrained + crowd.restrained;
            (writes.then(|| ("groupId", group.clone())), Habits::restrained(writes))
        };
        let is_rest = (probes..probes + REST_WRITERS).contains(&number);
        let wire = (!is_rest).then_some(if number % 3 == 0 { Wire::Plain } else { Wire::SocketIo });
        roles.push(Role { number, user: user.clone(), target, habits, wire });
    }
    let restrained = first_restrained..first_restrained + crowd.restrained;
    let members = restrained.map(|number| Member::new(number, users[number].id.clone())).collect();
    Ok(People { roles, probes, admin, group, members })
}

impl Habits {
    const fn steady(window: usize, pace_ms: u64) -> Self {
        let pace = Duration::from_millis(pace_ms);
        Self { window, burst: 1, pace, length: 0, vanishes_every: None, stalls: None, is_restrained: false }
    }

    const fn probing() -> Self {
        Self::steady(1, 100)
    }

    /// Some wait for each answer, some do not; some readers are away now and then, some read slowly.
    fn in_group(number: usize, writes: bool) -> Self {
        let vanishes_every = number.is_multiple_of(4).then_some(Duration::from_secs(8));
        let stalls = (number % 5 == 1 && !writes).then_some((Duration::from_secs(15), Duration::from_secs(7)));
        Self { vanishes_every, stalls, ..Self::steady(if number.is_multiple_of(2) { 1 } else { 8 }, 1_000) }
    }

    /// The reader of large bursts is slow: each that comes while it does not read is more than may wait for it.
    fn bursting(writes: bool, is_large: bool) -> Self {
        if is_large {
            let stalls = (!writes).then_some((Duration::from_secs(6), Duration::from_secs(8)));
            return Self { burst: LARGE_BURST, length: LARGE, stalls, ..Self::steady(LARGE_BURST, 6_000) };
        }
        Self { burst: BURST, ..Self::steady(BURST, 5_000) }
    }

    const fn restrained(writes: bool) -> Self {
        Self { is_restrained: writes, ..Self::steady(4, 100) }
    }
}
