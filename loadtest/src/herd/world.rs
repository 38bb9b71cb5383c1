//! The fleet, its brokers and the network between them, on virtual time.
//!
//! Every client has a director of its own, the SDK's own type; what the SDK's driver does around it is done here without a network: dial where
//! the director says, log in, wait for as long as it says. Nothing is random but what comes from one seed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_client::director::{Director, DirectorOptions};
use anyport_protocol::map::{Map, ServicePoint, Sphere, SphereEpoch};
use anyport_protocol::{ClientId, WallMs};
use rand::Rng;
use rand::rngs::SmallRng;

use super::admission::{Answer, Login};
use super::broker::Broker;
use super::cause::{Cause, CauseId};
use super::network;
use super::queue::{Moment, Queue};
use crate::workload::Seed;

/// Everybody has been where he is for a while when a story begins.
pub const BEGIN: Moment = Duration::from_secs(600);

/// How often brokers tell each other their loads, and the map its readers.
const MAP_EVERY: Duration = Duration::from_secs(1);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// What the SDK waits at random after a connection was lost, before it goes anywhere.
const LOST_JITTER: Duration = Duration::from_millis(100);

/// What a broker that has no seat names.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// How often a client asks its broker for something, where that is of interest.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(5);

const SEEDS: usize = 3;

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub clients: u32,
    pub brokers: usize,
    pub seed: Seed,
}

#[derive(Debug)]
pub struct World {
    pub brokers: Vec<Broker>,
    pub clients: Vec<Client>,
    pub causes: Vec<Cause>,
    /// How many clients are served, time after time.
    pub curve: Vec<(Duration, u32)>,
    pub(super) now: Moment,
    pub(super) random: SmallRng,
    pub(super) queue: Queue<Happening>,
    served: u32,
    map: Arc<Map>,
    by_address: HashMap<String, usize>,
    sphere: Sphere,
    /// What virtual time is counted from, for directors; no clock is read after this.
    epoch: Instant,
}

#[derive(Debug)]
pub struct Client {
    pub director: Director,
    pub(super) zone: u8,
    /// Where it has a seat, served or about to be.
    pub(super) seat: Option<usize>,
    pub(super) is_served: bool,
    /// Counts connections, so that what was planned for an earlier one is known by its number.
    pub(super) connection: u32,
    /// Why it is not served, or was not the last time.
    cause: CauseId,
    last_broker: usize,
}

/// What was planned, and for which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    Dial { client: u32, connection: u32 },
    Login { client: u32, connection: u32, broker: usize },
    Admitted { client: u32, connection: u32 },
    Failed { client: u32, connection: u32, wait: Option<Duration> },
    Lost { client: u32, connection: u32, cause: CauseId },
    SentTo { client: u32, connection: u32, broker: usize, cause: CauseId },
    Restart { client: u32, away: Duration, cause: CauseId },
    Ask { client: u32 },
    Answered { client: u32, connection: u32, took: Duration },
    LeaseEnds { broker: usize },
    Map,
    Sample,
}

impl World {
    pub fn new(size: Size) -> Self {
        let provider = "herd".parse().expect("a good name");
        let capacity = size.clients * 2 / u32::try_from(size.brokers).expect("a few brokers");
        let zones = 0..network::ZONES;
        let brokers: Vec<_> =
            (0..size.brokers).zip(zones.cycle()).map(|(number, zone)| Broker::new(number, zone, capacity)).collect();
        let mut world = Self {
            brokers: Vec::new(),
            clients: Vec::new(),
            causes: vec![Cause::new(0.0)],
            curve: Vec::new(),
            now: Moment::ZERO,
            random: size.seed.rng(),
            queue: Queue::default(),
            served: 0,
            map: Arc::default(),
            by_address: HashMap::new(),
            sphere: Sphere { provider, epoch: SphereEpoch(1) },
            epoch: Instant::now(),
        };
        brokers.into_iter().for_each(|broker| world.add_broker(broker));
        world.renew_map();
        (0..size.clients).for_each(|_| world.add_client());
        world.now = BEGIN;
        world.renew_map();
        world.tell_map();
        world.queue.plan(BEGIN, Happening::Sample);
        world.queue.plan(BEGIN + MAP_EVERY, Happening::Map);
        world
    }

    pub(super) fn add_broker(&mut self, broker: Broker) {
        self.by_address.insert(broker.host.address(), self.brokers.len());
        self.brokers.push(broker);
    }

    /// Served already, where its director has led it.
    fn add_client(&mut self) {
        let number = u32::try_from(self.clients.len()).expect("their number is a u32");
        let director = self.new_director(number);
        let zone = self.random.random_range(0..network::ZONES);
        let broker = self.by_address[director.server()];
        let client = Client {
            director,
            zone,
            seat: Some(broker),
            is_served: false,
            connection: 0,
            cause: 0,
            last_broker: broker,
        };
        self.clients.push(client);
        self.brokers[broker].clients += 1;
        self.on_admitted(number);
    }

