//! Everything together, and the one who decides what happens next.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    client::Client,
    gateway::Gateway,
    journal::{Journal, What, conversation, user},
    random::Random,
    service::Service,
};

const SERVICES: usize = 2;
const GATEWAYS: usize = 2;
const CLIENTS: usize = 6;
const USERS: usize = 4;
const GROUPS: usize = 2;
/// Rounds in which everything that can happen does, until nothing is left to do.
const ROUNDS_MAX: usize = 400;

pub(super) struct World {
    random: Random,
    is_told: bool,
    now: Instant,
    journal: Journal,
    services: Vec<Service>,
    gateways: Vec<Gateway>,
    clients: Vec<Client>,
    /// How bad this world is.
    lost_percent: usize,
    fault_percent: usize,
    /// Messages of the largest commit.
    burst: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Commit,
    Service(usize),
    Gateway(usize),
    Client(usize),
    CutStream(usize),
    KillService(usize),
    DrainService(usize),
    KillGateway(usize),
    RenewJournal,
}

impl World {
    pub(super) fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let mut journal = Journal::new();
        journal.append(vec![(conversation(0), What::Create(vec![user(0), user(1)]))], 0);
        let lost_percent = random.one_of(&[0, 3, 30]);
        let fault_percent = random.one_of(&[0, 2, 8]);
        let burst = if random.percent(5) { 700 } else { random.one_of(&[3, 60]) };
        Self {
            random,
            is_told,
            now: Instant::now(),
            services: (0..SERVICES).map(|_| Service::start(&journal)).collect(),
            journal,
            gateways: (0..GATEWAYS).map(|_| Gateway::start()).collect(),
            clients: (0..CLIENTS).map(|number| Client::new(number, is_told)).collect(),
            lost_percent,
            fault_percent,
            burst,
        }
    }

    pub(super) fn live(&mut self) {
        for _ in 0..200 + self.random.below(300) {
            let step = self.choose();
            if self.is_told {
                println!("{step:?}, the head is {}", self.journal.head);
            }
            self.step(step);
            self.now += Duration::from_millis(self.random.one_of(&[0, 1, 25]));
        }
    }

    fn choose(&mut self) -> Step {
        let random = &mut self.random;
        if random.percent(self.fault_percent) {
            return match random.below(12) {
                0..=3 => Step::CutStream(random.below(GATEWAYS)),
                4..=6 => Step::KillService(random.below(SERVICES)),
                7 | 8 => Step::DrainService(random.below(SERVICES)),
                9 => Step::KillGateway(random.below(GATEWAYS)),
                _ => Step::RenewJournal,
            };
        }
        match random.below(20) {
            0 | 1 => Step::Commit,
            2..=6 => Step::Service(random.below(SERVICES)),
            7..=11 => Step::Gateway(random.below(GATEWAYS)),
            _ => Step::Client(random.below(CLIENTS)),
        }
    }

    fn step(&mut self, step: Step) {
        let Self { random, journal, services, gateways, clients, .. } = self;
        match step {
            Step::Commit => self.commit(),
            Step::Service(number) => {
                if !services[number].step(journal, self.now, random) {
                    self.restart(number);
                }
            }
            Step::Gateway(number) => gateways[number].step(services, random),
            Step::Client(number) => clients[number].step(gateways, journal, random),
            Step::CutStream(number) => gateways[number].disconnect(),
            Step::KillService(number) => {
                gateways.iter_mut().for_each(|gateway| gateway.lose(number));
                services[number] = Service::start(journal);
            }
            Step::DrainService(number) => self.restart(number),
            Step::KillGateway(number) => {
                clients.iter_mut().for_each(|client| client.lose(number));
                gateways[number] = Gateway::start();
            }
            Step::RenewJournal => journal.renew(),
        }
    }

    /// Its followers are told, and another is started.
    fn restart(&mut self, number: usize) {
        self.services[number].drain();
        self.gateways.iter_mut().for_each(|gateway| gateway.lose(number));
        self.services[number] = Service::start(&self.journal);
    }

    fn commit(&mut self) {
        let random = &mut self.random;
        let group = conversation(1 + random.below(GROUPS));
        let mut facts = Vec::new();
        let most = if random.percent(10) { self.burst } else { 3 };
        for _ in 0..=random.below(most) {
            let origin = 100 + random.below(CLIENTS) as i64;
            let id = if random.percent(25) { conversation(0) } else { group };
            facts.push((id, What::Message { sender: user(0), origin }));
        }
        for _ in 0..random.below(3) {
            let at = random.below(facts.len() + 1);
            facts.insert(at, (conversation(1 + random.below(GROUPS)), What::Toggle(user(random.below(USERS)))));
        }
        let unused = random.one_of(&[0, 0, 3]);
        let publication = self.journal.append(facts, unused);
        for service in &mut self.services {
            service.publish(&publication, self.lost_percent, random);
        }
    }

    /// No more faults: everybody is up to date and nothing is missing.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.now += Duration::from_secs(1);
            for number in 0..SERVICES {
                if !self.services[number].settle(&self.journal, self.now, &mut self.random) {
                    self.restart(number);
                }
            }
            let Self { random, journal, services, gateways, clients, .. } = self;
            gateways.iter_mut().for_each(|gateway| gateway.settle(services, random));
            let are_settled = clients.iter_mut().map(|client| client.settle(gateways, journal, random));
            // Every one is moved on, also after one that is not done.
            let is_at_rest = are_settled.filter(|is_settled| !is_settled).count() == 0;
            let is_complete = clients.iter().all(|client| client.log.is_complete(journal));
            let is_fed = services.iter().all(|service| service.feed.position() == journal.head);
            if is_at_rest && is_complete && is_fed {
                return;
            }
        }
        self.clients.iter_mut().for_each(|client| client.log.check_complete(&self.journal));
        panic!("no rest in {ROUNDS_MAX} rounds");
    }
}
