//! What users are promised, over the public wire, against real processes. Each scenario is written once and runs on
//! every shape of deployment and both transports.

mod ages;
mod audit;
mod chat;
mod cluster;
mod contract;
mod database;
mod depth;
mod encryption;
mod endings;
mod faults;
mod foreign;
mod groups;
mod identity;
mod operations;
mod other_systems;
mod privacy;
mod reading;
mod recovery;
mod resume;
mod sessions;
mod startup;
mod storm;
mod traces;

use messenger_testkit::{Cluster, Event, Shape, TestClient, User, Wire};

/// Makes a test of a scenario for each shape and transport.
macro_rules! on_every_shape {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use messenger_testkit::{Shape, Wire};
            crate::on_every_shape!(@test $scenario, sqlite_socket_io, Shape::StandaloneSqlite, Wire::SocketIo);
            crate::on_every_shape!(@test $scenario, sqlite_plain, Shape::StandaloneSqlite, Wire::Plain);
            crate::on_every_shape!(@test $scenario, postgres_socket_io, Shape::StandalonePostgres, Wire::SocketIo);
            crate::on_every_shape!(@test $scenario, postgres_plain, Shape::StandalonePostgres, Wire::Plain);
            crate::on_every_shape!(@test $scenario, split_socket_io, Shape::SplitPostgres, Wire::SocketIo);
            crate::on_every_shape!(@test $scenario, split_plain, Shape::SplitPostgres, Wire::Plain);
        }
    )+ };
    (@test $scenario:ident, $name:ident, $shape:expr, $wire:expr) => {
        #[tokio::test]
        async fn $name() -> anyhow::Result<()> {
            super::$scenario(crate::World::start($shape, $wire).await?).await
        }
    };
}
pub(crate) use on_every_shape;

/// Makes tests of a scenario that starts its own cluster: on one process and on four, by a transport each.
macro_rules! on_every_wire {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use messenger_testkit::{Shape, Wire};
            #[tokio::test]
            async fn sqlite_plain() -> anyhow::Result<()> {
                super::$scenario(Shape::StandaloneSqlite, Wire::Plain).await
            }
            #[tokio::test]
            async fn split_socket_io() -> anyhow::Result<()> {
                super::$scenario(Shape::SplitPostgres, Wire::SocketIo).await
            }
        }
    )+ };
}
pub(crate) use on_every_wire;

/// A running messenger and the transport a scenario uses.
pub struct World {
    cluster: Cluster,
    wire: Wire,
}

impl World {
    async fn start(shape: Shape, wire: Wire) -> anyhow::Result<Self> {
        Ok(Self { cluster: Cluster::start(shape).await?, wire })
    }

    async fn register<const N: usize>(&self, names: [&str; N]) -> anyhow::Result<[User; N]> {
        let mut users = Vec::with_capacity(N);
        for name in names {
            users.push(self.cluster.api().register(name).await?);
        }
        Ok(users.try_into().expect("as many users as names"))
    }

    async fn connect(&self, user: &User) -> anyhow::Result<TestClient> {
        TestClient::connect(self.cluster.edge(), self.wire, user).await
    }
}

/// The content of the next event, which must be a `new_message`.
async fn next_content(client: &mut TestClient) -> anyhow::Result<String> {
    Ok(client.expect("new_message").await?["content"].as_str().unwrap_or_default().to_owned())
}

/// The next event that is about a message; those that tell of a new conversation come before it.
async fn next_about_message(client: &mut TestClient) -> anyhow::Result<Event> {
    loop {
        let event = client.next().await?;
        if event.name != "conversation_created" {
            return Ok(event);
        }
    }
}
