//! What people watch: a service is a name and the connections that belong to it.
//!
//! A [`Matcher`] is made from the configuration and tells the registry where a connection belongs:
//! to the first service whose selectors all hold.

mod choice;
mod matcher;
mod selector;

pub use self::{
    choice::Choice,
    matcher::{Explained, Matcher, Selected},
    selector::{Holds, Namespace, Selector, Unit},
};
