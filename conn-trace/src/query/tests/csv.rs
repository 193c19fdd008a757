//! Tables, against the same rows as JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fixture::{self, NOW, NOW_NS};
use crate::{
    query::{
        Row,
        csv::{self, Columns},
    },
    registry::connection::Connection,
};

/// Of every kind, open and closed, with all there can be.
fn connections() -> Vec<Connection> {
    let mut all = fixture::snapshot(&fixture::seeds(100));
    for open in &mut all.open {
        open.tcp = Some(fixture::fullest_tcp());
        open.rates = Some(Box::default());
    }
    all.open.into_iter().chain(all.closed).collect()
}

const ALL: Columns = Columns {
    tcp: true,
    rates: true,
};

fn flat(row: &Value) -> Vec<(String, Value)> {
    let fields = row.as_object().expect("an object").iter();
    fields
        .flat_map(|(name, value)| match value {
            Value::Object(inner) => inner
                .iter()
                .map(|(field, value)| (format!("{name}.{field}"), value.clone()))
                .collect(),
            _ => vec![(name.clone(), value.clone())],
        })
        .collect()
}

#[test]
fn every_field_has_a_column_and_every_column_a_field() {
    let fields: BTreeSet<String> = connections()
        .iter()
        .map(|connection| serde_json::to_value(Row::new(connection, NOW, NOW_NS, true)).unwrap())
        .flat_map(|row| flat(&row))
        .map(|(name, _)| name)
        .collect();
    let columns: BTreeSet<_> = ALL.names().map(str::to_owned).collect();
    assert_eq!(columns, fields);
    assert_eq!(ALL.names().count(), columns.len(), "none twice");
}

#[test]
fn columns_have_the_order_of_the_fields() {
    for connection in connections() {
        let text = serde_json::to_string(&Row::new(&connection, NOW, NOW_NS, true)).unwrap();
        let (row, tcp) = text.split_once("\"tcp\":").unwrap_or((&text, ""));
        for (part, prefix) in [(row, ""), (tcp, "tcp.")] {
            // Those of rates follow the others.
            let names = Columns {
                rates: false,
                ..ALL
            }
            .names()
            .filter(|name| name.contains('.') != prefix.is_empty())
            .map(|name| name.trim_start_matches(prefix));
            let places = names.filter_map(|name| part.find(&format!("\"{name}\":")));
            assert!(places.is_sorted(), "{text}");
        }
    }
}

#[test]
fn cells_are_the_values() {
    for connection in connections() {
        for tcp in [false, true] {
            let columns = Columns { tcp, rates: tcp };
            let row = Row::new(&connection, NOW, NOW_NS, tcp);
            let fields = flat(&serde_json::to_value(&row).unwrap());
            let record = csv::record(&row, columns).unwrap();
            assert_eq!(record.len(), columns.names().count());
            for (column, cell) in columns.names().zip(record) {
                let value = fields.iter().find(|(name, _)| name == column);
                let expected = match value {
                    Some((_, Value::String(text))) => text.clone(),
                    Some((_, Value::Array(words))) => {
                        let words: Vec<_> =
                            words.iter().map(|word| word.as_str().unwrap()).collect();
                        words.join(" ")
                    }
                    Some((_, value)) => value.to_string(),
                    None if ["preexisting", "start_estimated"].contains(&column) => "false".into(),
                    None => String::new(),
                };
                assert_eq!(cell, expected, "{column}");
            }
        }
    }
}
