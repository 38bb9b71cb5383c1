//! Whatever map there is, it survives its bytes, and hostile bytes are an error.

use anyport_protocol::WallMs;
use anyport_protocol::map::{
    Bucket, Encoding, Host, Map, MapCommand, MapDelta, Policy, ProviderId, ServiceId, ServicePoint, ServiceVersion,
    Sphere, SphereEpoch, Validity,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

prop_compose! {
    fn host()(inet in option::of(any::<std::net::IpAddr>()), name in "[a-z]{1,12}", named: bool, port: u16) -> Host {
        let name = (named || inet.is_none()).then_some(name);
        Host { inet, name, port }
    }
}

fn command() -> impl Strategy<Value = MapCommand> {
    prop_oneof![
        Just(MapCommand::Refetch),
        Just(MapCommand::DropState),
        Just(MapCommand::Resubscribe),
        any::<u64>().prop_map(|upto_ms| MapCommand::Wait { upto_ms }),
        host().prop_map(|host| MapCommand::MoveTo { host }),
        "[f-m]{3,8}".prop_map(|name| MapCommand::Unknown { name }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::WeightedRandom),
        Just(Policy::TwoChoices),
        Just(Policy::Nearest),
        Just(Policy::Sticky),
        "[a-z]{1,9}".prop_map(|expression| Policy::Score { expression }),
    ]
}

prop_compose! {
    fn named()(service in "(session|publish|spm)", provider in "(one|two)", x in 0..3_u16, epoch in 0..3_u64) -> ServicePoint {
        let sphere = Sphere { provider: provider.parse::<ProviderId>().expect("good"), epoch: SphereEpoch(epoch) };
        let service = service.parse::<ServiceId>().expect("good");
        let host = "a:1".parse().expect("good");
        ServicePoint { version: ServiceVersion(1, x), ..ServicePoint::new(service, sphere, host) }
    }
}

prop_compose! {
    fn point()(
        named in named(), host in host(), zone in "[a-z]{0,5}", load: u16, weight in 90..110_u16,
        from in option::of(any::<u64>()), until in option::of(any::<u64>()), backups in vec(host(), 0..3),
        bucket in option::of((any::<u16>(), vec(any::<u16>(), 0..4))), commands in vec(command(), 0..4),
        data in "\\PC{0,9}", policy in policy(), redirects: bool,
    ) -> ServicePoint {
        ServicePoint {
            host, zone, load, weight, backups, commands, data, policy, redirects,
            valid: Validity { from: from.map(WallMs), until: until.map(WallMs) },
            bucket: bucket.map(|(of, buckets)| Bucket { of, buckets }),
            ..named
        }
    }
}

fn map() -> impl Strategy<Value = Map> {
    (any::<u64>(), vec(point(), 0..12)).prop_map(|(revision, points)| Map::new(revision, points))
}

/// Of the services and providers of the map, only the first.
fn only(map: &Map, service: bool, provider: bool) -> Map {
    let first = map.points().first().cloned();
    let kept = map.points().iter().filter(|point| {
        first.as_ref().is_some_and(|first| {
            (!service || point.service == first.service)
                && (!provider || point.sphere.provider == first.sphere.provider)
        })
    });
    Map::new(map.revision, kept.cloned())
}

proptest! {
    #[test]
    fn a_map_is_the_same_after_each_encoding_that_fits_it(map in map()) {
        for (encoding, map) in [
            (Encoding::Full, map.clone()),
            (Encoding::OneService, only(&map, true, false)),
            (Encoding::OneSphere, only(&map, false, true)),
            (Encoding::OneServiceInOneSphere, only(&map, true, true)),
        ] {
            let bytes = map.encode_as(encoding).expect("these rows have it in common");
            prop_assert_eq!(bytes[1], encoding as u8);
            prop_assert_eq!(&Map::decode(&bytes).expect("own bytes"), &map);
            prop_assert_eq!(&Map::decode(&map.encode()).expect("own bytes"), &map);
        }
    }

    #[test]
    fn rows_that_differ_in_what_is_said_once_are_refused(map in map()) {
        for encoding in Encoding::ALL {
            let services: std::collections::BTreeSet<_> = map.points().iter().map(|point| &point.service).collect();
            let services = services.len();
            let providers: std::collections::BTreeSet<_> = map.points().iter().map(|point| &point.sphere.provider).collect();
            let fits = match encoding {
                Encoding::Full => true,
                Encoding::OneService => services <= 1,
                Encoding::OneSphere => providers.len() <= 1,
                Encoding::OneServiceInOneSphere => services <= 1 && providers.len() <= 1,
            };
            prop_assert_eq!(map.encode_as(encoding).is_ok(), fits);
        }
    }

    #[test]
    fn a_change_leads_from_one_map_to_the_other(before in map(), after in map()) {
        let delta = before.delta_to(&after);
        let read = MapDelta::decode(&delta.encode()).expect("own bytes");
        prop_assert_eq!(&read, &delta);
        let mut map = before;
        map.apply(read).expect("it begins there");
        prop_assert_eq!(map, after);
    }

    #[test]
    fn hostile_bytes_are_an_error_and_no_panic(map in map(), at: prop::sample::Index, changed: u8, random: Vec<u8>) {
        let _ = Map::decode(&random);
        let _ = MapDelta::decode(&random);
        let delta = Map::default().delta_to(&map).encode();
        for (mut bytes, is_map) in [(map.encode(), true), (delta, false)] {
            let at = at.index(bytes.len());
            bytes[at] = changed;
            if is_map { let _ = Map::decode(&bytes); } else { let _ = MapDelta::decode(&bytes); }
            bytes.truncate(at);
            if is_map { let _ = Map::decode(&bytes); } else { let _ = MapDelta::decode(&bytes); }
        }
    }
}

/// Fifty brokers with six services each, as one cluster has them.
#[test]
fn what_is_said_once_is_not_paid_for_in_each_row() {
    let provider: ProviderId = "0198c0de-0000-7000-8000-000000000001".parse().expect("good");
    let points = |services: &[&'static str]| {
        let sphere = Sphere { provider: provider.clone(), epoch: SphereEpoch(3) };
        let places: Vec<Host> = (0..50).map(|nth| format!("10.0.0.{nth}:7400").parse().expect("good")).collect();
        let of_one = move |service: &'static str| {
            let sphere = sphere.clone();
            places.clone().into_iter().map(move |host| ServicePoint {
                zone: "north".into(),
                load: 250,
                ..ServicePoint::new(ServiceId::known(service), sphere.clone(), host)
            })
        };
        services.iter().copied().flat_map(of_one).collect::<Vec<_>>()
    };
    let size = |map: &Map, encoding| map.encode_as(encoding).expect("fits").len() / map.points().len();
    let all = Map::new(9, points(&ServiceId::OF_A_BROKER));
    let one = Map::new(9, points(&[ServiceId::SESSION]));
    let sizes = [
        size(&all, Encoding::Full),
        size(&one, Encoding::OneService),
        size(&all, Encoding::OneSphere),
        size(&one, Encoding::OneServiceInOneSphere),
    ];
    assert_eq!(sizes, [90, 76, 47, 34], "bytes a row");
}