    /// That of a new process, which finds the map that an earlier one has saved.
    fn new_director(&mut self, client: u32) -> Director {
        let any = |random: &mut SmallRng| random.random_range(0..self.brokers.len());
        let seeds = (0..SEEDS).map(|_| self.brokers[any(&mut self.random)].host.address()).collect();
        let options = DirectorOptions { seeds, client: Some(client_id(client)), zone: None };
        let mut director = Director::new(options, self.random.random()).expect("there are seeds");
        director.handle_saved_map(Arc::clone(&self.map), self.instant());
        director
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    pub fn is_everybody_served(&self) -> bool {
        self.served as usize == self.clients.len()
    }

    /// Those brokers let nobody in who has to go for this cause.
    pub fn begin_cause(&mut self, but: &[usize]) -> CauseId {
        let admitting = self.brokers.iter().enumerate().filter(|(at, broker)| broker.is_up && !but.contains(at));
        let rate = admitting.map(|(_, broker)| broker.admission.per_second()).sum();
        self.causes.push(Cause::new(rate));
        self.causes.len() - 1
    }

    pub fn elapsed(&self) -> Duration {
        self.now - BEGIN
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, happening)) = self.queue.next_before(end) {
            self.now = at;
            self.on(happening);
        }
        self.now = end;
    }

    /// Until somebody has left and all are back, or for so long.
    pub fn run_until_served(&mut self, limit: Duration) {
        let end = self.now + limit;
        let mut has_begun = false;
        while !(has_begun && self.is_everybody_served()) {
            let Some((at, happening)) = self.queue.next_before(end) else { break };
            self.now = at;
            self.on(happening);
            has_begun |= !self.is_everybody_served();
        }
    }

    fn on(&mut self, happening: Happening) {
        let is_current = |client: u32, connection: u32| self.clients[client as usize].connection == connection;
        match happening {
            Happening::Dial { client, connection } if is_current(client, connection) => self.on_dial(client),
            Happening::Login { client, connection, broker } if is_current(client, connection) => {
                self.on_login(client, broker);
            }
            Happening::Admitted { client, connection } if is_current(client, connection) => self.on_admitted(client),
            Happening::Failed { client, connection, wait } if is_current(client, connection) => {
                self.on_failed(client, wait, Duration::ZERO);
            }
            Happening::Lost { client, connection, cause } if is_current(client, connection) => {
                self.on_lost(client, cause);
            }
            Happening::SentTo { client, connection, broker, cause } if is_current(client, connection) => {
                let address = self.brokers[broker].host.address();
                self.move_to(client, &address, cause);
            }
            Happening::Restart { client, away, cause } => self.on_restart(client, away, cause),
            Happening::Ask { client } => self.on_ask(client),
            Happening::Answered { client, connection, took } if is_current(client, connection) => {
                self.on_answered(client, took);
            }
            Happening::LeaseEnds { broker } => self.brokers[broker].is_listed = self.brokers[broker].is_up,
            Happening::Map => self.on_map(),
            Happening::Sample => self.on_sample(),
            // Of a connection that is over.
            _ => {}
        }
    }

    fn on_dial(&mut self, number: u32) {
        let now = self.instant();
        let client = &mut self.clients[number as usize];
        let (connection, patience) = (client.connection, client.director.attempt_timeout(now));
        let broker = self.by_address[client.director.server()];
        let trip = network::round_trip(client.zone, self.brokers[broker].zone, &mut self.random);
        let Broker { is_up, is_leaving, .. } = self.brokers[broker];
        let (after, happening) = if !is_up {
            (patience, Happening::Failed { client: number, connection, wait: None })
        } else if is_leaving {
            (trip, Happening::Failed { client: number, connection, wait: None })
        } else {
            // There and back for the handshake, and there with the login.
            (trip * 3 / 2, Happening::Login { client: number, connection, broker })
        };
        self.queue.plan(self.now + after, happening);
    }

    fn on_login(&mut self, number: u32, broker: usize) {
        let now = self.instant();
        let client = &mut self.clients[number as usize];
        let connection = client.connection;
        let round_trip = network::round_trip(client.zone, self.brokers[broker].zone, &mut self.random);
        let login = Login { client: number, place_elsewhere: client.director.place_elsewhere(now), round_trip };
        let at = &mut self.brokers[broker];
        let answer = match at.is_up && !at.is_leaving {
            true if at.is_full() => Answer::ComeBackAfter(FULL_WAIT),
            true => at.admission.handle_login(login, self.now),
            false => {
                let patience = client.director.attempt_timeout(now);
                let failed = Happening::Failed { client: number, connection, wait: None };
                return self.queue.plan(self.now + patience, failed);
            }
        };
        let after = round_trip / 2 + at.delay;
        let happening = match answer {
            Answer::Admitted => {
                at.clients += 1;
                client.seat = Some(broker);
                Happening::Admitted { client: number, connection }
            }
            Answer::ComeBackAfter(wait) => {
                self.causes[client.cause].handle_refused(number);
                Happening::Failed { client: number, connection, wait: Some(wait) }
            }
        };
        self.queue.plan(self.now + after, happening);
    }

    fn on_admitted(&mut self, number: u32) {
        let now = self.instant();
        let client = &mut self.clients[number as usize];
        let Some(broker) = client.seat else { return self.on_failed(number, None, Duration::ZERO) };
        client.is_served = true;
        client.director.handle_success(now);
        client.director.handle_map(Arc::clone(&self.map), wall(self.now), now);
        self.brokers[broker].arrivals.push_back((number, self.now));
        self.served += 1;
        let has_moved = client.last_broker != broker;
        client.last_broker = broker;
        self.causes[client.cause].handle_served(number, has_moved, self.now);
    }

    fn on_failed(&mut self, number: u32, wait: Option<Duration>, jitter: Duration) {
        let now = self.instant();
        let client = &mut self.clients[number as usize];
        let pause = client.director.handle_failure(wait, now).unwrap_or_default();
        self.dial_after(number, pause + jitter);
    }

    fn dial_after(&mut self, number: u32, pause: Duration) {
        let client = &mut self.clients[number as usize];
        client.connection += 1;
        let dial = Happening::Dial { client: number, connection: client.connection };
        self.queue.plan(self.now + pause, dial);
    }

    fn on_lost(&mut self, number: u32, cause: CauseId) {
        self.leave(number, cause);
        let jitter = self.up_to(LOST_JITTER);
        self.on_failed(number, None, jitter);
    }

    pub(super) fn move_to(&mut self, number: u32, address: &str, cause: CauseId) {
        self.leave(number, cause);
        self.clients[number as usize].director.prefer(address);
        self.dial_after(number, Duration::ZERO);
    }

    /// Ends the client's connection, if it has one.
    fn leave(&mut self, number: u32, cause: CauseId) {
        let client = &mut self.clients[number as usize];
        if let Some(broker) = client.seat.take() {
            self.brokers[broker].clients -= 1;
        }
        client.connection += 1;
        if std::mem::take(&mut client.is_served) {
            client.cause = cause;
            self.served -= 1;
            self.causes[cause].handle_left(self.now);
        }
    }

    /// The client's program ends, and begins again a moment later.
    fn on_restart(&mut self, number: u32, away: Duration, cause: CauseId) {
        self.leave(number, cause);
        self.clients[number as usize].director = self.new_director(number);
        self.dial_after(number, away);
    }

    fn on_ask(&mut self, number: u32) {
        self.queue.plan(self.now + ASK_EVERY, Happening::Ask { client: number });
        let client = &self.clients[number as usize];
        let Some(broker) = client.seat.filter(|_| client.is_served) else { return };
        let took = network::round_trip(client.zone, self.brokers[broker].zone, &mut self.random);
        let took = took + self.brokers[broker].delay;
        let answered = Happening::Answered { client: number, connection: client.connection, took };
        self.queue.plan(self.now + took, answered);
    }

    fn on_answered(&mut self, number: u32, took: Duration) {
        let now = self.instant();
        let director = &mut self.clients[number as usize].director;
        director.handle_answer(took, now);
        if let Some(other) = director.poll_leave(now) {
            let cause = self.causes.len() - 1;
            self.move_to(number, &other, cause);
        }
    }

    fn on_map(&mut self) {
        self.queue.plan(self.now + MAP_EVERY, Happening::Map);
        self.renew_map();
        self.tell_map();
        self.hand_over();
        let now = self.now;
        self.brokers.iter_mut().for_each(|broker| broker.admission.forget_late_comers(now));
    }

    fn on_sample(&mut self) {
        self.queue.plan(self.now + SAMPLE_EVERY, Happening::Sample);
        self.curve.push((self.now - BEGIN, self.served));
    }

    fn renew_map(&mut self) {
        let listed = self.brokers.iter().filter(|broker| broker.is_listed);
        let points: Vec<ServicePoint> = listed.map(|broker| broker.point(&self.sphere)).collect();
        self.map = Arc::new(Map::new(self.map.revision + 1, points));
    }

    /// All that are served share one map here: it is what each would have after the change that it is told.
    fn tell_map(&mut self) {
        let (time, now) = (wall(self.now), self.instant());
        for client in self.clients.iter_mut().filter(|client| client.is_served) {
            client.director.handle_map(Arc::clone(&self.map), time, now);
        }
    }

    pub(super) fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.random.random())
    }

    /// Most clients at a broker, in proportion to the mean.
    pub fn spread(&self) -> f64 {
        let clients: Vec<u32> = self
            .brokers
            .iter()
            .filter(|broker| broker.is_up && !broker.is_leaving)
            .map(|broker| broker.clients)
            .collect();
        let most = clients.iter().copied().max().unwrap_or_default();
        f64::from(most) * clients.len() as f64 / f64::from(clients.iter().sum::<u32>().max(1))
    }
}

/// The server's clock, of which only differences matter.
fn wall(now: Moment) -> WallMs {
    WallMs(u64::try_from(now.as_millis()).expect("a simulation is shorter than the age of the earth"))
}

fn client_id(number: u32) -> ClientId {
    ClientId::from_bytes(u128::from(number).to_be_bytes())
}
