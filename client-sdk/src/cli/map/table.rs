//! The rows of a map for people, and for scripts.

use serde_json::{Value, json};

use crate::cli::words;
use crate::protocol::WallMs;
use crate::protocol::map::ServicePoint;

const TITLES: [&str; 7] = ["PLACE", "ZONE", "LOAD", "WEIGHT", "EPOCH", "CHOSEN BY", "SERVICES"];

/// Services of one place that agree in all else share a line.
pub(super) fn of(points: &[&ServicePoint], now: WallMs) -> String {
    let mut lines: Vec<([String; 6], Vec<String>)> = Vec::new();
    let mut sorted = points.to_vec();
    sorted.sort_by_key(|point| (&point.sphere.provider, &point.host, &point.service));
    for point in sorted {
        let (place, service) = (place(point), service(point, now));
        match lines.last_mut().filter(|(last, _)| *last == place) {
            Some((_, services)) => services.push(service),
            None => lines.push((place, vec![service])),
        }
    }
    let rows = lines.into_iter().map(|([host, zone, load, weight, epoch, policy], services)| {
        [host, zone, load, weight, epoch, policy, services.join(", ")]
    });
    let rows: Vec<_> = std::iter::once(TITLES.map(str::to_owned)).chain(rows).collect();
    words::table(&rows)
}

fn place(point: &ServicePoint) -> [String; 6] {
    let zone = if point.zone.is_empty() { "-".to_owned() } else { point.zone.clone() };
    [
        point.host.to_string(),
        zone,
        percent(point.load),
        point.weight.to_string(),
        point.sphere.epoch.0.to_string(),
        point.policy.to_string(),
    ]
}

/// What else there is to know of it stands behind its name.
fn service(point: &ServicePoint, now: WallMs) -> String {
    let mut notes = Vec::new();
    if point.version != Default::default() {
        notes.push(format!("version {}", point.version));
    }
    if point.valid.from.is_some_and(|from| from > now) {
        notes.push("not valid yet".to_owned());
    }
    if let Some(until) = point.valid.until {
        let is_over = until <= now;
        notes.push(if is_over { "over".to_owned() } else { format!("for {}", words::age(words::between(now, until))) });
    }
    if let Some(bucket) = &point.bucket {
        notes.push(format!("best for {} of {} buckets", bucket.buckets.len(), bucket.of));
    }
    if !point.backups.is_empty() {
        let backups: Vec<_> = point.backups.iter().map(ToString::to_string).collect();
        notes.push(format!("else {}", backups.join(" or ")));
    }
    if point.redirects {
        notes.push("answers with another map".to_owned());
    }
    if !point.data.is_empty() {
        notes.push(format!("data {:?}", point.data));
    }
    match notes.is_empty() {
        true => point.service.to_string(),
        false => format!("{} ({})", point.service, notes.join("; ")),
    }
}

/// Of thousandths.
pub(super) fn percent(load: u16) -> String {
    format!("{}.{} %", load / 10, load % 10)
}

/// Its members are a promise to scripts: see docs/cli.md.
pub(super) fn as_json(point: &ServicePoint) -> Value {
    json!({
        "service": point.service,
        "version": point.version.to_string(),
        "provider": point.sphere.provider,
        "epoch": point.sphere.epoch,
        "address": point.host.address(),
        "name": point.host.name,
        "zone": point.zone,
        "load": point.load,
        "weight": point.weight,
        "valid_from": point.valid.from.and_then(words::timestamp),
        "valid_until": point.valid.until.and_then(words::timestamp),
        "backups": point.backups.iter().map(|backup| backup.address()).collect::<Vec<_>>(),
        "bucket": point.bucket.as_ref().map(|bucket| json!({ "of": bucket.of, "buckets": bucket.buckets })),
        "commands": point.commands.iter().map(|command| command.name()).collect::<Vec<_>>(),
        "data": point.data,
        "policy": point.policy.to_string(),
        "redirects": point.redirects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::map::{Sphere, SphereEpoch, Validity};

    fn point(service: &str, address: &str) -> ServicePoint {
        let sphere = Sphere { provider: "cluster".parse().expect("good"), epoch: SphereEpoch(2) };
        let point = ServicePoint::new(service.parse().expect("good"), sphere, address.parse().expect("good"));
        ServicePoint { zone: "north".into(), load: 255, ..point }
    }

    #[test]
    fn services_of_one_place_share_a_line_and_what_is_special_is_said() {
        let leased = ServicePoint {
            valid: Validity { from: None, until: Some(WallMs(61_000)) },
            zone: String::new(),
            ..point("forecast", "w.example:80")
        };
        let points = [point("session", "a:1"), point("publish", "a:1"), point("session", "b:1"), leased];
        let told = of(&points.iter().collect::<Vec<_>>(), WallMs(1_000));
        let expected = "\
PLACE         ZONE   LOAD    WEIGHT  EPOCH  CHOSEN BY    SERVICES
a:1           north  25.5 %  100     2      two-choices  publish, session
b:1           north  25.5 %  100     2      two-choices  session
w.example:80  -      25.5 %  100     2      two-choices  forecast (for 1 min)
";
        assert_eq!(told, expected);
    }
}
