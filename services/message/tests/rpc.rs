//! The message service over its public wire, in process and over TCP, on SQLite and on PostgreSQL.

#[path = "rpc/feed.rs"]
mod feed;
#[path = "rpc/healing.rs"]
mod healing;
#[path = "rpc/panics.rs"]
mod panics;
#[path = "rpc/pipe.rs"]
mod pipe;
#[path = "rpc/processes.rs"]
mod processes;
#[path = "rpc/readers.rs"]
mod readers;
#[path = "rpc/replay.rs"]
mod replay;
#[path = "rpc/support.rs"]
mod support;
#[path = "rpc/unary.rs"]
mod unary;
#[path = "rpc/users.rs"]
mod users;
#[path = "rpc/with_peers.rs"]
mod with_peers;

macro_rules! on_both {
    ($($module:ident::$test:ident),* $(,)?) => {
        /// In process, on SQLite.
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::sqlite();
                crate::$module::$test(&world).await;
                world.end().await;
            })*
        }
        /// Over TCP, on PostgreSQL.
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::postgres().await;
                crate::$module::$test(&world).await;
                world.end().await;
            })*
        }
    };
}

on_both!(
    feed::followers_hear_what_was_sent,
    feed::added_while_followed,
    feed::removed_while_followed,
    feed::users_come_and_go,
    feed::a_follower_that_does_not_read,
    feed::read_positions_are_signalled,
    feed::what_is_malformed_ends_the_follower,
    feed::the_end_is_told,
    pipe::resent_drafts_are_stored_once,
    pipe::refusals_are_answered_one_by_one,
    pipe::many_at_once,
    users::users_send_at_the_rate_of_the_edge,
    users::a_user_has_so_many_streams,
    users::row_76_a_subscription_nobody_reads,
    replay::pages,
    replay::too_much_in_one_conversation,
    replay::too_much_in_all,
    replay::foreign_cursors,
    replay::a_new_identity_ends_old_cursors,
    replay::subscribe_under_writes,
    replay::a_subscription_ends_with_its_session,
    unary::sends_and_reads,
    unary::strangers_learn_nothing,
    unary::only_services,
    with_peers::a_first_message_makes_the_conversation,
    with_peers::drafts_of_one_conversation_stay_in_order,
);

macro_rules! between_processes {
    ($($test:ident),* $(,)?) => {
        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::postgres().await;
                let bus = messenger_message::BusLocation::Redis(crate::support::variable("MESSENGER_TEST_REDIS_URL"));
                crate::processes::$test(&world, bus).await;
                world.end().await;
            })*
        }
        mod over_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::postgres().await;
                let bus = messenger_message::BusLocation::Postgres(world.database_url());
                crate::processes::$test(&world, bus).await;
                world.end().await;
            })*
        }
        /// Each process hears only itself: the rest has to come from the journal.
        mod without_a_bus {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let world = crate::support::World::postgres().await;
                crate::processes::$test(&world, messenger_message::BusLocation::Local).await;
                world.end().await;
            })*
        }
    };
}

between_processes!(
    one_order_under_concurrent_writers,
    rights_reach_the_other_process,
    clocks_that_differ_change_no_order,
    junk_on_the_bus_changes_nothing,
);
