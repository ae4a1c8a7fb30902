//! A gateway: its hub, and the stream of the feed that is behind it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt as _, StreamExt as _};
use messenger_message::{
    feed::{Asks, Follower},
    streams::{Answers, ask, followed},
};
use messenger_proto::message::v1::{FollowRequest, FollowResponse};

use super::{random::Random, service::Service};
use crate::session::{feed, hub::Hub};

pub(super) struct Gateway {
    pub(super) hub: Arc<Hub>,
    stream: Option<Stream>,
}

struct Stream {
    service: usize,
    /// The end at the message process; none when it is gone.
    source: Option<(Asks, Answers<FollowResponse>)>,
    /// On their way.
    up: VecDeque<FollowRequest>,
    down: VecDeque<FollowResponse>,
    is_welcomed: bool,
}

impl Gateway {
    pub(super) fn start() -> Self {
        // The bound is of all frames of the process, and here that is of all worlds.
        Self { hub: Arc::new(Hub::new(usize::MAX)), stream: None }
    }

    /// One thing that happens to it.
    pub(super) fn step(&mut self, services: &[Service], random: &mut Random) {
        if self.stream.is_none() {
            let service = random.below(services.len());
            return self.open(service, &services[service]);
        }
        let first = random.below(4);
        (0..4).any(|next| self.act(first + next));
    }

    /// Everything that can happen does.
    pub(super) fn settle(&mut self, services: &[Service], random: &mut Random) {
        if self.stream.is_none() {
            self.step(services, random);
        }
        while (0..4).any(|action| self.act(action)) {}
    }

    fn act(&mut self, action: usize) -> bool {
        match action % 4 {
            0 => self.pull(),
            1 => self.hear(),
            2 => self.tell(),
            _ => self.ask(),
        }
    }

    /// The stream breaks, with everything on its way.
    pub(super) fn disconnect(&mut self) {
        self.stream = None;
        self.hub.interrupt();
    }

    /// The message process is gone; what it sent may still arrive.
    pub(super) fn lose(&mut self, service: usize) {
        self.pull();
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.service == service) {
            stream.source = None;
        }
    }

    fn open(&mut self, number: usize, service: &Service) {
        let follower = service.feed.follow().now_or_never().expect("there is room for commands");
        let Ok(Follower { asks, events }) = follower else { return };
        let source = Some((asks, followed(events, service.feed.journal())));
        let (up, down) = (VecDeque::new(), VecDeque::new());
        self.stream = Some(Stream { service: number, source, up, down, is_welcomed: false });
    }

    fn pull(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some((_, answers)) = &mut stream.source else { return false };
        match answers.next().now_or_never() {
            Some(Some(Ok(answer))) => stream.down.push_back(answer),
            Some(_) => stream.source = None,
            None => return false,
        }
        true
    }

    fn hear(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.down.pop_front() {
            Some(event) if stream.is_welcomed => feed::hear(&self.hub, event).expect("it can be read"),
            Some(event) => {
                stream.is_welcomed = true;
                feed::welcome(&self.hub, event).expect("it can be read");
            }
            None if stream.source.is_none() => self.disconnect(),
            None => return false,
        }
        true
    }

    fn tell(&mut self) -> bool {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_welcomed) else { return false };
        let has_changed = self.hub.interest_changed().now_or_never().is_some();
        if has_changed {
            stream.up.extend(feed::requests(&self.hub.take_interest()));
        }
        has_changed
    }

    fn ask(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some((asks, _)) = &stream.source else { return false };
        let Some(request) = stream.up.pop_front() else { return false };
        // Fails when the process is gone.
        let _ = ask(asks, request).now_or_never().expect("there is room for commands");
        true
    }
}
