//! The guide names every family.

use std::{collections::BTreeSet, sync::Arc};

use super::{Form, exposition};
use crate::{query::tests::fixture, registry::policies::Deliveries};

const GUIDE: &str = include_str!("../../../../docs/guide.md");

const CONFIGURATION: &str = r#"
    [[service]]
    name = "all"
    remote_ip = ["0.0.0.0/0", "::/0"]
    metric_prefix = "fix"
    connection_limit = 9
    identify = true
    [[service.policy]]
    kind = "limit"
    connections = 9
    action = "event"
    [service.policy.adaptive]
    signal = "memory"
    high = 90
    low = 80
    connections = 5
"#;

#[test]
fn every_family_is_in_the_guide_and_no_other() {
    let mut exposition = exposition(CONFIGURATION, &fixture::snapshot(&fixture::seeds(300)));
    exposition.report.status.last_loss = Some(fixture::NOW);
    exposition.report.deliveries = vec![Deliveries {
        host: "localhost:80".to_owned(),
        waiting: 1,
        delivered: 2,
        failures: 3,
        dropped: 4,
    }];
    let text = Arc::new(exposition).text(Form::Text).unwrap();
    let families: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let section = GUIDE
        .split("\n## ")
        .find_map(|one| one.strip_prefix("GET /metrics\n"));
    let section = section.expect("a section about /metrics");
    let told: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            let kind = rest.split('|').nth(1).unwrap().trim();
            let base = name.split('{').next().unwrap();
            // Of the host and of each service.
            match base.strip_prefix("conntrace[_service]") {
                Some(rest) => ["conntrace", "conntrace_service"]
                    .map(|prefix| format!("{prefix}{rest} {kind}"))
                    .to_vec(),
                None => vec![format!("{base} {kind}")],
            }
        })
        .collect();
    let families: BTreeSet<_> = families.into_iter().map(str::to_owned).collect();
    assert_eq!(families, told);
}
