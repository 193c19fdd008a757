//! Text for people.

use std::{io, os::fd::AsFd as _};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// An address with its port.
pub(crate) fn endpoint(ip: &str, port: u16) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

/// A process calls itself what it likes, and a terminal obeys.
pub(crate) fn printable(name: &str) -> String {
    name.chars()
        .flat_map(|character| {
            let is_plain = !character.is_control() && !is_format(character);
            let escaped = (!is_plain).then(|| character.escape_default());
            is_plain
                .then_some(character)
                .into_iter()
                .chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// Marks that change the direction of what follows, or are nothing to see (UAX #9).
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Waits until nobody can read the output any more, where that can be told: on a pipe or a terminal.
/// Without an event there is nothing to write that would fail.
pub(crate) fn wait_for_no_reader() {
    let output = io::stdout();
    let mut watched = [PollFd::new(output.as_fd(), PollFlags::empty())];
    while let Ok(0) | Err(Errno::EINTR) = poll(&mut watched, PollTimeout::NONE) {}
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_do_nothing_to_a_terminal() {
        assert_eq!(printable("a b-ü"), "a b-ü");
        assert_eq!(
            printable("\x1b[2J\n\t\u{202e}x\u{9b}"),
            "\\u{1b}[2J\\n\\t\\u{202e}x\\u{9b}"
        );
    }
}
