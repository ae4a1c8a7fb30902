//! The checker itself: a clean run is clean, and each broken promise is found for what it is.

use std::collections::HashMap;

use super::*;
use crate::content;

/// Two clients who share one conversation; the first one writes, the second one reads.
struct Story {
    facts: Facts,
    writer: Vec<Line>,
    reader: Vec<Line>,
    admin: Vec<Line>,
    is_restrained: bool,
}

const CONVERSATION: Uuid = Uuid::from_u128(1);
const WRITER: Uuid = Uuid::from_u128(2);
const READER: Uuid = Uuid::from_u128(3);
const JOINED: i64 = 1;

fn stored(n: u64) -> Stored {
    let (seq, written) = (n as i64, content::read(&content::write(0, n, 0)));
    let (position, created_at) = (JOINED + seq, seq);
    let id = Uuid::from_u128(u128::from(100 + n));
    Stored { conversation: CONVERSATION, position, seq, id, sender: WRITER, created_at, written }
}

fn event(n: u64) -> Line {
    let Stored { conversation, position, seq, id, .. } = stored(n);
    Line::Event { position, conversation, id, seq, sender: 0, n }
}

fn send(n: u64) -> Line {
    Line::Send { n, attempt: 1, connection: 1 }
}

fn ack(n: u64) -> Line {
    Line::Ack { n, id: stored(n).id, seq: stored(n).seq, connection: 1 }
}

/// Three messages, sent, acknowledged and delivered as it should be.
fn clean() -> Story {
    let stay = vec![(JOINED, i64::MAX)];
    let stays = HashMap::from([((CONVERSATION, WRITER), stay.clone()), ((CONVERSATION, READER), stay)]);
    let facts = Facts { messages: (1..=3).map(stored).collect(), stays, forbidden: Vec::new() };
    let mut writer: Vec<Line> = (1..=3).flat_map(|n| [send(n), ack(n)]).collect();
    writer.extend((1..=3).map(event));
    Story { facts, writer, reader: (1..=3).map(event).collect(), admin: Vec::new(), is_restrained: false }
}

/// Which promises are broken in a story.
fn judge(story: Story) -> anyhow::Result<Vec<Breach>> {
    let folder = tempfile::tempdir()?;
    let mut admin = Log::create(folder.path(), 2)?;
    story.admin.iter().try_for_each(|line| admin.write(line))?;
    for (client, lines) in [story.writer, story.reader].iter().enumerate() {
        let mut log = Log::create(folder.path(), client)?;
        lines.iter().try_for_each(|line| log.write(line))?;
    }
    let witness = |client, user| Witness { client, user, is_restrained: story.is_restrained };
    let witnesses = [witness(0, WRITER), witness(1, READER)];
    let verdict = Check::new(&story.facts, 0).run(folder.path(), &witnesses, 2)?;
    Ok(verdict.breaches.into_keys().collect())
}

fn judge_changed(change: impl FnOnce(&mut Story)) -> Vec<Breach> {
    let mut story = clean();
    change(&mut story);
    judge(story).expect("the logs can be read")
}

#[test]
fn a_clean_run_is_clean() {
    assert_eq!(judge_changed(|_| {}), []);
}

#[test]
fn what_is_lost() {
    assert_eq!(judge_changed(|story| _ = story.reader.remove(1)), [Breach::Lost], "not delivered");
    let not_stored = |story: &mut Story| {
        story.facts.messages.pop();
        story.writer.pop();
        story.reader.pop();
    };
    assert_eq!(judge_changed(not_stored), [Breach::Lost], "acknowledged, not stored");
}

#[test]
fn what_is_doubled() {
    let delivered = judge_changed(|story| story.reader.push(event(3)));
    assert_eq!(delivered, [Breach::Duplicated, Breach::Reordered]);
    let stored_again = |story: &mut Story| {
        let again = Stored { position: 9, seq: 4, id: Uuid::from_u128(999), ..stored(3) };
        story.facts.messages.push(again.clone());
        for log in [&mut story.writer, &mut story.reader] {
            let (position, id, seq) = (again.position, again.id, again.seq);
            log.push(Line::Event { position, conversation: CONVERSATION, id, seq, sender: 0, n: 3 });
        }
        story.writer[5] = Line::Ack { n: 3, id: again.id, seq: again.seq, connection: 1 };
    };
    assert_eq!(judge_changed(stored_again), [Breach::Duplicated]);
}

#[test]
fn what_is_out_of_order() {
    assert_eq!(judge_changed(|story| story.reader.swap(0, 1)), [Breach::Reordered], "delivered");
    let sent_first = vec![send(2), ack(2), send(1), ack(1), send(3), ack(3), event(1), event(2), event(3)];
    // The writer's second message was acknowledged before its first was sent, and stands behind it.
    assert_eq!(judge_changed(|story| story.writer = sent_first), [Breach::Reordered], "stored");
    let passed = vec![send(1), send(2), send(3), ack(3), ack(2), ack(1), event(1), event(2), event(3)];
    assert_eq!(judge_changed(|story| story.writer = passed), [], "answers may come in any order");
    assert_eq!(
        judge_changed(|story| story.facts.messages[1].seq = 7),
        [Breach::Lost, Breach::Reordered, Breach::Phantom]
    );
}

#[test]
fn what_nobody_wrote() {
    assert_eq!(judge_changed(|story| story.facts.messages[0].written = None).last(), Some(&Breach::Phantom));
    assert_eq!(judge_changed(|story| _ = story.writer.drain(..2)), [Breach::Phantom], "stored, never sent");
    let other_number = |story: &mut Story| {
        let Stored { position, seq, id, .. } = stored(2);
        story.reader[1] = Line::Event { position, conversation: CONVERSATION, id, seq, sender: 0, n: 7 };
    };
    assert_eq!(judge_changed(other_number), [Breach::Phantom], "delivered with another content");
}

#[test]
fn what_is_wrong() {
    let refusal = || Line::Refused { n: 1, code: "NOT_FOUND".to_owned() };
    let refused = |story: &mut Story| story.writer[1] = refusal();
    assert_eq!(judge_changed(refused), [Breach::Wrong], "refused, and stored all the same");
    let repeat_refused = |story: &mut Story| {
        story.writer.splice(1..2, [Line::Send { n: 1, attempt: 2, connection: 2 }, refusal()]);
    };
    assert_eq!(judge_changed(repeat_refused), [], "the first attempt may be stored");
    let told = |story: &mut Story| story.reader.push(Line::Wrong { what: "an answer to nothing".to_owned() });
    assert_eq!(judge_changed(told), [Breach::Wrong], "as the client says");
}

#[test]
fn what_is_not_allowed() {
    let removed_before = |story: &mut Story| {
        story.facts.stays.insert((CONVERSATION, READER), vec![(JOINED, stored(3).position - 1)]);
    };
    assert_eq!(judge_changed(removed_before), [Breach::Unauthorised], "delivered after the removal");
    let forbidden = |story: &mut Story| story.facts.forbidden.push(stored(1).id);
    assert_eq!(judge_changed(forbidden), [Breach::Unauthorised], "stored against the rights at its place");
    let answered = |story: &mut Story| {
        story.is_restrained = true;
        story.admin =
            vec![Line::Ask { change: Change::Remove, client: 0 }, Line::Done { change: Change::Remove, client: 0 }];
    };
    assert_eq!(judge_changed(answered), [Breach::Unauthorised], "accepted after the answered change");
}
