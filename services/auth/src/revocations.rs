//! The numbered list of ended sessions, and everybody who follows it.

use std::{sync::Arc, time::Duration};

use messenger_core::{Clock, Result};
use messenger_identity::{Revocation, Verifier};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

const POLL_EVERY: Duration = Duration::from_millis(500);
/// Followers hear the head at least this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
const PURGE_EVERY: Duration = Duration::from_secs(60);
const PAGE_REVOCATIONS_MAX: i64 = 500;

/// Revocations in the order of their numbers, and how far the list went when they were read.
#[derive(Debug, Clone)]
pub struct Page {
    /// In order; empty in a heartbeat.
    pub revocations: Vec<Revocation>,
    /// Every number up to here has been sent.
    pub head_number: i64,
    /// The list goes on.
    pub has_more: bool,
}

/// Follows the list: at once what this process wrote, within half a second what others did.
pub struct Revocations {
    store: Store,
    clock: Arc<dyn Clock>,
    looks: Notify,
    head: watch::Sender<i64>,
}

impl Revocations {
    /// Nothing is followed before [`Self::follow`] runs.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, looks: Notify::new(), head: watch::Sender::new(0) }
    }

    /// There may be a new one.
    pub fn look(&self) {
        self.looks.notify_one();
    }

    /// Keeps the verifier and the head up to date, and the store free of what is over, until the shutdown.
    pub async fn follow(&self, verifier: &Verifier, shutdown: CancellationToken) {
        let mut polls = interval(POLL_EVERY);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut purges = interval(PURGE_EVERY);
        let mut is_failing = false;
        loop {
            let is_purge = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.looks.notified() => false,
                _ = polls.tick() => false,
                _ = purges.tick() => true,
            };
            let result = if is_purge { self.purge().await } else { self.catch_up(verifier).await.map(|()| false) };
            if let Ok(true) = result {
                // What else is due comes in between.
                purges.reset_immediately();
            }
            // Said once, not twice a second.
            if let Err(error) = &result
                && !is_failing
            {
                tracing::warn!(?error, "revocations cannot be read");
            }
            is_failing = result.is_err();
        }
    }

    /// The verifier knows the whole list afterwards, as it is now.
    ///
    /// # Errors
    /// UNAVAILABLE when the store is away.
    pub async fn catch_up(&self, verifier: &Verifier) -> Result<()> {
        let head = self.store.revocation_head().await?;
        let mut after = rewound(*self.head.borrow(), head);
        while after < head {
            let page = self.page(after, head).await?;
            for revocation in &page.revocations {
                verifier.revoke(*revocation);
            }
            after = page.head_number;
            self.head.send_replace(after);
        }
        verifier.set_caught_up();
        Ok(())
    }

    /// What lies above `after`, of a list whose head was seen at `head`.
    async fn page(&self, after: i64, head: i64) -> Result<Page> {
        let mut revocations = self.store.revocations(after, self.clock.now(), PAGE_REVOCATIONS_MAX).await?;
        revocations.retain(|revocation| revocation.number <= head);
        let is_full = i64::try_from(revocations.len()).is_ok_and(|length| length == PAGE_REVOCATIONS_MAX);
        let head_number = revocations.last().filter(|_| is_full).map_or(head, |last| last.number);
        Ok(Page { revocations, head_number, has_more: head_number < head })
    }

    /// Sends every revocation above `after` that may still matter, then each as it happens, and the head at least every
    /// 10 s, until the receiver leaves, the store fails or the shutdown.
    pub async fn watch(&self, mut after: i64, pages: mpsc::Sender<Result<Page>>, shutdown: CancellationToken) {
        let mut head = self.head.subscribe();
        loop {
            if let Err(error) = self.send_news(&mut after, &pages, &shutdown).await {
                // A receiver that left needs no answer.
                let _ = pages.try_send(Err(error));
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = pages.closed() => return,
                _ = timeout(HEARTBEAT_EVERY, head.changed()) => {}
            }
        }
    }

    /// At least one page, so that the receiver hears the head.
    async fn send_news(
        &self,
        after: &mut i64,
        pages: &mpsc::Sender<Result<Page>>,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let head = self.store.revocation_head().await?;
        *after = rewound(*after, head);
        loop {
            let page = self.page(*after, head).await?;
            *after = page.head_number;
            let is_sent = matches!(shutdown.run_until_cancelled(pages.send(Ok(page))).await, Some(Ok(())));
            if !is_sent || *after >= head {
                return Ok(());
            }
        }
    }

    async fn purge(&self) -> Result<bool> {
        self.store.purge(self.clock.now()).await
    }
}

/// A number from beyond the list, as after its store was restored, begins anew.
fn rewound(after: i64, head: i64) -> i64 {
    if after > head { 0 } else { after }
}
