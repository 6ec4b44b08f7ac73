//! Names, and lists of them.

use streamraft::{Config, ConfigError, NodeId, NodeIdError};

use crate::explains;

#[test]
fn a_name_is_1_to_36_bytes_without_white_space() {
    let long = "x".repeat(37);
    let cases = [
        ("", NodeIdError::Empty, "1 to 36 bytes"),
        (
            &long,
            NodeIdError::TooLong {
                start: "x".repeat(36),
                len: 37,
            },
            "1 to 36",
        ),
        (
            "a b",
            NodeIdError::WhiteSpace {
                name: "a b".to_owned(),
            },
            "must have none",
        ),
        (
            " ",
            NodeIdError::WhiteSpace {
                name: " ".to_owned(),
            },
            "must have none",
        ),
        (
            "a\n",
            NodeIdError::WhiteSpace {
                name: "a\n".to_owned(),
            },
            "must have none",
        ),
        (
            "a\u{a0}b",
            NodeIdError::WhiteSpace {
                name: "a\u{a0}b".to_owned(),
            },
            "must have none",
        ),
    ];
    for (name, source, rule) in cases {
        assert_eq!(NodeId::new(name), Err(source.clone()));
        for (field, made) in [
            ("node_id", Config::new(name, [name])),
            ("nodes", Config::new("a", ["a", name])),
        ] {
            let error = made.expect_err("it breaks a rule");
            assert_eq!(
                error,
                ConfigError::InvalidId {
                    field,
                    source: source.clone()
                }
            );
            let value = if name.is_empty() {
                "empty".to_owned()
            } else {
                name.escape_debug().take(36).collect()
            };
            explains(&error, [field, &value, rule]);
            assert!(
                std::error::Error::source(&error)
                    .is_some_and(|inner| inner.to_string() == source.to_string())
            );
        }
    }
}

#[test]
fn a_name_beyond_every_length_is_cut_in_the_error() {
    let error = NodeId::new("\u{20ac}".repeat(1_000_000)).expect_err("too long");
    assert!(
        matches!(&error, NodeIdError::TooLong { start, len: 3_000_000 } if start.chars().count() == 36)
    );
    assert!(
        error.to_string().len() < 200,
        "a log line and not a page: {error}"
    );
}

#[test]
fn a_node_named_twice_is_refused_since_it_would_inflate_the_quorum() {
    for nodes in [
        vec!["a", "a"],
        vec!["a", "b", "c", "b"],
        vec!["a", "b", "a"],
    ] {
        let error = Config::new("a", nodes.clone()).expect_err("it breaks a rule");
        assert!(
            matches!(error, ConfigError::DuplicateNode { .. }),
            "{nodes:?}: {error}"
        );
        explains(&error, ["nodes", "stands twice", "named once"]);
    }
    assert_eq!(
        Config::with_id(1, [1, 2, 2]),
        Err(ConfigError::DuplicateNode {
            node: "2".to_owned()
        })
    );
}

#[test]
fn a_list_that_does_not_name_the_node_itself_is_refused() {
    let error = Config::new("d", ["a", "b", "c"]).expect_err("it breaks a rule");
    assert_eq!(
        error,
        ConfigError::SelfMissing {
            node_id: "d".to_owned()
        }
    );
    explains(
        &error,
        [
            "nodes",
            "d (node_id) is missing",
            "must name the node itself",
        ],
    );
}

#[test]
fn more_than_1024_nodes_are_refused() {
    let error = Config::with_id(0, 0..1_025_u64).expect_err("it breaks a rule");
    assert_eq!(error, ConfigError::TooManyNodes { count: 1_025 });
    explains(&error, ["nodes", "1025 nodes", "at most 1024"]);
}
