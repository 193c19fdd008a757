//! The query string of `/connz`, and the path and query string of `/connz/{cid}`, in each dialect.
//! An input is a query string; what follows its first line feed is the path's last segment.
#![no_main]

use conn_trace_fuzz::query::{Dialect, Query, QueryError};
use libfuzzer_sys::fuzz_target;

/// More than any refusal takes: 64 characters of the value, each of them escaped.
const MOST_CHARS: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (text, cid) = text.split_once('\n').unwrap_or((text, "1"));
    for dialect in Dialect::ALL {
        match Query::parse(dialect, text) {
            Ok(query) => accepted(dialect, &query),
            Err(error) => refused(dialect, &error),
        }
        match Query::parse_one(dialect, cid, text) {
            Ok(query) => {
                accepted(dialect, &query);
                assert_eq!((query.offset, query.limit), (0, 1), "{query:?}");
                assert!(query.filter.cid.is_some(), "{query:?}");
            }
            Err(error) => refused(dialect, &error),
        }
    }
});

/// What answers echo is a JSON integer and says what applied.
fn accepted(dialect: &Dialect, query: &Query) {
    let most = i64::MAX.unsigned_abs();
    assert!(query.offset <= most, "{query:?}");
    assert!((1..=most).contains(&query.limit), "{query:?}");
    if dialect.cid_is_page && query.filter.cid.is_some() {
        assert_eq!(query.limit, 1, "{query:?}");
    }
    assert_eq!(query.counts_page, dialect.counts_page);
}

/// A refusal is shown to people and logged.
fn refused(dialect: &Dialect, error: &QueryError) {
    for text in [error.to_string(), (dialect.refusal)(error)] {
        assert!(!text.is_empty(), "{error:?}");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.chars().count() <= MOST_CHARS, "{text:?}");
    }
}
