//! The ids that are measured: a number, and a name that is counted.

use streamraft::{Config, Id, NodeId};

/// An id of which there are many.
pub(crate) trait BenchId: Id {
    /// What it is called in the figures.
    const NAME: &'static str;

    /// The id of this number; sorted as their numbers are.
    fn numbered(number: u64) -> Self;
}

impl BenchId for u64 {
    const NAME: &'static str = "u64";

    fn numbered(number: u64) -> Self {
        number
    }
}

impl BenchId for NodeId {
    const NAME: &'static str = "NodeId";

    fn numbered(number: u64) -> Self {
        Self::new(format!("node-{number}")).expect("a good name")
    }
}

pub(crate) fn ids<I: BenchId>(nodes: u64) -> Vec<I> {
    (1..=nodes).map(I::numbered).collect()
}

/// The settings of every node of a cluster that has never run.
pub(crate) fn configs<I: BenchId>(nodes: u64) -> Vec<Config<I>> {
    let ids = ids::<I>(nodes);
    let config = |id: &I| {
        Config::with_id(id.clone(), ids.clone())
            .expect("different ids")
            .bootstrap()
            .seed(1)
    };
    ids.iter().map(config).collect()
}
