//! How a broker lets clients in: so many a second, and the rest are told when to come back, each at a time of its own.
//!
//! The time is the client's place in the queue, so that those who wait come back one after the other, as fast as they can be let in, and not
//! in step. A place is kept by the client's name until shortly after its time. A client that has a place elsewhere says so, and gets none
//! here that is not sooner: it would not be used, and everybody behind it would wait for nobody.

use std::collections::HashMap;
use std::time::Duration;

use super::queue::Moment;

/// Logins that may come at once after a pause.
const BURST: u32 = 2;

/// A place here is worth giving up one elsewhere if the wait is shorter by a twentieth: the place there may then be nobody's.
const CLEARLY_SOONER: f64 = 0.95;

/// The refusal's way, the handshake and the login's way.
const TRIPS_TO_RETURN: u32 = 2;

/// No two round trips are alike.
const EARLY: Duration = Duration::from_millis(50);

/// For whoever is late: a few round trips of the farthest client.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Admission {
    every: Duration,
    /// Up to when every login is promised to somebody.
    promised: Moment,
    places: HashMap<u32, Moment>,
}

#[derive(Clone, Copy, Debug)]
pub struct Login {
    pub client: u32,
    /// In what time another broker has told it to come.
    pub place_elsewhere: Option<Duration>,
    pub round_trip: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Admitted,
    ComeBackAfter(Duration),
}

impl Admission {
    pub fn new(per_second: f64) -> Self {
        Self { every: Duration::from_secs_f64(1.0 / per_second), promised: Moment::ZERO, places: HashMap::new() }
    }

    pub fn per_second(&self) -> f64 {
        1.0 / self.every.as_secs_f64()
    }

    pub fn has_queue(&self, now: Moment) -> bool {
        self.promised > now + self.every * BURST
    }

    /// The broker knows the round trip of every connection, and so names a time at which the client is to set out and not to arrive.
    pub fn handle_login(&mut self, login: Login, now: Moment) -> Answer {
        let Login { client, place_elsewhere, round_trip } = login;
        let come_at = |place: Moment| Answer::ComeBackAfter((place - now).saturating_sub(round_trip * TRIPS_TO_RETURN));
        if let Some(place) = self.places.get(&client).copied() {
            if place > now + EARLY {
                return come_at(place);
            }
            self.places.remove(&client);
            return Answer::Admitted;
        }
        let next = self.promised.max(now);
        let wait = next - now;
        if wait <= self.every * BURST {
            self.promised = next + self.every;
            return Answer::Admitted;
        }
        if let Some(elsewhere) = place_elsewhere.filter(|elsewhere| wait >= elsewhere.mul_f64(CLEARLY_SOONER)) {
            // The later time sends the client there.
            return Answer::ComeBackAfter(wait.max(elsewhere));
        }
        self.promised = next + self.every;
        self.places.insert(client, next);
        come_at(next)
    }

    /// To be called now and then.
    pub fn forget_late_comers(&mut self, now: Moment) {
        self.places.retain(|_, place| *place + GRACE > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn login(client: u32) -> Login {
        Login { client, place_elsewhere: None, round_trip: Duration::ZERO }
    }

    /// Ten a second, and six have come at once.
    fn crowded() -> (Admission, Vec<Answer>) {
        let mut admission = Admission::new(10.0);
        let answers = (0..6).map(|client| admission.handle_login(login(client), Moment::ZERO)).collect();
        (admission, answers)
    }

    #[test]
    fn a_crowd_is_told_to_come_one_after_the_other() {
        let (mut admission, answers) = crowded();
        assert_eq!(answers[..3], [Answer::Admitted; 3], "the first, and a burst");
        let waits = [0.3, 0.4, 0.5].map(|wait| Answer::ComeBackAfter(seconds(wait)));
        assert_eq!(answers[3..], waits);
        let mut come = |client, at| admission.handle_login(login(client), seconds(at));
        assert_eq!(come(3, 0.1), Answer::ComeBackAfter(seconds(0.2)), "too early");
        assert_eq!(come(9, 0.3), Answer::ComeBackAfter(seconds(0.3)), "behind them");
        assert_eq!(come(3, 0.31), Answer::Admitted);
        assert_eq!(come(5, 0.46), Answer::Admitted, "a little early");
    }

    #[test]
    fn who_is_far_away_sets_out_earlier() {
        let (mut admission, _) = crowded();
        let far = Login { round_trip: seconds(0.1), ..login(6) };
        assert_eq!(admission.handle_login(far, Moment::ZERO), Answer::ComeBackAfter(seconds(0.4)));
    }

    #[test]
    fn who_has_a_place_elsewhere_gets_one_here_only_if_it_is_clearly_sooner() {
        let (mut admission, _) = crowded();
        let mut elsewhere =
            |wait| admission.handle_login(Login { place_elsewhere: Some(seconds(wait)), ..login(9) }, Moment::ZERO);
        assert_eq!([0.5, 0.62].map(&mut elsewhere), [0.6, 0.62].map(|wait| Answer::ComeBackAfter(seconds(wait))));
        assert_eq!(elsewhere(1.2), Answer::ComeBackAfter(seconds(0.6)));
        let behind = Answer::ComeBackAfter(seconds(0.7));
        assert_eq!(admission.handle_login(login(8), Moment::ZERO), behind, "only the last one has got a place");
    }
}
