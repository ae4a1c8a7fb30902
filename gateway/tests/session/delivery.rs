//! Who hears what, under which name, and in which order.

use serde_json::json;

use crate::{client::content, world::World};

#[tokio::test]
async fn a_p2p_message_has_one_form_for_each_of_its_connections() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.register().await, world.register().await, world.register().await);
    let (mut sender, mut other) = (world.connect(&alice).await, world.connect(&alice).await);
    let (mut receiver, mut third) = (world.connect(&bob).await, world.connect(&carol).await);

    let send = json!({"receiverId": bob.id, "content": "hello", "clientMessageId": "k1"});
    let ack = sender.ask("send_message", &send).await;
    let sent = sender.event("message_sent").await;
    assert_eq!((&ack["data"], &sent["data"]["clientMessageId"]), (&sent["data"], &json!("k1")));
    assert!(sent["cursor"].is_string() && ack["cursor"].is_null(), "the entry has the cursor: {sent} {ack}");
    for connection in [&mut other, &mut receiver] {
        let message = connection.event("new_message").await;
        assert_eq!((&message["data"], &message["cursor"]), (&sent["data"], &sent["cursor"]));
    }
    assert!(third.so_far().await.is_empty());

    let again = sender.ask("send_message", &send).await;
    assert_eq!(again["data"]["id"], ack["data"]["id"], "a repeat gets the first answer");
    let repeated = sender.event("message_sent").await;
    assert!(repeated["cursor"].is_null() && repeated["data"] == ack["data"], "{repeated}");
    receiver.emit("send_message", &json!({"receiverId": alice.id, "content": "marker"}));
    assert_eq!(content(&sender.event("new_message").await), "marker");
    assert_eq!(content(&receiver.event("message_sent").await), "marker");
}

#[tokio::test]
async fn a_group_message_is_new_for_everybody_and_the_reply_has_no_cursor() {
    let world = World::start().await;
    let (admin, member) = (world.register().await, world.register().await);
    let (mut sender, mut reader) = (world.connect(&admin).await, world.connect(&member).await);
    let group = world.create_group(&admin, &[&member], true).await;
    for connection in [&mut sender, &mut reader] {
        assert_eq!(connection.event("conversation_created").await["data"]["id"], group.as_str());
    }

    sender.emit("send_message", &json!({"groupId": group, "content": "rules"}));
    let first = sender.next().await;
    let second = sender.next().await;
    let (sent, new) = if first["event"] == "message_sent" { (first, second) } else { (second, first) };
    assert_eq!((&sent["event"], &new["event"]), (&json!("message_sent"), &json!("new_message")));
    assert!(sent["cursor"].is_null() && new["cursor"].is_string());
    assert_eq!(reader.event("new_message").await["data"], sent["data"]);

    let refused =
        reader.ask("send_message", &json!({"groupId": group, "content": "me too", "clientMessageId": "x"})).await;
    let expected = json!({
        "code": "FORBIDDEN", "message": "Only admins can post messages here",
        "event": "send_message", "clientMessageId": "x",
    });
    assert_eq!((&refused["event"], &refused["data"]), (&json!("error"), &expected));
    assert!(sender.so_far().await.is_empty());
}

#[tokio::test]
async fn three_hundred_in_a_row_come_back_in_order() {
    let world = World::start().await;
    let (alice, bob) = (world.register().await, world.register().await);
    let (mut sender, mut receiver) = (world.connect(&alice).await, world.connect(&bob).await);
    for number in 0..300 {
        sender.emit("send_message", &json!({"receiverId": bob.id, "content": number.to_string()}));
    }
    for number in 0..300 {
        let sent = sender.event("message_sent").await;
        assert_eq!((content(&sent), &sent["data"]["seq"]), (&*number.to_string(), &json!(number + 1)));
        assert_eq!(content(&receiver.event("new_message").await), number.to_string());
    }
}

#[tokio::test]
async fn the_added_hear_the_next_message_and_the_removed_none() {
    let world = World::start().await;
    let (admin, guest) = (world.register().await, world.register().await);
    let (mut sender, mut listener) = (world.connect(&admin).await, world.connect(&guest).await);
    let group = world.create_group(&admin, &[], false).await;
    sender.event("conversation_created").await;

    world.add(&admin, &group, &guest).await;
    let added = listener.next().await;
    assert_eq!((&added["event"], &added["data"]["conversationId"]), (&json!("participant_added"), &json!(group)));
    sender.emit("send_message", &json!({"conversationId": group, "content": "welcome"}));
    assert_eq!(content(&listener.next().await), "welcome");

    world.remove(&admin, &group, &guest).await;
    let removed = listener.next().await;
    assert_eq!((&removed["event"], &removed["data"]["userId"]), (&json!("participant_removed"), &json!(guest.id)));
    sender.ask("send_message", &json!({"conversationId": group, "content": "gone"})).await;
    sender.emit("send_message", &json!({"receiverId": guest.id, "content": "marker"}));
    assert_eq!(listener.next().await["event"], "conversation_created");
    assert_eq!(content(&listener.next().await), "marker");
    let refused = listener.ask("send_message", &json!({"conversationId": group, "content": "let me in"})).await;
    assert_eq!(refused["data"]["code"], "NOT_FOUND");
}
