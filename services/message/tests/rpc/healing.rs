//! What the bus loses is read from the journal. Each test leaves one way to notice the loss, and prints how long it took.
//!
//! `HEALINGS=20 cargo nextest run -p messenger-message healing --no-capture` has them repeat it.

use std::{env, time::Duration};

use messenger_core::UserId;
use messenger_message::BusLocation;
use messenger_proto::message::v1::follow_response::Event;
use messenger_testkit::Link;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Group, Listener, PATIENCE, Process, World, new_id, variable};

/// Three processes of one journal, and who listens to the first. The head is hidden at first.
struct Scene {
    world: World,
    /// Between the first and the bus.
    link: Link,
    _follower: Process,
    /// Publishes on the bus.
    heard: Process,
    /// Publishes to nobody: what it appends is lost on its way.
    unheard: Process,
    listener: Listener,
    ann: UserId,
    group: Group,
}

#[derive(Clone, Copy)]
enum Bus {
    Redis,
    Postgres,
}

impl Scene {
    async fn new(bus: Bus) -> Self {
        let world = World::postgres().await;
        let (link, near, far) = match bus {
            Bus::Redis => {
                let url = variable("MESSENGER_TEST_REDIS_URL");
                let (link, through) = Link::to_url(&url).await;
                (link, BusLocation::Redis(through), BusLocation::Redis(url))
            }
            Bus::Postgres => {
                let (link, through) = Link::to_url(&world.database_url()).await;
                (link, BusLocation::Postgres(through), BusLocation::Postgres(world.database_url()))
            }
        };
        let mut follower = world.process_on(near).await;
        let mut heard = world.process_on(far).await;
        let unheard = world.process_on(BusLocation::Local).await;
        let ann = new_id();
        let group = Group::create(&mut heard.client, &[ann]).await;
        let listener = Listener::of(&mut follower.client, &[ann]).await;
        let mut scene = Self { world, link, _follower: follower, heard, unheard, listener, ann, group };
        scene.hide_the_head().await;
        // Only a subscription brings it.
        scene.group.send(&mut scene.heard.client, ann, "first").await;
        scene.expect("first").await;
        scene.expect_nothing().await;
        scene
    }

    /// The head of the journal can be read no more; its entries can.
    async fn hide_the_head(&self) {
        self.change("ALTER TABLE message.journal RENAME COLUMN identity TO hidden").await;
    }

    async fn show_the_head(&self) {
        self.change("ALTER TABLE message.journal RENAME COLUMN hidden TO identity").await;
    }

    async fn change(&self, table: &'static str) {
        let mut session = PgConnection::connect(&self.world.database_url()).await.expect("connects");
        sqlx::query(table).execute(&mut session).await.expect("changed");
        session.close().await.expect("closed");
    }

    /// Appended, and nobody is told.
    async fn lose(&mut self) {
        self.group.send(&mut self.unheard.client, self.ann, "lost").await;
    }

    async fn expect(&mut self, content: &str) {
        let message = timeout(PATIENCE, self.listener.message()).await.expect("it is noticed");
        assert_eq!(message.content, content);
    }

    /// It is not noticed by itself, not in two ticks.
    async fn expect_nothing(&mut self) {
        let mut heartbeats = 0;
        while heartbeats < 2 {
            match self.listener.event().await {
                Event::Heartbeat(_) => heartbeats += 1,
                event => panic!("something else noticed it: {event:?}"),
            }
        }
    }
}

/// Prints how long healing took, as often as it is to be repeated: each time from another moment between two ticks on.
async fn measure(what: &str, scene: &mut Scene, heal: impl AsyncFn(&mut Scene) -> Duration) {
    let repeats = env::var("HEALINGS").map_or(1, |repeats| repeats.parse().expect("a number"));
    let mut took = Vec::with_capacity(repeats as usize);
    for n in 0..repeats {
        sleep(Duration::from_millis(37 * n % 500)).await;
        took.push(heal(scene).await);
    }
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2].as_secs_f64(), took[took.len() - 1].as_secs_f64());
    println!("{what:<54}{repeats:>4} times, median {median:.3} s, longest {longest:.3} s");
}

/// By the publication after it.
async fn gap(bus: Bus, name: &str) {
    let mut scene = Scene::new(bus).await;
    let heal = async |scene: &mut Scene| {
        scene.lose().await;
        scene.expect_nothing().await;
        let began = Instant::now();
        scene.group.send(&mut scene.heard.client, scene.ann, "heard").await;
        scene.expect("lost").await;
        scene.expect("heard").await;
        began.elapsed()
    };
    measure(&format!("a gap, {name}"), &mut scene, heal).await;
    scene.world.end().await;
}

/// By the subscription's return.
async fn reconnect(bus: Bus, name: &str) {
    let mut scene = Scene::new(bus).await;
    let heal = async |scene: &mut Scene| {
        scene.link.cut();
        scene.lose().await;
        scene.expect_nothing().await;
        let began = Instant::now();
        scene.link.mend();
        scene.expect("lost").await;
        began.elapsed()
    };
    measure(&format!("a reconnect, from its return, {name}"), &mut scene, heal).await;
    scene.world.end().await;
}

/// By the head: nothing is published after it.
async fn behind_the_head(bus: Bus, name: &str) {
    let mut scene = Scene::new(bus).await;
    scene.show_the_head().await;
    let heal = async |scene: &mut Scene| {
        let began = Instant::now();
        scene.lose().await;
        scene.expect("lost").await;
        began.elapsed()
    };
    measure(&format!("a position behind the head, {name}"), &mut scene, heal).await;
    scene.world.end().await;
}

/// By the head: nothing published arrives.
async fn without_the_bus(bus: Bus, name: &str) {
    let mut scene = Scene::new(bus).await;
    scene.show_the_head().await;
    scene.link.cut();
    let heal = async |scene: &mut Scene| {
        let began = Instant::now();
        scene.group.send(&mut scene.heard.client, scene.ann, "not heard").await;
        scene.expect("not heard").await;
        began.elapsed()
    };
    measure(&format!("a bus that never returns, {name}"), &mut scene, heal).await;
    scene.world.end().await;
}

macro_rules! over_both {
    ($($way:ident),+ $(,)?) => { $(
        mod $way {
            #[tokio::test(flavor = "multi_thread")]
            async fn over_redis() {
                super::$way(super::Bus::Redis, "Redis").await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn over_postgres() {
                super::$way(super::Bus::Postgres, "PostgreSQL").await;
            }
        }
    )+ };
}

over_both!(gap, reconnect, behind_the_head, without_the_bus);
