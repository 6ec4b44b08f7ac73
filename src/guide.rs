//! The guide: how it works, how to use it, and what it promises.
//!
//! | chapter | for the question |
//! |---|---|
//! | [`architecture`] | Which part does what, and what is in none of them? |
//! | [`timing`] | Which durations do I set, and what follows from them? |
//! | [`leadership`] | What may a leader do, until when, and how does it end? |
//! | [`membership`] | How do the voters change without a log? |
//! | [`groups`] | How do I hold thousands of elections in one process? |
//! | [`log`] | How is a log replicated above the election, and what does it promise? |
//! | [`safety`] | Which claim stands on which rule, function and test? |
//! | [`simulation`] | How do I test what I build on it, and what was tested here? |
//! | [`storage`] | Where does the log live on disk, and why there? |
//! | [`performance`] | What does it cost, beside others? |
//! | [`recipes`] | How do I ...? |

#[doc = include_str!("guide/architecture.md")]
pub mod architecture {}

#[doc = include_str!("guide/timing.md")]
pub mod timing {}

#[doc = include_str!("guide/leadership.md")]
pub mod leadership {}

#[doc = include_str!("guide/membership.md")]
pub mod membership {}

#[doc = include_str!("guide/groups.md")]
pub mod groups {}

#[cfg_attr(feature = "log", doc = include_str!("guide/log.md"))]
#[cfg_attr(
    not(feature = "log"),
    doc = "The chapter on the replicated log comes with the feature `log`."
)]
pub mod log {}

#[doc = include_str!("guide/safety.md")]
pub mod safety {}

#[cfg_attr(feature = "sim", doc = include_str!("guide/simulation.md"))]
#[cfg_attr(
    not(feature = "sim"),
    doc = "The chapter on the simulator comes with the feature `sim`."
)]
pub mod simulation {}

#[cfg_attr(feature = "log-disk", doc = include_str!("guide/storage.md"))]
#[cfg_attr(
    not(feature = "log-disk"),
    doc = "The chapter on the log on disk comes with the feature `log-disk`."
)]
pub mod storage {}

#[doc = include_str!("guide/performance.md")]
#[doc = include_str!("guide/performance-rounds.svg")]
#[doc = ""]
#[doc = "A second of many groups: at rest by how many there are, and among 100,000 by how many elect."]
#[doc = ""]
#[doc = include_str!("guide/performance-groups.svg")]
pub mod performance {}

#[doc = include_str!("guide/recipes.md")]
pub mod recipes {}

/// The README's code, compiled by the tests of the documentation.
#[cfg(all(doctest, feature = "tcp", feature = "file"))]
#[doc = include_str!("../README.md")]
mod readme {}
