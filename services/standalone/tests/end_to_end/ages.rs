//! Connections between services that end at their age: what flows over them goes on elsewhere.

use anyhow::ensure;
use messenger_testkit::{Bus, Cluster, Part, Settings, Shape, Size, TestClient, Wire};
use serde_json::json;

/// Feed and pipe of both gateways begin anew, each in the middle of a conversation.
#[tokio::test]
async fn no_message_is_lost_or_doubled_when_streams_move_on() -> anyhow::Result<()> {
    let environment = vec![("MESSENGER_GRPC_CONNECTION_AGE", "2s".to_owned())];
    let size = Size { message: 2, gateway: 2, ..Size::each(1) };
    let settings = Settings { environment, ..Settings::default() };
    let cluster = Cluster::start_with(Shape::Many(size, Bus::Postgres), settings).await?;
    let (ann, bob) = (cluster.api_at(0).register("ann").await?, cluster.api_at(1).register("bob").await?);
    let mut sender = TestClient::connect(cluster.edges()[0], Wire::SocketIo, &ann).await?;
    let mut receiver = TestClient::connect(cluster.edges()[1], Wire::Plain, &bob).await?;
    let feeds = |gateway| {
        let log = cluster.process(Part::Gateway.nth(gateway)).map(|process| process.log()).unwrap_or_default();
        log.matches("the feed is connected").count()
    };
    let mut sent = 0;
    while feeds(0).min(feeds(1)) < 2 {
        sent += 1;
        let content = format!("number {sent}");
        let answer = sender.request("send_message", json!({ "receiverId": bob.id, "content": content })).await?;
        ensure!(answer["content"] == content && answer["seq"] == sent, "{answer}");
        let heard = receiver.until("new_message").await?;
        ensure!(heard["content"] == content && heard["seq"] == sent, "{heard} instead of {content}");
    }
    Ok(())
}
