//! Limits against a count from scratch.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Action, Bounds, World, limit, policy};

proptest! {
    /// Whatever comes and goes, exactly those are flagged that are the newest beyond a bound, and each is
    /// told once when it comes to be.
    #[test]
    fn a_limit_finds_what_a_count_from_scratch_finds(
        steps in prop::collection::vec((0_u8..4, 0_u64..12, 0_u8..3), 1..60),
        most in prop::option::of(0_u32..6),
        of_client in prop::option::of(0_u32..4),
    ) {
        let bounds = Bounds {
            connections: most,
            connections_per_client: of_client,
            new_per_second: None,
        };
        let mut world = World::new(&[policy(limit(bounds), Action::Event)]);
        let mut open: Vec<(u64, u8)> = Vec::new();
        let mut next = 1;
        let mut before = BTreeSet::new();
        for (what, which, client) in steps {
            match what {
                0 | 1 => {
                    world.open(next, client);
                    open.push((next, client));
                    next += 1;
                }
                2 if !open.is_empty() => {
                    let (cid, _) = open.remove(which as usize % open.len());
                    world.end(cid);
                    before.remove(&cid);
                }
                _ => {
                    let found: BTreeSet<_> = world.found().into_iter().collect();
                    let expected = beyond(&open, most, of_client);
                    prop_assert_eq!(&world.flagged(), &expected);
                    let news: BTreeSet<_> = expected.difference(&before).copied().collect();
                    prop_assert_eq!(found, news);
                    before = expected;
                }
            }
        }
    }
}

fn beyond(open: &[(u64, u8)], most: Option<u32>, of_client: Option<u32>) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    if let Some(most) = most {
        found.extend(open.iter().skip(most as usize).map(|(cid, _)| *cid));
    }
    if let Some(most) = of_client {
        for client in 0..3 {
            let own = open.iter().filter(|(_, other)| *other == client);
            found.extend(own.skip(most as usize).map(|(cid, _)| *cid));
        }
    }
    found
}
