//! What the pure parts of a message's way cost by themselves: `cargo bench -p messenger-bench`.

use divan::{Bencher, black_box, counter::ItemsCount};
use messenger_core::{Clock as _, Content, ConversationType, Id, Position, Role, SystemClock};
use messenger_gateway::{
    session::{Frame, Outbound, WireFormat},
    wire::Packet,
};
use messenger_message::{
    model::{Draft, ResolvedDraft},
    sequence::{DraftFacts, Numbering, number_drafts},
};

const SENT: &str = r#"2417["send_message",{"receiverId":"0190b6a4-7c1e-7c3a-9d52-6f0c9a3f1b11","content":"Shall we meet at eight, in front of the theatre? I have the tickets.","clientMessageId":"c-000417"}]"#;
const BODY: &[u8] = br#"{"id":"0190b6a4-7c1e-7c3a-9d52-6f0c9a3f1b11","conversationId":"0190b6a4-7c1e-7c3a-9d52-6f0c9a3f1b12","seq":417,"senderId":"0190b6a4-7c1e-7c3a-9d52-6f0c9a3f1b13","content":"Shall we meet at eight, in front of the theatre? I have the tickets.","createdAt":"2026-11-25T20:00:00.000Z"}"#;
const CURSOR: &str = "AZC2pHwefDqdUm8Mmj8bEQAAAAAAAAGh";
const CONNECTIONS: usize = 1_000;
const CONVERSATIONS: usize = 100;

fn main() {
    divan::main();
}

/// Reading what a client sent.
#[divan::bench]
fn decode_packet() {
    drop(black_box(Packet::decode(black_box(SENT))));
}

/// Framing an event, once for all receivers of a wire.
#[divan::bench(args = WireFormat::ALL)]
fn encode_frame(wire: WireFormat) -> Frame {
    Frame::event(wire, "new_message", black_box(BODY), Some(CURSOR))
}

/// One frame into the queue of each connection of a group, and out again.
#[divan::bench]
fn fan_out(bencher: Bencher) {
    let queues: Vec<Outbound> = (0..CONNECTIONS).map(|_| Outbound::default()).collect();
    let frame = Frame::event(WireFormat::SocketIo, "new_message", BODY, Some(CURSOR));
    bencher.counter(ItemsCount::new(CONNECTIONS)).bench_local(|| {
        for queue in &queues {
            queue.push(frame.clone());
        }
        for queue in &queues {
            drop(black_box(queue.take(1)));
        }
    });
}

/// Deciding and numbering a batch under the journal's lock.
#[divan::bench(args = [1, 10, 100, 500])]
fn number_batch(bencher: Bencher, size: usize) {
    let drafts = drafts(size);
    let facts: Vec<DraftFacts> = drafts.iter().map(|_| facts()).collect();
    bencher.counter(ItemsCount::new(size)).with_inputs(|| facts.clone()).bench_local_values(|facts| {
        let mut numbering = Numbering { position: Position(0), created_at: SystemClock.now() };
        number_drafts(black_box(&drafts), facts, &mut numbering)
    });
}

fn facts() -> DraftFacts {
    DraftFacts {
        conversation: Some((ConversationType::P2p, false, 41)),
        role: Some(Role::Member),
        ..DraftFacts::default()
    }
}

fn drafts(count: usize) -> Vec<ResolvedDraft> {
    let talks: Vec<_> = (0..CONVERSATIONS).map(|_| (Id::new(SystemClock.now()), Id::new(SystemClock.now()))).collect();
    let draft = |n: usize| {
        let (conversation_id, sender_id) = talks[n % CONVERSATIONS];
        let draft = Draft {
            sender_id,
            message_id: Id::new(SystemClock.now()),
            content: Content::new("Shall we meet at eight, in front of the theatre?").expect("a valid text"),
            client_message_id: None,
            reply_to_id: None,
            metadata: None,
            resent: false,
            origin: 1,
            trace: messenger_rpc::TraceParent::default(),
        };
        ResolvedDraft { conversation_id, group_only: false, draft }
    };
    (0..count).map(draft).collect()
}
