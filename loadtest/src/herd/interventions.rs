//! What befalls the fleet from outside.

use std::ops::Range;
use std::time::Duration;

use super::cause::CauseId;
use super::network;
use super::world::{ASK_EVERY, Happening, World};

/// A broker that has died is in the map until its lease has ended.
const LEASE: Duration = Duration::from_secs(3);

/// After which the SDK leaves a silent broker: a second, and the look at which it was noticed.
const SILENCE: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(1250)];

impl World {
    /// The process is gone, and says nothing.
    pub fn kill(&mut self, broker: usize, cause: CauseId) {
        self.brokers[broker].is_up = false;
        self.queue.plan(self.now + LEASE, Happening::LeaseEnds { broker });
        for number in self.sitting_at(broker) {
            let noticed = SILENCE[0] + self.up_to(SILENCE[1] - SILENCE[0]);
            self.plan_loss(number, noticed, cause);
        }
    }

    /// Tells all its clients that it goes, and goes.
    pub fn send_away(&mut self, broker: usize, cause: CauseId) {
        let at = &mut self.brokers[broker];
        (at.is_leaving, at.is_listed) = (true, false);
        for number in self.sitting_at(broker) {
            let zone = self.clients[number as usize].zone;
            let trip = network::round_trip(zone, self.brokers[broker].zone, &mut self.random);
            self.plan_loss(number, trip / 2, cause);
        }
    }

    pub(super) fn plan_loss(&mut self, number: u32, after: Duration, cause: CauseId) {
        let connection = self.clients[number as usize].connection;
        self.queue.plan(self.now + after, Happening::Lost { client: number, connection, cause });
    }

    /// The same broker as before, with nobody there.
    pub fn start_again(&mut self, broker: usize) {
        let filling = self.begin_cause(&[]);
        let at = &mut self.brokers[broker];
        (at.is_up, at.is_listed, at.is_leaving, at.is_new) = (true, true, false, true);
        at.filling = filling;
        at.arrivals.clear();
    }

    /// Every client's program ends within that time.
    pub fn plan_restarts(&mut self, within: Duration, away: Duration, cause: CauseId) {
        for client in self.numbers() {
            let at = self.now + self.up_to(within);
            self.queue.plan(at, Happening::Restart { client, away, cause });
        }
    }

    fn numbers(&self) -> Range<u32> {
        0..u32::try_from(self.clients.len()).expect("their number is a u32")
    }

    /// From now on every client asks something now and then.
    pub fn begin_asking(&mut self) {
        for client in self.numbers() {
            let first = self.now + self.up_to(ASK_EVERY);
            self.queue.plan(first, Happening::Ask { client });
        }
    }

    fn sitting_at(&self, broker: usize) -> Vec<u32> {
        let numbered = (0..).zip(&self.clients);
        numbered.filter(|(_, client)| client.seat == Some(broker)).map(|(number, _)| number).collect()
    }
}
