//! The brokers beside each other, each with a title and a sign for every partition:
//!
//! ```text
//! A is away   B leads 4   C leads 4   D leads 0   of 8 partitions
//! xxxxxxxx    LffffLLL    fLLLLfff    ........
//! ```

use anyport_client::admin::{SIGNS, sign_of};
use anyport_protocol::BrokerId;
use anyport_protocol::message::admin::{ClusterStatus, GroupName, GroupStatus};

/// Room for the longest title, so that one picture stands below the other.
const COLUMN: usize = 12;

#[derive(Debug)]
pub struct Picture {
    /// Of each broker its title and its signs.
    columns: Vec<(String, String)>,
    partitions: usize,
}

impl Picture {
    /// Of these brokers, and what they are called in the story.
    pub fn of(status: &ClusterStatus, brokers: impl Iterator<Item = (char, BrokerId)>) -> Self {
        let is_partition = |group: &&GroupStatus| matches!(group.group, GroupName::Partition(_));
        let partitions: Vec<_> = status.groups.iter().filter(is_partition).collect();
        let columns =
            brokers.map(|(name, broker)| (title(status, &partitions, name, broker), signs(&partitions, broker)));
        Self { columns: columns.collect(), partitions: partitions.len() }
    }

    pub fn titles(&self) -> String {
        let titles: String = self.columns.iter().map(|(title, _)| format!("{title:COLUMN$}")).collect();
        format!("{titles}of {} partitions", self.partitions)
    }

    pub fn signs(&self, is_coloured: bool) -> String {
        let cell = |signs: &str| {
            let space = " ".repeat(COLUMN.saturating_sub(signs.chars().count()));
            if is_coloured {
                signs.chars().map(coloured).collect::<String>() + &space
            } else {
                signs.to_owned() + &space
            }
        };
        self.columns.iter().map(|(_, signs)| cell(signs)).collect()
    }

    /// What the signs mean that are in it, but for those that are known already.
    pub fn legend(&self, known: &mut Vec<char>) -> String {
        let is_here = |sign: char| self.columns.iter().any(|(_, signs)| signs.contains(sign));
        let new: Vec<_> = SIGNS.iter().filter(|(sign, _)| is_here(*sign) && !known.contains(sign)).collect();
        known.extend(new.iter().map(|(sign, _)| sign));
        let meanings: Vec<_> = new.iter().map(|(sign, meaning)| format!("{sign} {meaning}")).collect();
        meanings.join("  ")
    }
}

fn title(status: &ClusterStatus, partitions: &[&GroupStatus], name: char, broker: BrokerId) -> String {
    match status.broker(broker) {
        None => format!("{name} given up"),
        Some(record) if record.away_for_ms.is_some() || !record.reached => format!("{name} is away"),
        Some(_) => format!("{name} leads {}", partitions.iter().filter(|group| group.leader == Some(broker)).count()),
    }
}

fn signs(partitions: &[&GroupStatus], broker: BrokerId) -> String {
    partitions.iter().map(|group| sign_of(group, broker)).collect()
}

/// Copies are green, bold where they lead; red is what is lost, yellow what is on the way.
fn coloured(sign: char) -> String {
    let colour = match sign {
        'L' => "1;32",
        'f' => "32",
        'x' | '!' | '#' => "31",
        '.' => "2",
        _ => "33",
    };
    format!("\x1b[{colour}m{sign}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let columns = [("A is away", "xx"), ("B leads 1", "Lf"), ("D leads 0", "..")];
        Picture { columns: columns.map(|(title, signs)| (title.to_owned(), signs.to_owned())).into(), partitions: 2 }
    }

    #[test]
    fn signs_stand_below_their_titles() {
        assert_eq!(picture().titles(), "A is away   B leads 1   D leads 0   of 2 partitions");
        assert_eq!(picture().signs(false), "xx          Lf          ..          ");
        let coloured = picture().signs(true);
        assert!(coloured.starts_with("\x1b[31mx\x1b[0m"), "{coloured}");
        let plain = ["\x1b[31m", "\x1b[1;32m", "\x1b[32m", "\x1b[2m", "\x1b[0m"];
        assert_eq!(plain.iter().fold(coloured, |text, code| text.replace(code, "")), picture().signs(false));
    }

    #[test]
    fn a_sign_is_explained_once() {
        let mut known = vec!['f'];
        assert_eq!(picture().legend(&mut known), "L leads  x away  . none");
        assert_eq!(picture().legend(&mut known), "");
    }
}
