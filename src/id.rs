//! Who a node is: the [`Id`] that every type of this crate is generic over, and the [`NodeId`] it defaults to.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

/// What can name a node: anything that is cheap to clone and has an order.
///
/// Implemented for every type that has the bounds (`u64`, a UUID, a `SocketAddr`), so it is never implemented by
/// hand. The order matters: it breaks ties between nodes that are otherwise equal, so it must be the same on
/// every node.
pub trait Id: Clone + Eq + Ord + Hash + fmt::Debug + Send + Sync + Unpin + 'static {}

impl<T: Clone + Eq + Ord + Hash + fmt::Debug + Send + Sync + Unpin + 'static> Id for T {}

/// A node's name: 1 to 36 bytes of text without white space. Cloning it is one atomic increment.
///
/// ```
/// use streamraft::NodeId;
///
/// let id: NodeId = "orders-1".parse()?;
/// assert_eq!(id.as_str(), "orders-1");
/// assert!("orders 1".parse::<NodeId>().is_err());
/// # Ok::<(), streamraft::NodeIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The most bytes a name may have: room for a UUID in text.
    pub const MAX_LEN: usize = 36;

    /// Checks a name and keeps a copy of it.
    ///
    /// # Errors
    /// [`NodeIdError`] says which rule the name breaks and repeats it (cut off when it is long).
    pub fn new(name: impl AsRef<str>) -> Result<Self, NodeIdError> {
        let name = name.as_ref();
        if name.is_empty() {
            Err(NodeIdError::Empty)
        } else if name.len() > Self::MAX_LEN {
            Err(NodeIdError::TooLong {
                start: name.chars().take(Self::MAX_LEN).collect(),
                len: name.len(),
            })
        } else if name.contains(char::is_whitespace) {
            Err(NodeIdError::WhiteSpace {
                name: name.to_owned(),
            })
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no [`NodeId`]. The caller's mistake; nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeIdError {
    /// The name has no characters.
    Empty,
    /// The name has more than [`NodeId::MAX_LEN`] bytes.
    TooLong {
        /// How the name begins.
        start: String,
        /// How many bytes it has.
        len: usize,
    },
    /// The name holds white space, which would make lists and logs of names ambiguous.
    WhiteSpace {
        /// The name as it was given.
        name: String,
    },
}

impl fmt::Display for NodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = NodeId::MAX_LEN;
        match self {
            Self::Empty => write!(f, "a node id is empty: it must have 1 to {max} bytes"),
            Self::TooLong { start, len } => {
                write!(
                    f,
                    "node id {start:?}.. has {len} bytes: it must have 1 to {max}"
                )
            }
            Self::WhiteSpace { name } => {
                write!(f, "node id {name:?} holds white space: it must have none")
            }
        }
    }
}

impl std::error::Error for NodeIdError {}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for NodeId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for NodeId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(name: &str) -> Result<Self, NodeIdError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for NodeId {
    type Error = NodeIdError;

    fn try_from(name: &str) -> Result<Self, NodeIdError> {
        Self::new(name)
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;

    fn try_from(name: String) -> Result<Self, NodeIdError> {
        Self::new(name)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for NodeId {
    /// Checks the name as [`NodeId::new`] does: a peer's bytes are input like any other.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl serde::de::Visitor<'_> for Name {
            type Value = NodeId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a node id of 1 to {} bytes without white space",
                    NodeId::MAX_LEN
                )
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<NodeId, E> {
                NodeId::new(name).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}
