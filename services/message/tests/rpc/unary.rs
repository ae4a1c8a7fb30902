//! Calls with one answer.

use messenger_core::{ErrorKind, UserId};
use messenger_proto::message::v1::{
    BatchGetConversationStatesRequest, Draft, FollowRequest, GetMessageRequest, ListConversationsRequest,
    ListMessagesRequest, ListReadPositionsRequest, MarkReadRequest, SendMessageRequest, list_messages_request::From,
    mark_read_request::UpTo,
};
use messenger_rpc::{from_status, request_as};
use tonic::{Request, Status};

use crate::support::{Group, World, new_id};

fn kind<T>(answer: Result<T, Status>) -> ErrorKind {
    from_status(&answer.err().expect("refused")).kind()
}

pub async fn sends_and_reads(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, bob): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann, bob]).await;
    let draft = Draft { client_message_id: Some("one".to_owned()), ..group.draft(" héllo \u{202e}") };
    let request = || request_as(ann, SendMessageRequest { draft: Some(draft.clone()) });
    let first = client.send_message(request()).await.expect("sent").into_inner();
    let again = client.send_message(request()).await.expect("sent").into_inner();
    assert!(!first.repeated && again.repeated && first.message == again.message);
    let message = first.message.expect("a message");
    assert_eq!((message.seq, message.content.as_str()), (1, " héllo \u{202e}"));

    let conversation_id = group.id.to_string();
    let get = GetMessageRequest { conversation_id: conversation_id.clone(), message_id: message.id.clone() };
    let found = client.get_message(request_as(bob, get)).await.expect("found").into_inner();
    assert_eq!(found.message, Some(message.clone()));
    let second = group.send(client, bob, "two").await;
    let from = Some(From::BeforeMessageId(second.id.clone()));
    let list = ListMessagesRequest { conversation_id: conversation_id.clone(), page_size: 1, from };
    let page = client.list_messages(request_as(bob, list)).await.expect("a page").into_inner();
    assert_eq!((page.messages, page.has_more), (vec![message], false));

    let up_to = Some(UpTo::MessageId(second.id.clone()));
    let mark = MarkReadRequest { conversation_id: conversation_id.clone(), up_to, origin: 0 };
    client.mark_read(request_as(ann, mark)).await.expect("marked");
    let users = vec![ann.to_string(), bob.to_string()];
    let list = ListReadPositionsRequest { conversation_id: conversation_id.clone(), user_ids: users };
    let read = client.list_read_positions(request_as(bob, list)).await.expect("read").into_inner();
    assert!(read.read_positions.len() == 2 && read.read_positions.iter().all(|read| read.last_read_seq == 2));

    let other = Group::create(client, &[ann]).await;
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = ListConversationsRequest { page_size: 1, page_token };
        let page = client.list_conversations(request_as(ann, list)).await.expect("a page").into_inner();
        ids.extend(page.conversations.into_iter().map(|state| state.conversation_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, [other.id.to_string(), conversation_id.clone()]);
    let get = BatchGetConversationStatesRequest { conversation_ids: ids };
    let states = client.batch_get_conversation_states(request_as(bob, get)).await.expect("states").into_inner();
    assert_eq!(states.conversations.len(), 1, "only where it takes part");
    assert_eq!(states.conversations[0].last_message, Some(second));
}

pub async fn strangers_learn_nothing(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    let (ann, eve): (UserId, UserId) = (new_id(), new_id());
    let group = Group::create(client, &[ann]).await;
    let message = group.send(client, ann, "secret").await;
    let conversation_id = group.id.to_string();
    let send = SendMessageRequest { draft: Some(group.draft("x")) };
    assert_eq!(kind(client.send_message(request_as(eve, send)).await), ErrorKind::NotFound);
    let get = GetMessageRequest { conversation_id: conversation_id.clone(), message_id: message.id };
    assert_eq!(kind(client.get_message(request_as(eve, get)).await), ErrorKind::NotFound);
    let list = ListMessagesRequest { conversation_id: conversation_id.clone(), ..ListMessagesRequest::default() };
    assert_eq!(kind(client.list_messages(request_as(eve, list)).await), ErrorKind::NotFound);
    let mark = MarkReadRequest { conversation_id, up_to: Some(UpTo::Seq(1)), origin: 0 };
    assert_eq!(kind(client.mark_read(request_as(eve, mark)).await), ErrorKind::NotFound);
    // Without a conversation service nobody can be written to for the first time.
    let target = Some(messenger_proto::message::v1::draft::Target::ReceiverId(ann.to_string()));
    let send = SendMessageRequest { draft: Some(Draft { target, ..group.draft("x") }) };
    assert_eq!(kind(client.send_message(request_as(eve, send)).await), ErrorKind::Unavailable);
}

pub async fn only_services(world: &World) {
    let mut process = world.process().await;
    let client = &mut process.client;
    // A service that names no user.
    let list = Request::new(ListConversationsRequest::default());
    assert_eq!(kind(client.list_conversations(list).await), ErrorKind::Unauthenticated);
    let list = ListConversationsRequest { page_size: 101, page_token: String::new() };
    assert_eq!(kind(client.list_conversations(request_as(new_id(), list)).await), ErrorKind::ValidationFailed);
    let list = ListConversationsRequest { page_size: 0, page_token: "bm9uc2Vuc2U".to_owned() };
    assert_eq!(kind(client.list_conversations(request_as(new_id(), list)).await), ErrorKind::ValidationFailed);
    // Whoever has no credential at all.
    if let Some(url) = &process.url {
        let channel = tonic::transport::Endpoint::from_shared(url.clone()).expect("a URL").connect().await;
        let mut nobody =
            messenger_proto::message::v1::message_service_client::MessageServiceClient::new(channel.expect("connects"));
        let list = ListConversationsRequest::default();
        assert_eq!(kind(nobody.list_conversations(list).await), ErrorKind::Unauthenticated);
        let asked = tokio_stream::iter(Vec::<FollowRequest>::new());
        assert_eq!(kind(nobody.follow(asked).await), ErrorKind::Unauthenticated);
    }
}
