//! The first bytes of a connection, whoever has sent them. An input is these bytes.
#![no_main]

use conn_trace_fuzz::protocol::{Finding, Identity, Sender, Text, identify};
use libfuzzer_sys::fuzz_target;

/// The programs tell of no more.
const LIMIT: usize = 4096;
const LONGEST_TEXT: usize = 128;

fuzz_target!(|data: &[u8]| {
    let bytes = &data[..data.len().min(LIMIT)];
    for sender in [Sender::Client, Sender::Server, Sender::Unknown] {
        let all = identify(bytes, sender);
        if let Finding::SoFar(found) | Finding::Whole(found) = &all {
            described(found);
        }
        // As it comes in parts.
        for len in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
            match identify(&bytes[..len], sender) {
                Finding::Nothing => assert_eq!(all, Finding::Nothing, "{len} bytes were nothing"),
                Finding::Whole(found) => assert_eq!(all, Finding::Whole(found), "{len} bytes"),
                Finding::TooFew | Finding::SoFar(_) => {}
            }
        }
    }
});

fn described(identity: &Identity) {
    let peer = &identity.peer;
    for text in [
        &identity.version,
        &identity.name,
        &identity.lang,
        &peer.software,
        &peer.server_name,
        &peer.alpn,
        &peer.sender_comp_id,
        &peer.target_comp_id,
        &peer.client_id,
        &peer.user,
        &peer.database,
        &peer.application,
    ] {
        let text = text.as_ref().map_or("-", Text::as_str);
        assert!((1..=LONGEST_TEXT).contains(&text.len()), "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert!(identity.version_label().len() <= LONGEST_TEXT);
}
