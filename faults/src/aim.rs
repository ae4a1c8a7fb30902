//! Freezes a process at one moment of its work: again and again, until the database says that it is there.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::sleep;

use crate::{cluster::Cluster, process::Process, proxy::Mode};

const ATTEMPTS: usize = 200;
/// What goes on by itself has gone on after this.
const SETTLED_AFTER: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A message process inside its transaction, with the journal's lock; for `time`, which is longer than PostgreSQL waits
/// for it. Whether it was caught.
pub async fn in_transaction(cluster: &mut Cluster, node: usize, time: Duration) -> anyhow::Result<bool> {
    const HELD: &str = "SELECT count(*) FROM pg_stat_activity \
                        WHERE state = 'idle in transaction' AND application_name LIKE 'messenger-message%' \
                        AND state_change < clock_timestamp() - interval '15 ms'";
    let mut connection = PgConnection::connect(&cluster.database_url).await?;
    let process = cluster.part("message", node)?;
    for _ in 0..ATTEMPTS {
        if frozen_with(process, &mut connection, HELD).await? {
            sleep(time).await;
            process.signal("CONT").await?;
            return Ok(true);
        }
        process.signal("CONT").await?;
        sleep(LOOK_EVERY).await;
    }
    Ok(false)
}

/// A conversation process between the commit of a change and its call of `AppendChanges`, which is held on its way until
/// `time` is over, while another process brings that change into the journal. Whether it was caught.
pub async fn in_change(cluster: &mut Cluster, node: usize, time: Duration) -> anyhow::Result<bool> {
    // What a process that is not held has committed is in the journal after this.
    const UNDELIVERED: &str = "SELECT count(*) FROM conversation.outbox \
                               LEFT JOIN message.head USING (conversation_id) \
                               WHERE outbox.version > COALESCE(head.version, 0)";
    let mut connection = PgConnection::connect(&cluster.database_url).await?;
    let relays = cluster.relays[node].clone();
    let process = cluster.part("conversation", node)?;
    relays.iter().for_each(|relay| relay.set(Mode::Hold));
    let mut is_caught = false;
    for _ in 0..ATTEMPTS {
        if count(&mut connection, UNDELIVERED).await? > 0 {
            is_caught = frozen_with(process, &mut connection, UNDELIVERED).await?;
            if is_caught {
                sleep(time).await;
            }
            process.signal("CONT").await?;
        }
        if is_caught {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    relays.iter().for_each(|relay| relay.set(Mode::Pass));
    Ok(is_caught)
}

/// Freezes it; whether the query counts anything then.
async fn frozen_with(process: &Process, connection: &mut PgConnection, query: &'static str) -> anyhow::Result<bool> {
    process.signal("STOP").await?;
    sleep(SETTLED_AFTER).await;
    Ok(count(connection, query).await? > 0)
}

async fn count(connection: &mut PgConnection, query: &'static str) -> anyhow::Result<i64> {
    Ok(sqlx::query(query).fetch_one(connection).await?.get(0))
}
