//! Every setting at its edges and beyond: what no node can work with is refused by name, value and rule, and what
//! is accepted runs.

mod edges;
#[cfg(feature = "serde")]
mod json;
mod names;
mod restored;
mod values;

use std::time::Duration;

use streamraft::{Config, ConfigError, TinyRaft};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const NS: Duration = Duration::from_nanos(1);

pub(crate) fn config() -> Config {
    Config::new("a", ["a", "b", "c"]).expect("distinct names, its own among them")
}

/// What the settings are refused with, and that it says the field, the value and the rule.
pub(crate) fn refusal(config: &Config, words: [&str; 3]) -> ConfigError {
    let error = TinyRaft::new(config.clone()).expect_err("it breaks a rule");
    assert_eq!(
        config.check(),
        Err(error.clone()),
        "check says the same as making a node does"
    );
    explains(&error, words);
    error
}

pub(crate) fn explains(error: &ConfigError, words: [&str; 3]) {
    let text = error.to_string();
    for (at, word) in words.into_iter().enumerate() {
        let what = ["field", "value", "rule"][at];
        assert!(
            text.contains(word),
            "the {what} ({word}) is not in {text:?}"
        );
    }
    assert!(
        text.starts_with(words[0]),
        "the field comes first: {text:?}"
    );
}
