//! How many times something had to cross the network before something else could happen.

use super::Direction;

/// Follows the longest chain of packets of which each was sent after the one before it had arrived. Two of its links are a round
/// trip, whatever the clock says. It knows of one client; of several it gives the longest chain through any of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hops {
    at_client: u32,
    at_target: u32,
}

impl Hops {
    /// The place in the chain of a packet that is sent now.
    pub fn handle_sent(&self, direction: Direction) -> u32 {
        1 + match direction {
            Direction::ToTarget => self.at_client,
            Direction::ToClient => self.at_target,
        }
    }

    pub fn handle_delivered(&mut self, direction: Direction, hop: u32) {
        let end = match direction {
            Direction::ToTarget => &mut self.at_target,
            Direction::ToClient => &mut self.at_client,
        };
        *end = hop.max(*end);
    }

    /// The chain as far as it has come to the client.
    pub fn at_client(&self) -> u32 {
        self.at_client
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{ToClient, ToTarget};

    #[test]
    fn what_is_sent_together_is_one_hop_and_an_answer_is_the_next() {
        let mut hops = Hops::default();
        let together = [hops.handle_sent(ToTarget), hops.handle_sent(ToTarget)];
        assert_eq!(together, [1, 1]);
        together.iter().for_each(|hop| hops.handle_delivered(ToTarget, *hop));
        let answer = hops.handle_sent(ToClient);
        hops.handle_delivered(ToClient, answer);
        assert_eq!((answer, hops.at_client()), (2, 2));
        assert_eq!(hops.handle_sent(ToTarget), 3);
    }

    #[test]
    fn an_answer_on_its_way_is_not_counted() {
        let mut hops = Hops::default();
        hops.handle_delivered(ToTarget, 1);
        hops.handle_sent(ToClient);
        assert_eq!((hops.at_client(), hops.handle_sent(ToTarget)), (0, 1));
    }
}
