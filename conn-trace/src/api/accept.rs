//! Which form the client takes.

use std::str;

use headers_accept::Accept;
use hyper::header::{ACCEPT, HeaderMap};
use mediatype::MediaType;

/// The one of the forms, given with their media types, that `Accept` prefers. None where it names
/// none of them: clients of connz send all sorts of headers, and take JSON.
pub(super) fn negotiate<T: Copy>(
    headers: &HeaderMap,
    available: &[(T, &'static str)],
) -> Option<T> {
    let values = headers.get_all(ACCEPT).iter();
    let texts: Vec<_> = values
        .filter_map(|value| str::from_utf8(value.as_bytes()).ok())
        .collect();
    let accept: Accept = texts.join(",").parse().ok()?;
    // All of them are written in UTF-8, and a client may ask for just that.
    let names = available.iter().flat_map(|&(format, name)| {
        [name.to_owned(), format!("{name}; charset=utf-8")].map(|name| (format, name))
    });
    let names: Vec<_> = names.collect();
    let types: Vec<_> = names
        .iter()
        .filter_map(|(format, name)| Some((*format, MediaType::parse(name).ok()?)))
        .collect();
    let chosen = accept.negotiate(types.iter().map(|(_, name)| name))?;
    types
        .iter()
        .find(|(_, name)| name == chosen)
        .map(|&(format, _)| format)
}

#[cfg(test)]
mod tests {
    use hyper::header::{ACCEPT, HeaderMap, HeaderValue};

    use super::negotiate;
    use crate::query::Format;

    fn chosen(values: &[&'static str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        negotiate(&headers, &Format::MEDIA_TYPES)
    }

    #[test]
    fn the_preferred_one() {
        for (accept, format) in [
            ("text/csv", Format::Csv),
            ("TEXT/CSV; charset=utf-8", Format::Csv),
            ("application/x-ndjson, text/csv;q=0.9", Format::Ndjson),
            ("application/x-ndjson;q=0.1, text/csv;q=0.9", Format::Csv),
            ("text/csv;q=0.5, application/json", Format::Json),
            ("*/*", Format::Json),
            ("application/*", Format::Json),
            ("text/*", Format::Csv),
            ("text/csv;q=0, */*", Format::Json),
        ] {
            assert_eq!(chosen(&[accept]), Some(format), "{accept}");
        }
        assert_eq!(chosen(&["text/html", "text/csv"]), Some(Format::Csv));
    }

    #[test]
    fn none_of_them() {
        for accept in [
            "",
            "text/html",
            "nonsense",
            "text/csv;q=0",
            "a/b;q=x",
            ",,;",
        ] {
            assert_eq!(chosen(&[accept]), None, "{accept}");
        }
        assert_eq!(chosen(&[]), None);
    }
}
