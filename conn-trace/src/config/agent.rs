//! `[agent]`: the flags of `conn-trace agent`, for those that are not given.

use serde::Deserialize;
use toml::Value;

/// Values by the name of the flag, with `_` for `-`. They are read as flags are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSection {
    listen: Option<Plain>,
    max_connections: Option<Plain>,
    closed_history: Option<Plain>,
    closed_history_age: Option<Plain>,
    cors: Option<Plain>,
    log_level: Option<Plain>,
    log_format: Option<Plain>,
    hooks: Option<Plain>,
    kernel_log: Option<Plain>,
    reload: Option<Plain>,
}

/// A value that can stand on a command line.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
struct Plain(String);

impl TryFrom<Value> for Plain {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Integer(number) => Ok(Self(number.to_string())),
            Value::Boolean(whether) => Ok(Self(whether.to_string())),
            other => Err(format!(
                "expected a text, an integer or a boolean, got a {}",
                other.type_str()
            )),
        }
    }
}

impl AgentSection {
    /// The flags that it has values for, without `--`.
    pub fn flags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("listen", &self.listen),
            ("max_connections", &self.max_connections),
            ("closed_history", &self.closed_history),
            ("closed_history_age", &self.closed_history_age),
            ("cors", &self.cors),
            ("log_level", &self.log_level),
            ("log_format", &self.log_format),
            ("hooks", &self.hooks),
            ("kernel_log", &self.kernel_log),
            ("reload", &self.reload),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some((flag, value.as_ref()?.0.as_str())))
    }
}
