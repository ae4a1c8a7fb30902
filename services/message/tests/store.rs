//! What every store of the journal keeps to, run on SQLite and on PostgreSQL.

#[path = "store/append.rs"]
mod append;
#[path = "store/changes.rs"]
mod changes;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/idempotency.rs"]
mod idempotency;
#[path = "store/reading.rs"]
mod reading;
#[path = "store/replay.rs"]
mod replay;
#[path = "store/support.rs"]
mod support;
#[path = "store/writers.rs"]
mod writers;

macro_rules! contract {
    ($($module:ident::$test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::support::on_sqlite(crate::$module::$test).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crate::support::on_postgres(crate::$module::$test).await;
            })*
        }
    };
}

contract!(
    append::numbers_have_no_gaps,
    append::creation_times_never_fall,
    append::all_kinds_of_text_come_back,
    append::answers_stay_in_their_conversation,
    append::large_batches,
    append::nothing_stored_takes_no_position,
    changes::versions_repeat_and_gap,
    changes::rights_follow_changes_of_the_same_batch,
    changes::a_p2p_conversation_is_found_by_its_users,
    changes::one_pair_has_one_conversation,
    idempotency::a_repeat_gets_the_first_answer,
    idempotency::a_key_is_for_one_draft,
    idempotency::a_removed_sender_may_repeat,
    idempotency::a_resent_draft_needs_no_key,
    idempotency::keys_belong_to_their_senders,
    reading::history_is_complete_in_every_direction,
    reading::history_from_a_time,
    reading::outsiders_and_removed_read_nothing,
    reading::unread_counts,
    reading::conversations_by_last_activity,
    reading::states_and_read_positions,
    replay::gives_what_would_have_come_live,
    replay::row_83_removed_and_added_without_end,
    replay::follow_and_journal_are_one_snapshot,
    faults::a_refused_row_leaves_its_neighbours,
    faults::a_taken_message_id_is_a_repeat,
    writers::rights_hold_between_two_writers,
    writers::numbers_hold_between_two_writers,
    writers::a_refused_draft_stays_refused_wherever_it_comes_late,
    writers::a_refused_draft_stays_refused_where_it_was,
    writers::refusals_are_kept_for_an_hour,
);

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_append_sees_what_it_waited_for() {
    support::on_postgres(writers::a_waiting_append_sees_what_it_waited_for).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_alone_needs_no_transaction_block() {
    support::on_postgres(writers::who_writes_alone_needs_no_transaction_block).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_79_a_killed_session_is_unavailable_once() {
    support::on_postgres(faults::a_killed_session_is_unavailable_once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_writer_does_not_stop_the_others() {
    support::on_postgres(faults::a_frozen_writer_does_not_stop_the_others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_79_a_session_killed_under_the_lock_stores_nothing() {
    support::on_postgres(faults::a_session_killed_under_the_lock_stores_nothing).await;
}
