//! `comm` and `cgroup`: exact, or a prefix.

/// A text, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The whole text.
    Exact(String),
    /// How it begins.
    Prefix(String),
}

impl Pattern {
    /// A trailing `*` makes it a prefix; elsewhere a `*` is itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether the text is one of those meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn exact_and_prefix() {
        assert!(Pattern::new("nginx").matches("nginx"));
        assert!(!Pattern::new("nginx").matches("nginx2"));
        assert!(Pattern::new("ngi*").matches("nginx"));
        assert!(!Pattern::new("ngi*").matches("ng"));
        assert!(Pattern::new("*").matches(""));
        assert!(Pattern::new("a*b").matches("a*b"));
        assert!(!Pattern::new("a*b").matches("axb"));
    }
}
